//! What firmware, systems and drivers do with the PCI bus and virtio cards.

use device_core::bus::Width::{self, B1, B2, B4, B8};
use fuzz::driver::{Access, EVENT_IDX, Rings, STATUS, Structures, VERSION_1};
use fuzz::input::Output;
use fuzz::pci_mmio::{Cpu, Machine, SLOTS, Step};

use crate::Seed;

const CARD: u8 = SLOTS[0];
const OTHER: u8 = SLOTS[1];
const MSIX_BAR: u8 = 4;

fn drive(name: &'static str, driver: impl FnOnce(&mut Machine)) -> Seed {
    let mut machine = Machine::new();
    machine.record = Some(Vec::new());
    driver(&mut machine);
    let mut output = Output::default();
    machine.record.take().unwrap_or_default().iter().for_each(|step| step.write(&mut output));
    (name, output.0)
}

fn event(machine: &mut Machine, event: u8) {
    machine.apply(Step::Event { slot: CARD, event });
}

fn enable(cpu: &mut Cpu<'_>, command: u64) {
    cpu.write_config(4, B2, command);
}

/// As far as FEATURES_OK, with queue 0 at `rings`, then DRIVER_OK.
fn start_with(machine: &mut Machine, rings: Rings) {
    let cpu = &mut machine.cpu(CARD);
    enable(cpu, 6);
    let structures = Structures::find(cpu);
    structures.negotiate(cpu, VERSION_1);
    structures.set_queue(cpu, 0, 0xffff, rings);
    structures.run(cpu);
    structures.status(cpu);
}

const RINGS: Rings = Rings { size: 64, descriptors: 0x1000, available: 0x2000, used: 0x3000 };

pub fn all() -> Vec<Seed> {
    let mut seeds = bus();
    seeds.extend(cards());
    seeds.extend(queues());
    seeds
}

fn bus() -> Vec<Seed> {
    vec![
        drive("enumerate", |machine| {
            for slot in 0..4 {
                machine.apply(Step::ReadConfig { slot, register: 0, width: B4 });
                machine.apply(Step::ReadConfig { slot, register: 8, width: B4 });
                machine.apply(Step::ReadConfig { slot, register: 0xe, width: B1 });
                machine.apply(Step::ReadConfig { slot, register: 0x1000, width: B4 });
            }
        }),
        drive("enumerate-by-ports", |machine| {
            let write = |machine: &mut Machine, offset, width, value| {
                machine.apply(Step::WritePort { offset, width, value });
            };
            write(machine, 3, B1, 1);
            write(machine, 0, B4, 0x8000_0000);
            machine.apply(Step::ReadPort { offset: 0, width: B4 });
            for slot in 0..4u64 {
                write(machine, 0, B4, 0x8000_0000 | slot << 11);
                machine.apply(Step::ReadPort { offset: 4, width: B4 });
                write(machine, 0, B4, 0x8000_0004 | slot << 11);
                write(machine, 4, B2, 6);
                machine.apply(Step::ReadPort { offset: 6, width: B2 });
            }
            write(machine, 0, B4, 0x8001_0000);
            machine.apply(Step::ReadPort { offset: 4, width: B8 });
        }),
        drive("size-bars", |machine| {
            for slot in SLOTS {
                let cpu = &mut machine.cpu(slot);
                enable(cpu, 0);
                (0..6).for_each(|bar| {
                    cpu.size_bar(bar);
                });
                cpu.place_bars();
                enable(cpu, 6);
            }
        }),
        drive("size-bars-while-enabled", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 2);
            (0..6).for_each(|bar| {
                cpu.size_bar(bar);
            });
        }),
        drive("two-cards-at-one-place", |machine| {
            for slot in SLOTS {
                let cpu = &mut machine.cpu(slot);
                cpu.write_config(0x10, B4, 0xe000_0000);
                cpu.write_config(0x14, B4, 0);
                enable(cpu, 6);
            }
            enable(&mut machine.cpu(CARD), 0);
            enable(&mut machine.cpu(OTHER), 6);
        }),
        drive("a-bar-on-the-other-bar", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 2);
            cpu.write_config(0x10, B8, 0xe000_0000);
            cpu.write_config(0x20, B4, 0xe000_2000);
            cpu.write_config(0x20, B4, 0xe000_4000);
        }),
        drive("bars-beside-the-windows", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 2);
            for low in [0xdfff_c000u64, 0xe0ff_c000, 0xe100_0000, 0xd000_0000, 0, 0xffff_c000] {
                cpu.write_config(0x10, B8, low);
            }
            for high in [0x3f_ffff_c000u64, 0x40_00ff_c000, 0x40_0100_0000, u64::MAX] {
                cpu.write_config(0x10, B4, high & 0xffff_ffff);
                cpu.write_config(0x14, B4, high >> 32);
            }
        }),
        drive("odd-widths", |machine| {
            for (register, width) in [(3, B2), (0xfff, B4), (0xffc, B8), (1, B8), (5, B1)] {
                machine.apply(Step::ReadConfig { slot: CARD, register, width });
                let value = u64::MAX;
                machine.apply(Step::WriteConfig { slot: CARD, register, width, value });
            }
        }),
        drive("beside-everything", |machine| {
            for address in [0u64, 0xcfff_ffff, 0xd00f_ffff, 0xe000_0000, u64::MAX] {
                machine.apply(Step::ReadMemory { address, width: B4 });
                machine.apply(Step::WriteMemory { address, width: B8, value: u64::MAX });
            }
        }),
    ]
}

