//! Tests of a virtio card in its slot, by a driver's steps and by a hostile driver's.

use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use virtio_queue::QueueT;

use super::*;
use crate::transport::contract::{cursors, transport_contract};
use crate::transport::test_device::*;
use Width::{B1, B2, B4, B8};

transport_contract!(Guest);

#[test]
fn the_card_is_a_modern_network_card_in_its_slot() {
    let guest = Guest::new();
    let function = &guest.function;
    assert_eq!(function.read_config(0, B4), 0x1041_1af4);
    assert_eq!(function.read_config(8, B4), 0x0200_0001);
    assert_eq!(function.read_config(0x3d, B1), 0, "no interrupt pin");
    assert_eq!((guest.common.len, guest.isr.len, guest.config.len), (0x38, 1, 0x1000));
    assert_eq!((guest.notify.len, guest.notify_multiplier), (12, 4));
    let length = |structure: Structure| function.read_config(structure.capability + 2, B1);
    assert_eq!(length(guest.common), 16);
    assert_eq!([guest.notify, guest.window].map(length), [20, 20]);
}

#[test]
fn a_driver_brings_the_queues_to_life_as_it_set_them_up() {
    let mut guest = Guest::new();
    let offered = guest.device_features();
    assert_eq!(offered, FEATURES | VERSION_1 | EVENT_IDX | INDIRECT);
    assert_eq!(guest.read(0x12, B2), 3);

    guest.start();

    assert_eq!(guest.status(), 15);
    guest
        .device
        .plugged(|plugged| {
            assert_eq!(plugged.features, offered);
            for (number, queue) in (0u16..).zip(&plugged.queues) {
                let (ring, set) = (&queue.ring, rings(number));
                assert_eq!((queue.index, ring.size()), (number, set.size));
                let addresses = (ring.desc_table(), ring.avail_ring(), ring.used_ring());
                assert_eq!(addresses, (set.descriptors, set.available, set.used));
                assert!(ring.state().event_idx_enabled);
                queue.irq.as_ref().unwrap().fire();
            }
            assert_eq!(plugged.queues.len(), 3);
        })
        .expect("plugged");
    let vectors = guest.vectors();
    let delivered = [0, 1, 2, 3].map(|vector| vectors.test_vector(vector).delivered());
    assert_eq!(delivered, [0, 1, 1, 1]);
    assert_eq!(guest.card.refused_writes(), 0);
}

#[test]
fn a_reset_ends_everything_and_the_driver_may_begin_anew() {
    let mut guest = Guest::new();
    guest.start();
    let resets = *guest.device.resets.lock().unwrap();
    guest.set_status(0);

    assert_eq!(guest.status(), 0);
    assert!(!guest.device.is_plugged());
    assert_eq!(*guest.device.resets.lock().unwrap(), resets + 1);
    guest.write(0x16, B2, 1);
    let registers = [0x18, 0x1a, 0x1c, 0x20, 0x28, 0x30].map(|at| guest.read(at, B2));
    assert_eq!(registers, [256, NO_VECTOR, 0, 0, 0, 0]);
    assert_eq!(guest.read(0x10, B2), NO_VECTOR);

    guest.start();
    assert!(guest.device.is_plugged());
}

#[test]
fn a_look_at_the_card_shows_what_its_driver_enabled() {
    let mut guest = Guest::new();
    assert!(!guest.card.look().is_running && guest.card.look().queues.is_empty());
    guest.start();
    let look = guest.card.look();
    assert!(look.is_running && !look.needs_reset);
    assert_eq!(look.features & FEATURES, FEATURES);
    let shown: Vec<_> = look.queues.iter().map(|queue| (queue.index, queue.entries)).collect();
    assert_eq!(shown, [(0, SIZES[0]), (1, SIZES[1]), (2, SIZES[2])]);
    assert_eq!(look.queues[0].offered, Some(0));
    guest.start_with(Rings { descriptors: 0xe000_0000, ..rings(0) });
    let look = guest.card.look();
    assert!(look.needs_reset && !look.is_running);
}

#[test]
fn registers_written_after_the_start_are_ignored_and_counted() {
    let mut guest = Guest::new();
    guest.start();
    guest.write(0x16, B2, 0);
    let before: Vec<_> = (0x16..0x38).step_by(2).map(|at| guest.read(at, B2)).collect();
    for (offset, width) in [(0x18, B2), (0x1a, B2), (0x1c, B2), (0x20, B4), (0x24, B4), (0x30, B4)]
    {
        guest.write(offset, width, 8);
    }
    guest.write(0x28, B8, 0x8_0000_0008);
    guest.write(0x0c, B4, 0);
    guest.set_status(ACKNOWLEDGE);

    assert_eq!(guest.card.refused_writes(), 10);
    let after: Vec<_> = (0x16..0x38).step_by(2).map(|at| guest.read(at, B2)).collect();
    assert_eq!(before, after);
    assert_eq!((guest.status(), *guest.device.plugs.lock().unwrap()), (15, 1));
}

