//! Tests of a virtio device in its slot, by a driver's steps and by a hostile driver's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use device_core::device::MmioSlot;
use device_core::interrupt::{Interrupt, IrqLine};
use proptest::prelude::*;
use virtio_queue::QueueT;

use super::*;
use crate::transport::contract::transport_contract;
use crate::transport::test_device::{
    ACKNOWLEDGE, DRIVER_OK, EVENT_IDX, FAILED, FEATURES, FEATURES_OK, INDIRECT, NEEDS_RESET,
    RAM_LEN, Rings, SECOND_RAM, SIZES, VERSION_1, rings,
};
use crate::transport::test_slot::*;
use Width::{B1, B2, B4, B8};

const USED: u64 = 1;
const CONFIG_CHANGED: u64 = 2;

transport_contract!(Slot);

#[test]
fn the_page_says_what_is_on_it() {
    let mut slot = Slot::new();
    let identity: Vec<_> = (MAGIC_VALUE..0x10).step_by(4).map(|at| slot.read(at)).collect();
    assert_eq!(identity, [0x7472_6976, 2, 1, 0x1af4]);
    assert_eq!(slot.status(), 0);
}

#[test]
fn a_driver_brings_the_queues_to_life_as_it_set_them_up() {
    let mut slot = Slot::new();
    let offered = slot.device_features();
    assert_eq!(offered, FEATURES | VERSION_1 | EVENT_IDX | INDIRECT);

    slot.start();

    assert_eq!(slot.status(), 15);
    slot.device
        .plugged(|plugged| {
            assert_eq!(plugged.features, offered);
            for (number, queue) in (0u16..).zip(&plugged.queues) {
                let (ring, set) = (&queue.ring, rings(number));
                assert_eq!((queue.index, ring.size()), (number, set.size));
                let addresses = (ring.desc_table(), ring.avail_ring(), ring.used_ring());
                assert_eq!(addresses, (set.descriptors, set.available, set.used));
                assert!(ring.state().event_idx_enabled);
            }
            assert_eq!(plugged.queues.len(), 3);
        })
        .expect("plugged");
    assert_eq!((slot.card.refused_writes(), slot.card.ignored_accesses()), (0, 0));
}

#[test]
fn queues_and_configuration_share_the_line_and_the_status_tells_them_apart() {
    let mut slot = Slot::new();
    slot.start();
    let generation = slot.read(CONFIG_GENERATION);
    slot.device.plugged(|plugged| {
        plugged.queues[0].irq.as_ref().unwrap().fire();
        plugged.queues[2].irq.as_ref().unwrap().fire();
    });
    assert_eq!((slot.line.pulses(), slot.read(INTERRUPT_STATUS)), (2, USED));
    assert_eq!(slot.read(CONFIG_GENERATION), generation);
    slot.device.plugged(|plugged| plugged.notice.config_changed());
    assert_eq!((slot.line.pulses(), slot.read(INTERRUPT_STATUS)), (3, USED | CONFIG_CHANGED));
    assert_eq!(slot.read(CONFIG_GENERATION), generation + 1);

    slot.write(INTERRUPT_ACK, USED);
    assert_eq!(slot.read(INTERRUPT_STATUS), CONFIG_CHANGED, "only what was taken back is gone");
    slot.write(INTERRUPT_STATUS, 0);
    assert_eq!(slot.take_interrupt(), CONFIG_CHANGED, "and reading takes nothing");
    assert_eq!(slot.take_interrupt(), 0);
}

#[test]
fn an_interrupt_between_a_look_and_its_acknowledgement_is_sent_again() {
    let mut slot = Slot::new();
    slot.start();
    let fire =
        |slot: &Slot| slot.device.plugged(|plugged| plugged.queues[0].irq.clone().unwrap().fire());
    fire(&slot);
    assert_eq!(slot.read(INTERRUPT_STATUS), USED);
    fire(&slot);
    slot.write(INTERRUPT_ACK, USED);
    assert_eq!((slot.line.pulses(), slot.read(INTERRUPT_STATUS)), (2, 0));
    fire(&slot);
    assert_eq!((slot.line.pulses(), slot.take_interrupt()), (3, USED));
}