fn cards() -> Vec<Seed> {
    vec![
        drive("start", |machine| SLOTS.iter().for_each(|slot| machine.cpu(*slot).start())),
        drive("start-and-kick", |machine| {
            machine.cpu(CARD).start();
            let cpu = &mut machine.cpu(CARD);
            let structures = Structures::find(cpu);
            (0..4).for_each(|queue| structures.kick(cpu, queue));
        }),
        drive("interrupts", |machine| {
            machine.cpu(CARD).start();
            event(machine, 0);
            event(machine, 2);
            // The ISR status, then the generation.
            machine.cpu(CARD).read_bar(0x1000, B1);
            machine.cpu(CARD).read_bar(0x15, B1);
        }),
        drive("masked-interrupts", |machine| {
            machine.cpu(CARD).start();
            let msix = Structures::find(&mut machine.cpu(CARD)).msix;
            let mask = |machine: &mut Machine, offset, value| {
                let (slot, bar, width) = (CARD, MSIX_BAR, B4);
                machine.apply(Step::WriteBar { slot, bar, offset, width, value });
            };
            mask(machine, 12, 1);
            mask(machine, 28, 1);
            event(machine, 0);
            event(machine, 2);
            machine.apply(Step::ReadBar { slot: CARD, bar: MSIX_BAR, offset: 0x1000, width: B8 });
            mask(machine, 28, 0);
            machine.cpu(CARD).write_config(msix + 2, B2, 0xc000);
            event(machine, 2);
            machine.cpu(CARD).write_config(msix + 2, B2, 0x8000);
            machine.cpu(CARD).write_config(msix + 2, B2, 0);
        }),
        drive("function-reset", |machine| {
            machine.cpu(CARD).start();
            machine.cpu(CARD).reset_function();
            machine.cpu(CARD).place_bars();
            machine.cpu(CARD).start();
        }),
        drive("bus-reset", |machine| {
            machine.cpu(CARD).start();
            event(machine, 5);
            machine.cpu(CARD).start();
        }),
        drive("no-bus-master", |machine| {
            machine.cpu(CARD).start();
            enable(&mut machine.cpu(CARD), 2);
            event(machine, 2);
            enable(&mut machine.cpu(CARD), 6);
            enable(&mut machine.cpu(CARD), 4);
        }),
        drive("move-while-running", |machine| {
            machine.cpu(CARD).start();
            let cpu = &mut machine.cpu(CARD);
            cpu.write_config(0x10, B4, 0x20_0000);
            let structures = Structures::find(cpu);
            structures.kick(cpu, 1);
            structures.status(cpu);
        }),
        drive("stop-and-go-on", |machine| {
            machine.cpu(CARD).start();
            event(machine, 4);
            machine.cpu(CARD).write_bar(STATUS, B1, 0);
            event(machine, 4);
            event(machine, 4);
            machine.cpu(CARD).start();
            event(machine, 4);
        }),
        drive("device-refuses-queues", |machine| {
            event(machine, 3);
            machine.cpu(CARD).start();
            event(machine, 3);
            machine.cpu(CARD).start();
        }),
        drive("device-needs-reset", |machine| {
            machine.cpu(CARD).start();
            event(machine, 1);
            machine.cpu(CARD).read_bar(STATUS, B1);
            machine.cpu(CARD).start();
        }),
        drive("window-capability", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 6);
            let at = Structures::find(cpu).window;
            let mut through = |offset: u64, width: Width, value: Option<u64>| {
                cpu.write_config(at + 4, B1, 0);
                cpu.write_config(at + 8, B4, offset);
                cpu.write_config(at + 12, B4, width.bytes());
                match value {
                    Some(value) => cpu.write_config(at + 16, width, value),
                    None => drop(cpu.read_config(at + 16, width)),
                }
            };
            through(STATUS, B1, Some(1));
            through(STATUS, B1, None);
            through(0x12, B2, None);
            through(0x2000, B4, None);
            through(0x3004, B2, Some(1));
            through(0xffff_fffc, B4, Some(1));
            through(1, B4, None);
        }),
    ]
}

