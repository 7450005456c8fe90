//! Tests of its life: pauses, resets, rings that break.

use crate::device::VirtioDevice;
use crate::memory::UNPLUGGED_INACCESSIBLE;
use crate::testing::memory::{ACK, BLOCK, ERROR, PLUG, TestHotMemory, UNPLUG_ALL};

#[test]
fn after_a_pause_it_goes_on_where_it_stopped() {
    let mut test = TestHotMemory::new(8);
    let queues = test.device.unplug();
    assert_eq!(queues.len(), 1);
    let answer = test.offer(PLUG, 0, 1);
    test.run();
    assert_eq!((test.runs(), test.guest.queues[0].take()), (vec![], None));
    test.device.request(4).unwrap();
    assert_eq!(test.guest.notice.config_changes(), 1, "the driver reads it as it goes on");
    test.device.plug(UNPLUGGED_INACCESSIBLE, queues, test.guest.notice.clone()).unwrap();
    test.run();
    assert_eq!((test.runs(), test.answer(answer)), (vec![(0, 1)], (ACK, 0)));
}

#[test]
fn what_is_half_done_when_a_pause_comes_is_done_first() {
    let mut test = TestHotMemory::new(256);
    // 64 MiB a step.
    let answer = test.offer(PLUG, 0, 100);
    test.guest.queues[0].force_kick();
    test.device.settle();
    let half = test.runs();
    assert!(half[0].1 < 100, "{half:?}");
    assert_eq!(test.guest.queues[0].take(), None);
    let queues = test.device.unplug();
    assert_eq!((test.runs(), test.answer(answer)), (vec![(0, 100)], (ACK, 0)));
    assert_eq!(test.guest.queues[0].take().map(|(_, len)| len), Some(10));
    test.device.plug(UNPLUGGED_INACCESSIBLE, queues, test.guest.notice.clone()).unwrap();
    assert_eq!(test.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
}

#[test]
fn blocks_outlive_a_driver_and_the_next_takes_them_away() {
    let mut test = TestHotMemory::new(8);
    test.ask(PLUG, 0, 2);
    test.device.unplug();
    test.device.reset();
    test.device.request(6).unwrap();
    assert_eq!(test.guest.notice.config_changes(), 0, "nobody is there to be told");
    assert_eq!(test.device.plugged(), 2 * BLOCK);
    test.guest.new_rings(1, false);
    test.start();
    assert_eq!(test.ask(PLUG, 0, 1), (ERROR, 0));
    assert_eq!(test.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
    assert_eq!(test.ask(PLUG, 0, 1), (ACK, 0));
}

#[test]
fn a_ring_that_cannot_be_ends_the_queue_until_a_reset() {
    let mut test = TestHotMemory::new(8);
    test.guest.queues[0].set_available(1000);
    test.run();
    assert_eq!(test.guest.notice.resets_asked(), 1);
    assert_eq!(test.device.unplug().len(), 1);
    test.device.reset();
    test.guest.new_rings(1, false);
    test.start();
    assert_eq!(test.ask(PLUG, 0, 1), (ACK, 0));
    assert_eq!(test.device.counters().guest_faults.get(), 1);
}

#[test]
fn with_event_idx_no_kick_is_missed() {
    let mut test = TestHotMemory::without_driver(8);
    test.guest.new_rings(1, true);
    test.guest.plug(&*test.device, UNPLUGGED_INACCESSIBLE | 1 << 29);
    test.device.settle();
    for _ in 0..20 {
        test.offer(PLUG, 0, 1);
        assert!(test.guest.queues[0].kick(), "it asks to be kicked while it sleeps");
        (0..4).for_each(|_| test.device.settle());
        assert!(test.guest.queues[0].take().is_some());
    }
}