#[test]
fn the_bus_takes_the_queues_home_and_the_machine_keeps_them_there() {
    let mut guest = Guest::new();
    guest.start();
    guest.device.plugged(|plugged| plugged.queues[1].ring.set_next_avail(17));
    guest.set_command(2);
    assert!(!guest.device.is_plugged(), "no bus master, no DMA");
    guest.pause();
    guest.set_command(MEMORY_AND_MASTER);
    assert!(!guest.device.is_plugged(), "still stopped");
    guest.resume();
    assert_eq!(guest.device.plugged(cursors), Some((17, 0)));
}

#[test]
fn a_start_without_bus_mastering_waits_for_it() {
    let mut guest = Guest::new();
    guest.set_command(2);
    guest.start();
    assert_eq!(guest.status(), 15);
    assert!(!guest.device.is_plugged());
    guest.set_command(MEMORY_AND_MASTER);
    assert!(guest.device.is_plugged());
}

#[test]
fn a_function_reset_leaves_a_card_as_after_power_on() {
    let mut guest = Guest::new();
    guest.start();
    let bar = guest.bar(0);
    guest.function.reset();

    assert!(!guest.device.is_plugged());
    assert_eq!(guest.cpu.read(guest.common.at, B4), None);
    assert!(guest.machine.kicks.bound().is_empty());
    guest.function.assign(0, bar);
    guest.set_command(MEMORY_AND_MASTER);
    assert_eq!(guest.status(), 0);
    guest.start();
    assert!(guest.device.is_plugged());
}

#[test]
fn kicks_are_bound_where_the_bar_is() {
    let mut guest = Guest::new();
    let addresses = |at: u64| (0..3).map(|queue| at + queue * 4).collect::<Vec<_>>();
    assert_eq!(guest.machine.kicks.bound(), addresses(guest.notify.at));

    guest.function.write_config(0x10, B4, 0xe080_0000);
    guest.function.write_config(0x14, B4, 0);
    guest.find_structures_again();
    assert_eq!(guest.notify.at, 0xe080_3000);
    assert_eq!(guest.machine.kicks.bound(), addresses(guest.notify.at));

    guest.set_command(4);
    assert!(guest.machine.kicks.bound().is_empty());
}

#[test]
fn a_bound_kick_and_a_trapped_one_signal_the_same_queue() {
    let mut guest = Guest::new();
    guest.start();
    let signals = |guest: &Guest| {
        guest.device.plugged(|plugged| {
            plugged.queues.iter().map(|queue| queue.kick.read().unwrap_or(0)).collect::<Vec<_>>()
        })
    };
    assert!(guest.machine.kicks.kick(guest.notify.at + 4));
    assert_eq!(signals(&guest), Some(vec![0, 1, 0]));
    guest.cpu.write(guest.notify.at + 8, B2, 2);
    assert_eq!(signals(&guest), Some(vec![0, 0, 1]));
    // No queue there.
    guest.cpu.write(guest.notify.at + 12, B2, 3);
    assert_eq!(signals(&guest), Some(vec![0, 0, 0]));
}

#[test]
fn a_kick_before_the_start_is_kept_and_does_no_harm() {
    let mut guest = Guest::new();
    guest.cpu.write(guest.notify.at, B2, 0);
    assert!(!guest.device.is_plugged());
    guest.start();
    assert_eq!(guest.device.plugged(|plugged| plugged.queues[0].kick.read().unwrap()), Some(1));
}

#[test]
fn vectors_that_are_not_there_read_back_as_none() {
    let mut guest = Guest::new();
    for (written, kept) in [(3, 3), (4, NO_VECTOR), (0xffff, NO_VECTOR), (0, 0)] {
        guest.write(0x10, B2, written);
        assert_eq!(guest.read(0x10, B2), kept);
        guest.write(0x1a, B2, written);
        assert_eq!(guest.read(0x1a, B2), kept);
    }
}

#[test]
fn a_queue_without_a_vector_has_no_interrupt() {
    let mut guest = Guest::new();
    assert!(guest.negotiate(VERSION_1));
    guest.set_queue(0, rings(0));
    guest.write(0x1a, B2, NO_VECTOR);
    guest.add_status(DRIVER_OK);
    assert_eq!(guest.device.plugged(|plugged| plugged.queues[0].irq.is_none()), Some(true));
}