/// A line that ends in a driver's mailbox, and keeps a pulse while the driver has one, as an interrupt
/// controller does.
struct Mailed(Sender<()>);

impl IrqLine for Mailed {
    fn pulse(&self) {
        // The driver may have seen all there is, and be gone.
        let _ = self.0.send(());
    }
}

/// Two lanes complete and interrupt; a driver looks only when it is told to.
#[test]
fn nothing_that_was_completed_is_left_unseen() {
    const EACH: u64 = 50_000;
    let (pulse, pulses) = mpsc::channel();
    let line = StatusLine::new(Arc::new(Mailed(pulse)));
    let completed = AtomicU64::new(0);
    let mut seen = 0;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    completed.fetch_add(1, Ordering::Release);
                    line.fire();
                }
            });
        }
        while seen < 2 * EACH {
            pulses.recv_timeout(Duration::from_secs(60)).expect("an interrupt is missing");
            while pulses.try_recv().is_ok() {}
            let why = line.status();
            if why != 0 {
                line.acknowledge(why);
                seen = completed.load(Ordering::Acquire);
            }
        }
    });
    assert_eq!(seen, 2 * EACH);
}

#[test]
fn a_reset_ends_everything_and_the_driver_may_begin_anew() {
    let mut slot = Slot::new();
    slot.start();
    slot.device.plugged(|plugged| plugged.notice.needs_reset());
    let resets = *slot.device.resets.lock().unwrap();
    slot.write(STATUS, 0);

    assert_eq!(slot.status(), 0);
    assert!(!slot.device.is_plugged());
    assert_eq!(*slot.device.resets.lock().unwrap(), resets + 1);
    assert_eq!(slot.read(INTERRUPT_STATUS), 0, "what was said of the old life is over");
    for queue in 0..SIZES.len() as u16 {
        slot.delete_queue(queue);
    }
    assert_eq!(slot.card.refused_writes(), 0);

    slot.start();
    assert!(slot.device.is_plugged());
}

#[test]
fn a_status_of_more_than_eight_bits_is_no_reset() {
    let mut slot = Slot::new();
    slot.start();
    for status in [0x100, 0xffff_ff00, 0x8000_000f] {
        slot.write(STATUS, status);
        assert_eq!(slot.status(), 15);
    }
    assert_eq!(slot.card.refused_writes(), 3);
}

#[test]
fn a_look_at_the_device_shows_what_its_driver_enabled() {
    let mut slot = Slot::new();
    assert!(!slot.card.look().is_running && slot.card.look().queues.is_empty());
    slot.start();
    let look = slot.card.look();
    assert!(look.is_running && !look.needs_reset);
    let shown: Vec<_> = look.queues.iter().map(|queue| (queue.index, queue.entries)).collect();
    assert_eq!(shown, [(0, SIZES[0]), (1, SIZES[1]), (2, SIZES[2])]);
    assert_eq!((look.queues[0].offered, look.queues[0].vector), (Some(0), None));
}

#[test]
fn sizes_and_numbers_past_sixteen_bits_are_no_others_in_disguise() {
    let mut slot = Slot::new();
    assert!(slot.negotiate(VERSION_1));
    slot.set_queue(0, rings(0));
    slot.write(QUEUE_SEL, 0x1_0000);
    assert_eq!((slot.read(QUEUE_NUM_MAX), slot.read(QUEUE_READY)), (0, 0));
    slot.write(QUEUE_SEL, 0);
    slot.write(QUEUE_NUM, 0x1_0040);
    slot.add_status(DRIVER_OK);
    assert_eq!(slot.status(), 15 | NEEDS_RESET);
}

#[test]
fn registers_written_after_the_start_are_ignored_and_counted() {
    let mut slot = Slot::new();
    slot.start();
    slot.write(QUEUE_SEL, 0);
    for offset in [QUEUE_NUM, QUEUE_READY, QUEUE_DESC, QUEUE_AVAIL + 4, QUEUE_USED] {
        slot.write(offset, 0);
    }
    slot.write(DRIVER_FEATURES, 0);
    slot.write(STATUS, ACKNOWLEDGE);
    for read_only in [MAGIC_VALUE, DEVICE_FEATURES, QUEUE_NUM_MAX, INTERRUPT_STATUS, SHM_LEN] {
        slot.write(read_only, 7);
    }
    assert_eq!(slot.card.refused_writes(), 12);
    assert_eq!(
        (slot.status(), slot.read(QUEUE_READY), slot.read(MAGIC_VALUE)),
        (15, 1, 0x7472_6976)
    );
    assert_eq!(*slot.device.plugs.lock().unwrap(), 1);
}