fn queues() -> Vec<Seed> {
    let with = |name, rings| drive(name, |machine| start_with(machine, rings));
    vec![
        with("queue", RINGS),
        with("queue-above-the-hole", Rings { descriptors: 0x20_0000, ..RINGS }),
        with("queue-of-no-size", Rings { size: 0, ..RINGS }),
        with("queue-of-odd-size", Rings { size: 65, ..RINGS }),
        with("queue-too-large", Rings { size: 512, ..RINGS }),
        with("queue-misaligned", Rings { used: 0x3002, ..RINGS }),
        with("queue-at-the-end-of-ram", Rings { descriptors: 0xf_fc00, ..RINGS }),
        with("queue-past-the-end-of-ram", Rings { descriptors: 0xf_fc10, ..RINGS }),
        with("queue-in-the-hole", Rings { available: 0x10_0000, ..RINGS }),
        with("queue-at-the-end-of-the-world", Rings { used: u64::MAX - 3, ..RINGS }),
        drive("unknown-features", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 6);
            let structures = Structures::find(cpu);
            structures.offered(cpu);
            structures.negotiate(cpu, VERSION_1 | EVENT_IDX | 1 << 34);
            structures.negotiate(cpu, EVENT_IDX);
            structures.run(cpu);
        }),
        drive("features-past-64", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 6);
            cpu.write_bar(8, B4, 2);
            cpu.write_bar(12, B4, 1);
            cpu.write_bar(STATUS, B1, 0xf);
        }),
        drive("changes-after-driver-ok", |machine| {
            start_with(machine, RINGS);
            let cpu = &mut machine.cpu(CARD);
            for (offset, width, value) in
                [(0x16, B2, 0), (0x18, B2, 8), (0x1c, B2, 1), (0x20, B4, 0), (0x30, B8, 0xf000)]
            {
                cpu.write_bar(offset, width, value);
            }
            cpu.write_bar(12, B4, 0);
        }),
        drive("a-driver-gives-up", |machine| {
            start_with(machine, RINGS);
            machine.cpu(CARD).write_bar(STATUS, B1, 0x8f);
            start_with(machine, RINGS);
        }),
        drive("status-bits-taken-back", |machine| {
            start_with(machine, RINGS);
            machine.cpu(CARD).write_bar(STATUS, B1, 3);
            machine.cpu(CARD).write_bar(STATUS, B1, 0);
        }),
        drive("queue-past-the-last", |machine| {
            let cpu = &mut machine.cpu(CARD);
            enable(cpu, 6);
            Structures::find(cpu).set_queue(cpu, 3, 9, RINGS);
        }),
    ]
}