#[test]
fn a_changed_configuration_is_a_new_generation_an_isr_bit_and_an_interrupt() {
    let mut guest = Guest::new();
    guest.start();
    let generation = guest.read(0x15, B1);
    guest.device.plugged(|plugged| plugged.notice.config_changed());

    assert_eq!(guest.read(0x15, B1), generation + 1);
    assert_eq!(guest.config_interrupts(), 1);
    assert_eq!(guest.cpu.read(guest.isr.at, B1), Some(2));
    assert_eq!(guest.cpu.read(guest.isr.at, B1), Some(0), "reading clears it");
}

#[test]
fn a_broken_ring_shows_in_the_status_until_the_reset() {
    let mut guest = Guest::new();
    guest.start();
    guest.device.plugged(|plugged| plugged.notice.needs_reset());
    assert_eq!(guest.status(), 15 | NEEDS_RESET);
    assert_eq!(guest.config_interrupts(), 1);
    // Linux writes the bit back when it sets another.
    guest.add_status(FAILED);
    assert_eq!(guest.status(), 15 | NEEDS_RESET | FAILED);
    guest.set_status(0);
    assert_eq!(guest.status(), 0);
}

#[test]
fn device_threads_may_speak_while_a_cpu_waits_for_them() {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let mut guest = Guest::new();
        guest.start();
        *guest.device.last_word.lock().unwrap() = Some(Box::new(|notice| {
            let notice = notice.clone();
            let speak = move || {
                notice.config_changed();
                notice.needs_reset();
            };
            std::thread::spawn(speak).join().unwrap();
        }));
        guest.set_status(0);
        assert_eq!(guest.status(), 0, "what was said of the old life is over");
        guest.start();
        guest.pause();
        guest.resume();
        guest.function.reset();
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(Duration::from_secs(60))
        .expect("a device thread and a CPU wait for each other");
}

/// Three CPUs and a device thread at once. The device itself checks that plug and unplug alternate
/// and that no reset finds it plugged.
#[test]
fn registers_may_be_hit_from_all_cpus_at_once() {
    let mut guest = Guest::new();
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let (common, mut cpu) = (guest.common.at, guest.mmio.view());
        let (device, function) = (guest.device.clone(), guest.function.clone());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..20_000u64 {
                    let at = common + round % 0x38;
                    cpu.read(at, B1);
                    cpu.write(at, B2, round & 0x1f);
                    cpu.write(common + 0x14, B1, [0, 3, 11, 15][round as usize % 4]);
                }
            });
            scope.spawn(move || {
                for round in 0..2000 {
                    function.write_config(4, B2, if round % 3 == 0 { 2 } else { 6 });
                }
            });
            scope.spawn(move || {
                for _ in 0..20_000 {
                    device.plugged(|plugged| plugged.notice.config_changed());
                }
            });
            for _ in 0..500 {
                guest.pause();
                guest.resume();
            }
        });
        guest.set_command(MEMORY_AND_MASTER);
        guest.start();
        assert!(guest.device.is_plugged());
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("CPUs wait for each other");
}

#[test]
fn the_device_configuration_is_the_devices() {
    let mut guest = Guest::new();
    assert_eq!(guest.cpu.read(guest.config.at + 6, B2), Some(0x16));
    guest.cpu.write(guest.config.at + 8, B4, 0x1234);
    assert_eq!(*guest.device.written.lock().unwrap(), [(8, B4, 0x1234)]);
    // Across the end of the structure nothing is read.
    assert_eq!(guest.cpu.read(guest.config.at + 0xffe, B4), Some(0));
}

#[test]
fn registers_answer_in_their_own_width_and_64_bit_ones_also_whole() {
    let mut guest = Guest::new();
    guest.write(0x20, B8, 0x1_2345_6000);
    assert_eq!(guest.read(0x20, B8), 0x1_2345_6000);
    assert_eq!(guest.read(0x24, B4), 1);
    guest.write(0x18, B4, 0xffff_ffff);
    assert_eq!((guest.read(0x18, B2), guest.read(0x18, B4)), (256, 0));
    assert_eq!(guest.read(0x38, B2), 0, "past the last register");
}

/// Accesses through the PCI configuration access capability.
impl Guest {
    fn find_structures_again(&mut self) {
        let before = self.bar(0);
        for structure in [&mut self.common, &mut self.notify, &mut self.isr, &mut self.config] {
            structure.at = before + (structure.at & 0x3fff);
        }
    }