#[test]
fn what_can_only_be_written_reads_as_zero() {
    let mut slot = Slot::new();
    slot.set_queue(0, rings(0));
    slot.write(SHM_SEL, 1);
    for offset in [
        DEVICE_FEATURES_SEL,
        DRIVER_FEATURES,
        DRIVER_FEATURES_SEL,
        QUEUE_SEL,
        QUEUE_NUM,
        QUEUE_NOTIFY,
        INTERRUPT_ACK,
        QUEUE_DESC,
        QUEUE_AVAIL,
        QUEUE_USED,
        SHM_SEL,
    ] {
        assert_eq!(slot.read(offset), 0, "{offset:#x}");
    }
}

#[test]
fn there_are_no_shared_memory_regions() {
    let mut slot = Slot::new();
    for region in [0, 1, 0xffff_ffff] {
        slot.write(SHM_SEL, region);
        let words: Vec<_> = (SHM_LEN..0xc0).step_by(4).map(|at| slot.read(at)).collect();
        assert_eq!(words, [0xffff_ffff; 4]);
    }
}

#[test]
fn accesses_of_another_width_or_of_no_register_are_ignored_and_counted() {
    let mut slot = Slot::new();
    slot.start();
    let mut odd = 0;
    for offset in 0..CONFIG {
        for width in [B1, B2, B4, B8] {
            if width == B4 && WORDS.find(offset, B4).is_some() {
                continue;
            }
            assert_eq!(slot.cpu.read(AT + offset, width), Some(0));
            assert!(slot.cpu.write(AT + offset, width, 0));
            odd += 2;
        }
    }
    assert_eq!(slot.card.ignored_accesses(), odd);
    assert_eq!((slot.status(), slot.card.refused_writes()), (15, 0));
    assert_eq!(slot.signals(), Some(vec![0, 0, 0]));
}

#[test]
fn the_device_configuration_is_the_devices_in_widths_up_to_four() {
    let mut slot = Slot::new();
    for width in [B1, B2, B4] {
        assert_eq!(slot.cpu.read(AT + CONFIG + 6, width), Some(0x16));
        slot.cpu.write(AT + CONFIG + 8, width, 0x12);
    }
    let written = slot.device.written.lock().unwrap().clone();
    assert_eq!(written, [(8, B1, 0x12), (8, B2, 0x12), (8, B4, 0x12)]);
    assert_eq!(slot.cpu.read(AT + CONFIG, B8), Some(0));
    slot.cpu.write(AT + CONFIG, B8, 1);
    assert_eq!(slot.card.ignored_accesses(), 2);
    // Past the end of the page nothing is.
    assert_eq!(slot.cpu.read(AT + LEN - 2, B4), None);
}

#[test]
fn the_machines_reset_leaves_a_device_as_after_power_on() {
    let mut slot = Slot::new();
    slot.start();
    Device::reset(&*slot.card);
    assert!(!slot.device.is_plugged());
    assert_eq!(slot.status(), 0);
    slot.start();
    assert!(slot.device.is_plugged());
}

#[test]
fn a_bound_kick_and_a_trapped_one_signal_the_same_queue() {
    let mut slot = Slot::new();
    assert_eq!(slot.machine.kicks.bound(), [AT + QUEUE_NOTIFY; 3]);
    slot.start();
    assert!(slot.machine.kicks.kick_value(AT + QUEUE_NOTIFY, 1));
    assert_eq!(slot.signals(), Some(vec![0, 1, 0]));
    slot.write(QUEUE_NOTIFY, 2);
    assert_eq!(slot.signals(), Some(vec![0, 0, 1]));
    // No such queues.
    for queue in [3, 0x1_0000, 0x8000_0000] {
        assert!(!slot.machine.kicks.kick_value(AT + QUEUE_NOTIFY, queue as u32));
        slot.write(QUEUE_NOTIFY, queue);
    }
    assert_eq!(slot.signals(), Some(vec![0, 0, 0]));
    assert_eq!(slot.card.refused_writes(), 3);
}

