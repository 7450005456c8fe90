//! Tests of a balloon's life: pauses, resets, rings that break.

use crate::device::VirtioDevice;
use crate::testing::balloon::{ALL, HINT, INFLATE, REPORT, STATS, TestBalloon};
use crate::testing::ring::writable;

const MIB: u64 = 1 << 20;

#[test]
fn after_a_pause_everything_goes_on_where_it_stopped() {
    let mut test = TestBalloon::new();
    let at = test.guest.readable(&[4, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    test.guest.queues[STATS].offer(&[at]);
    test.run(STATS);
    test.balloon.start_hinting(false).unwrap();
    test.say(2);
    let queues = test.balloon.unplug();
    assert_eq!(queues.len(), 5);

    test.send_pages(INFLATE, &[512]);
    test.send_free(HINT, &[(5 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [], "nothing is touched while it rests");
    test.balloon.set_target(9);
    assert_eq!(test.guest.notice.config_changes(), 2, "the driver reads it as it goes on");

    test.balloon.plug(ALL, queues, test.guest.notice.clone()).unwrap();
    test.run(STATS);
    assert_eq!(test.given_back(), [(2 * MIB, 0x1000), (5 * MIB, 0x1000)]);
    assert_eq!(test.guest.queues[STATS].take(), None, "the report is still kept");
    let told: Vec<_> = test.balloon.statistics().unwrap().iter().collect();
    assert_eq!(told, [("free_memory", 1)]);
}

#[test]
fn a_list_half_done_when_a_pause_comes_is_done_again() {
    let mut test = TestBalloon::new();
    // More than one turn does: 256 pages a step, 4 steps.
    let bytes: Vec<u8> = (0..8192u32).flat_map(|_| 600u32.to_le_bytes()).collect();
    let list = test.guest.readable(&bytes);
    test.guest.queues[INFLATE].offer(&[list]);
    test.guest.queues[INFLATE].force_kick();
    test.balloon.settle();
    let queues = test.balloon.unplug();
    assert_eq!(test.guest.queues[INFLATE].take(), None, "it is not done");
    assert!(!test.given_back().is_empty());
    test.balloon.plug(ALL, queues, test.guest.notice.clone()).unwrap();
    test.run(INFLATE);
    assert_eq!(test.guest.queues[INFLATE].take().map(|(_, len)| len), Some(0));
    assert_eq!(test.given_back().len(), 32);
}

#[test]
fn a_ring_that_cannot_be_ends_all_queues_until_a_reset() {
    let mut test = TestBalloon::new();
    test.guest.queues[REPORT].set_available(1000);
    test.run(REPORT);
    assert_eq!(test.guest.notice.resets_asked(), 1);
    test.send_pages(INFLATE, &[512]);
    assert_eq!((test.given_back(), test.guest.queues[INFLATE].take()), (vec![], None));
    assert_eq!(test.balloon.unplug().len(), 5);
    test.balloon.reset();

    test.guest.new_rings(5, false);
    test.start(ALL);
    test.send_pages(INFLATE, &[512]);
    assert_eq!(test.given_back(), [(2 * MIB, 0x1000)]);
    assert_eq!(test.balloon.counters().guest_faults.get(), 1);
}

#[test]
fn with_event_idx_no_kick_is_missed() {
    let mut test = TestBalloon::new();
    drop(test.balloon.unplug());
    test.balloon.reset();
    test.guest.new_rings(5, true);
    test.start(ALL | 1 << 29);
    for _ in 0..100 {
        test.guest.queues[REPORT].offer(&[writable(5 * MIB, 0x1000)]);
        assert!(test.guest.queues[REPORT].kick(), "it asks to be kicked while it sleeps");
        test.balloon.settle();
        assert!(test.guest.queues[REPORT].take().is_some());
    }
}