    fn point(&self, bar: u64, offset: u64, length: u64) {
        let at = self.window.capability;
        self.function.write_config(at + 4, B1, bar);
        self.function.write_config(at + 8, B4, offset);
        self.function.write_config(at + 12, B4, length);
    }

    fn peek(&self, width: Width) -> u64 {
        self.function.read_config(self.window.capability + 16, width)
    }

    fn poke(&self, width: Width, value: u64) {
        self.function.write_config(self.window.capability + 16, width, value);
    }
}

#[test]
fn the_window_in_configuration_space_reaches_the_registers() {
    let mut guest = Guest::new();
    // Firmware may use it before it maps the BAR.
    guest.set_command(4);
    guest.point(0, 0x14, 1);
    guest.poke(B1, ACKNOWLEDGE);
    assert_eq!(guest.peek(B1), ACKNOWLEDGE);
    guest.point(0, 0x12, 2);
    assert_eq!(guest.peek(B2), 3);
    guest.point(0, 0, 4);
    guest.poke(B4, 1);
    guest.point(0, 4, 4);
    assert_eq!(guest.peek(B4), (FEATURES | VERSION_1) >> 32);
    // A kick: no ioeventfd sees this one.
    guest.point(0, 0x3000, 2);
    guest.poke(B2, 0);
    guest.set_command(MEMORY_AND_MASTER);
    guest.start();
    assert_eq!(guest.device.plugged(|plugged| plugged.queues[0].kick.read().unwrap()), Some(1));
}

#[test]
fn a_window_that_points_nowhere_shows_only_its_own_bytes() {
    let guest = Guest::new();
    guest.point(0, 0x14, 1);
    guest.poke(B1, ACKNOWLEDGE);
    for (bar, offset, length) in [
        (4, 0, 4),
        (1, 0x14, 1),
        (0xff, 0x14, 1),
        (0, 0x14, 0),
        (0, 0x14, 3),
        (0, 0x10, 8),
        (0, 0x14, 0xffff_ffff),
        (0, 0x4000, 1),
        (0, 0x3ffe, 4),
        (0, 0xffff_fffc, 4),
        (0, 0x13, 2),
    ] {
        guest.point(bar, offset, length);
        guest.poke(B4, 0x5a5a_5a5a);
        assert_eq!(guest.peek(B4), 0x5a5a_5a5a, "{bar} {offset:#x} {length:#x}");
    }
    guest.point(0, 0x14, 1);
    assert_eq!(guest.peek(B1), ACKNOWLEDGE, "nothing was reached");
    assert_eq!(guest.function.read_config(guest.window.capability + 2, B2), 0x0514);
}

/// One thing a hostile driver may do.
#[derive(Clone, Debug)]
enum Act {
    Write { at: u64, width: Width, value: u64 },
    Status(u64),
    Queue { queue: u16, size: u16, addresses: [u64; 3] },
    Negotiate(u64),
    Start,
    StartWith(Rings),
    Command(u64),
    Window { at: u16, value: u64 },
    PauseAndResume,
    Speak,
    Reset,
}