#[test]
fn a_device_in_a_place_with_kicks_of_another_gets_its_own_by_traps() {
    let mut slot = Slot::new();
    let twin = MmioSlot { address: AT, line: slot.line.clone() };
    slot.card = VirtioMmio::new(slot.device.clone(), &slot.machine.kit(), &twin).unwrap();
    slot.mmio.remove(AT);
    slot.mmio.insert(AT, LEN, slot.card.clone()).unwrap();
    slot.start();
    slot.write(QUEUE_NOTIFY, 0);
    assert_eq!(slot.signals(), Some(vec![1, 0, 0]));
}

#[test]
fn kicks_go_with_their_device() {
    let Slot { card, machine, mmio, cpu, .. } = Slot::new();
    mmio.remove(AT);
    drop((cpu, card));
    assert!(machine.kicks.bound().is_empty());
}

/// The other CPU's handler reads and acknowledges meanwhile, too.
#[test]
fn device_threads_may_speak_while_a_cpu_waits_for_them() {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let mut slot = Slot::new();
        slot.start();
        let mmio = slot.mmio.clone();
        *slot.device.last_word.lock().unwrap() = Some(Box::new(move |notice| {
            let (notice, mut cpu) = (notice.clone(), mmio.view());
            let speak = move || {
                notice.config_changed();
                notice.needs_reset();
                assert_eq!(cpu.read(AT + INTERRUPT_STATUS, B4), Some(CONFIG_CHANGED));
                cpu.write(AT + INTERRUPT_ACK, B4, CONFIG_CHANGED);
                cpu.write(AT + QUEUE_NOTIFY, B4, 0);
            };
            std::thread::spawn(speak).join().unwrap();
        }));
        slot.write(STATUS, 0);
        assert_eq!(slot.status(), 0);
        slot.start();
        slot.pause();
        slot.resume();
        Device::reset(&*slot.card);
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(Duration::from_secs(60))
        .expect("a device thread and a CPU wait for each other");
}

/// Two CPUs and a device thread at once. The device itself checks that plug and unplug alternate and
/// that no reset finds it plugged.
#[test]
fn registers_may_be_hit_from_all_cpus_at_once() {
    let mut slot = Slot::new();
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            let (mut cpu, device) = (slot.mmio.view(), slot.device.clone());
            scope.spawn(move || {
                for round in 0..20_000u64 {
                    let at = AT + (round % 0x40) * 4;
                    cpu.read(at, B4);
                    cpu.write(at, B4, round & 0x1f);
                    cpu.write(AT + STATUS, B4, [0, 3, 11, 15][round as usize % 4]);
                }
            });
            scope.spawn(move || {
                for _ in 0..20_000 {
                    device.plugged(|plugged| plugged.notice.config_changed());
                }
            });
            for _ in 0..500 {
                slot.pause();
                slot.resume();
            }
        });
        slot.start();
        assert!(slot.device.is_plugged());
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("CPUs wait for each other");
}

/// One thing a hostile driver may do.
#[derive(Clone, Debug)]
enum Act {
    Write { at: u64, width: Width, value: u64 },
    Queue { queue: u32, size: u32, addresses: [u64; 3] },
    Negotiate(u64),
    Start,
    StartWith(Rings),
    PauseAndResume,
    Speak,
    Reset,
}