fn address() -> impl Strategy<Value = u64> {
    let end = RAM_LEN as u64;
    prop_oneof![
        4 => (0u64..0x40_0000).prop_map(|at| at & !0xf),
        1 => 0u64..0x40_0000,
        2 => (end - 0x1100..end + 0x10).prop_map(|at| at & !0xf),
        1 => SECOND_RAM - 0x10..SECOND_RAM + 0x10,
        1 => any::<u64>(),
        1 => (0u64..64).prop_map(|below| u64::MAX - below),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let width = prop_oneof![Just(B1), Just(B2), Just(B4), Just(B8)];
    let at = prop_oneof![3 => 0u64..0x40, 1 => 0u64..0x4000];
    let value = prop_oneof![any::<u64>(), 0u64..0x100, Just(u64::MAX)];
    let size = prop_oneof![(0u32..10).prop_map(|bit| 1u16 << bit), any::<u16>()];
    let features = prop_oneof![Just(VERSION_1), any::<u64>()];
    prop_oneof![
        3 => (at, width, value.clone()).prop_map(|(at, width, value)| Act::Write { at, width, value }),
        2 => prop_oneof![Just(0u64), Just(3), Just(11), Just(15), 0u64..0x100].prop_map(Act::Status),
        4 => (0u16..4, size, [address(), address(), address()])
            .prop_map(|(queue, size, addresses)| Act::Queue { queue, size, addresses }),
        2 => features.prop_map(Act::Negotiate),
        2 => (2u32..9, address(), address(), address()).prop_map(|(bits, descriptors, available, used)| {
            Act::StartWith(Rings { size: 1 << bits, descriptors, available, used })
        }),
        1 => Just(Act::Start),
        1 => (0u64..8).prop_map(Act::Command),
        1 => (4u16..20, value).prop_map(|(at, value)| Act::Window { at, value }),
        1 => Just(Act::PauseAndResume),
        1 => Just(Act::Speak),
        1 => Just(Act::Reset),
    ]
}

impl Guest {
    /// A write of one who does not look whether the BAR is mapped.
    fn blind(&mut self, offset: u64, width: Width, value: u64) {
        let at = self.common.at + offset;
        self.cpu.write(at, width, value);
        self.cpu.read(at, width);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Write { at, width, value } => self.blind(at, width, value),
            Act::Status(status) => self.blind(0x14, B1, status),
            Act::Queue { queue, size, addresses } => {
                self.blind(0x16, B2, queue.into());
                self.blind(0x18, B2, size.into());
                for (offset, address) in [0x20, 0x28, 0x30].into_iter().zip(addresses) {
                    self.blind(offset, B8, address);
                }
                self.blind(0x1c, B2, 1);
            }
            Act::Negotiate(features) => {
                for (select, word) in [(0, features), (1, features >> 32)] {
                    self.blind(8, B4, select);
                    self.blind(12, B4, word);
                }
                self.blind(0x14, B1, 11);
            }
            Act::Start => {
                self.set_command(MEMORY_AND_MASTER);
                self.find_structures_again();
                self.start();
            }
            Act::StartWith(rings) => {
                self.set_command(MEMORY_AND_MASTER);
                self.find_structures_again();
                self.start_with(rings);
            }
            Act::Command(command) => self.set_command(command),
            Act::Window { at, value } => {
                self.function.write_config(self.window.capability + at, B1, value & 0xff);
                self.peek(B4);
            }
            Act::PauseAndResume => {
                self.pause();
                assert!(!self.device.is_plugged());
                self.resume();
            }
            Act::Speak => {
                self.device.plugged(|plugged| plugged.notice.needs_reset());
            }
            Act::Reset => {
                let bar = self.bar(0);
                self.function.reset();
                assert!(!self.device.is_plugged());
                self.function.assign(0, bar);
            }
        }
    }
}

/// All that a driver and the device see, without what is told once.
fn seen(guest: &mut Guest) -> (Vec<u64>, Vec<Option<u64>>, Held, u8) {
    let config = (0..0x40).chain(guest.window.capability..guest.window.capability + 20);
    let config = config.map(|at| guest.function.read_config(at, B1)).collect();
    let common = (0..0x38).step_by(2).map(|at| guest.cpu.read(guest.common.at + at, B2)).collect();
    let kept = *guest.device.kept.lock().unwrap();
    (config, common, guest.device.held(), kept)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_card_goes_on_in_another_process_as_it_would_have(
        before in prop::collection::vec(act(), 0..40),
        cursors in any::<(u16, u16)>(),
        after in prop::collection::vec(act(), 0..20),
    ) {
        let mut old = Guest::new();
        *old.device.kept.lock().unwrap() = 0x5a;
        before.into_iter().for_each(|act| old.act(act));
        old.device.plugged(|plugged| {
            let Some(queue) = plugged.queues.last_mut() else { return };
            queue.ring.set_next_used(cursors.0);
            queue.ring.set_next_avail(cursors.0.wrapping_add(cursors.1 % queue.ring.size()));
        });
        let saved = old.saved();
        let mut new = old.elsewhere(&saved).unwrap();
        prop_assert_eq!(&new.saved(), &saved);
        prop_assert_eq!(seen(&mut new), seen(&mut old));
        let told = old.config_interrupts();
        for act in after {
            old.act(act.clone());
            new.act(act);
            prop_assert_eq!(seen(&mut new), seen(&mut old));
        }
        prop_assert_eq!(new.config_interrupts(), old.config_interrupts() - told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// The device itself checks each queue it is given, and that plug and unplug alternate.
    #[test]
    fn no_driver_breaks_the_card(acts in prop::collection::vec(act(), 1..80)) {
        let mut guest = Guest::new();
        for act in acts {
            guest.act(act);
            let command = guest.function.read_config(4, B2);
            if command & 4 == 0 {
                prop_assert!(!guest.device.is_plugged(), "no bus master, no DMA");
            }
            if command & 2 != 0 && guest.device.is_plugged() {
                guest.find_structures_again();
                prop_assert_eq!(guest.status() & (DRIVER_OK | FEATURES_OK | FAILED), 12);
            }
        }
        guest.set_command(MEMORY_AND_MASTER);
        guest.start();
        prop_assert!(guest.device.is_plugged(), "a reset always brings the card back");
    }
}