fn address() -> impl Strategy<Value = u64> {
    let end = RAM_LEN as u64;
    prop_oneof![
        4 => (0u64..0x40_0000).prop_map(|at| at & !0xf),
        2 => (end - 0x1100..end + 0x10).prop_map(|at| at & !0xf),
        1 => SECOND_RAM - 0x10..SECOND_RAM + 0x10,
        1 => any::<u64>(),
        1 => (0u64..64).prop_map(|below| u64::MAX - below),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let width = prop_oneof![1 => Just(B1), 1 => Just(B2), 4 => Just(B4), 1 => Just(B8)];
    let at = prop_oneof![
        3 => (0u64..0x40).prop_map(|word| word * 4),
        2 => Just(STATUS),
        1 => 0u64..LEN,
    ];
    let value = prop_oneof![
        any::<u64>(),
        0u64..0x100,
        prop_oneof![Just(0u64), Just(3), Just(11), Just(15)],
        Just(u64::MAX)
    ];
    let size = prop_oneof![(0u32..18).prop_map(|bit| 1 << bit), any::<u32>()];
    let queue = prop_oneof![3 => 0u32..4, 1 => any::<u32>()];
    let features = prop_oneof![Just(VERSION_1), any::<u64>()];
    prop_oneof![
        5 => (at, width, value).prop_map(|(at, width, value)| Act::Write { at, width, value }),
        4 => (queue, size, [address(), address(), address()])
            .prop_map(|(queue, size, addresses)| Act::Queue { queue, size, addresses }),
        2 => features.prop_map(Act::Negotiate),
        2 => (2u32..9, address(), address(), address()).prop_map(|(bits, descriptors, available, used)| {
            Act::StartWith(Rings { size: 1 << bits, descriptors, available, used })
        }),
        1 => Just(Act::Start),
        1 => Just(Act::PauseAndResume),
        1 => Just(Act::Speak),
        1 => Just(Act::Reset),
    ]
}

impl Slot {
    fn act(&mut self, act: Act) {
        match act {
            Act::Write { at, width, value } => {
                self.cpu.write(AT + at, width, value);
                self.cpu.read(AT + at, width);
            }
            Act::Queue { queue, size, addresses } => {
                self.write(QUEUE_SEL, queue.into());
                self.write(QUEUE_NUM, size.into());
                let offsets = [QUEUE_DESC, QUEUE_AVAIL, QUEUE_USED];
                for (offset, address) in offsets.into_iter().zip(addresses) {
                    self.write(offset, address & 0xffff_ffff);
                    self.write(offset + 4, address >> 32);
                }
                self.write(QUEUE_READY, 1);
            }
            Act::Negotiate(features) => {
                self.accept_features(features);
                self.write(STATUS, 11);
            }
            Act::Start => self.start(),
            Act::StartWith(rings) => self.start_with(rings),
            Act::PauseAndResume => {
                self.pause();
                assert!(!self.device.is_plugged());
                self.resume();
            }
            Act::Speak => {
                self.device.plugged(|plugged| plugged.notice.needs_reset());
            }
            Act::Reset => {
                Device::reset(&*self.card);
                assert!(!self.device.is_plugged());
            }
        }
    }
}

/// All that a driver and the device see.
fn seen(slot: &mut Slot) -> (Vec<Option<u64>>, crate::transport::test_device::Held) {
    let words = (0..LEN).step_by(4).map(|at| slot.cpu.read(AT + at, B4)).collect();
    (words, slot.device.held())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_device_goes_on_in_another_process_as_it_would_have(
        before in prop::collection::vec(act(), 0..40),
        after in prop::collection::vec(act(), 0..20),
    ) {
        let mut old = Slot::new();
        before.into_iter().for_each(|act| old.act(act));
        let saved = old.saved();
        let mut new = old.elsewhere(&saved).unwrap();
        prop_assert_eq!(&new.saved(), &saved);
        let is_raised = new.read(INTERRUPT_STATUS) != 0;
        prop_assert_eq!(new.line.pulses(), u64::from(is_raised), "an edge may have been lost");
        let told = old.line.pulses();
        for act in after {
            old.act(act.clone());
            new.act(act);
            prop_assert_eq!(seen(&mut new), seen(&mut old));
        }
        prop_assert_eq!(new.line.pulses() - u64::from(is_raised), old.line.pulses() - told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// The device itself checks each queue it is given, and that plug and unplug alternate.
    #[test]
    fn no_driver_breaks_the_device(acts in prop::collection::vec(act(), 1..80)) {
        let mut slot = Slot::new();
        for act in acts {
            slot.act(act);
            if slot.device.is_plugged() {
                prop_assert_eq!(slot.status() & (DRIVER_OK | FEATURES_OK | FAILED), 12);
            }
        }
        slot.start();
        prop_assert!(slot.device.is_plugged(), "a reset always brings the device back");
    }
}
