//! What drivers do with a virtio device in an MMIO slot, good ones and bad.

use device_core::bus::Width::{B1, B2, B4, B8};
use fuzz::driver::{Rings, VERSION_1};
use fuzz::input::Output;
use fuzz::virtio_mmio::{Machine, QUEUE_NUM, QUEUE_READY, QUEUE_SEL, STATUS, Step};

use crate::Seed;

fn drive(name: &'static str, driver: impl FnOnce(&mut Machine)) -> Seed {
    let mut machine = Machine::new();
    machine.record = Some(Vec::new());
    driver(&mut machine);
    let mut output = Output::default();
    machine.record.take().unwrap_or_default().iter().for_each(|step| step.write(&mut output));
    (name, output.0)
}

const RINGS: Rings = Rings { size: 64, descriptors: 0x1000, available: 0x2000, used: 0x3000 };

/// As far as DRIVER_OK, with queue 0 at `rings`.
fn start_with(machine: &mut Machine, rings: Rings) {
    machine.negotiate(VERSION_1);
    machine.set_queue(0, rings);
    machine.run();
    machine.read(STATUS);
}

pub fn all() -> Vec<Seed> {
    vec![
        drive("probe", |machine| {
            for offset in (0..0x100).step_by(4) {
                machine.read(offset);
            }
        }),
        drive("start-kick-and-reset", |machine| {
            machine.start();
            for queue in 0..4 {
                machine.apply(Step::Kick(queue));
                machine.write(0x50, queue.into());
            }
            machine.apply(Step::Event(2));
            machine.take_interrupt();
            machine.apply(Step::Event(0));
            machine.take_interrupt();
            machine.write(STATUS, 0);
            machine.write(QUEUE_SEL, 0);
            machine.write(QUEUE_READY, 0);
        }),
        drive("pause-and-machine-reset", |machine| {
            machine.start();
            machine.apply(Step::Event(4));
            machine.apply(Step::Event(4));
            machine.apply(Step::Event(5));
        }),
        drive("device-needs-reset-and-driver-gives-up", |machine| {
            machine.start();
            machine.apply(Step::Event(1));
            machine.write(STATUS, 0x8f);
        }),
        drive("device-refuses-queues", |machine| {
            machine.apply(Step::Event(3));
            machine.start();
        }),
        drive("hostile-queues", |machine| {
            for rings in [
                Rings { size: 0, ..RINGS },
                Rings { size: 512, ..RINGS },
                Rings { descriptors: 0x1008, ..RINGS },
                Rings { available: 0xf_ffff, ..RINGS },
                Rings { used: 0x20_0000 - 4, ..RINGS },
                Rings { descriptors: 0xfe00_0000, ..RINGS },
                Rings { used: !3, ..RINGS },
            ] {
                start_with(machine, rings);
            }
        }),
        drive("changes-after-driver-ok", |machine| {
            start_with(machine, RINGS);
            machine.write(QUEUE_NUM, 8);
            machine.write(QUEUE_READY, 0);
            machine.write(0x80, 0x5000);
            machine.write(STATUS, 1);
        }),
        drive("odd-accesses", |machine| {
            machine.start();
            for width in [B1, B2, B4, B8] {
                for offset in [0, 1, 0x44, 0x50, 0x60, 0x70, 0xfe, 0x100, 0x106, 0xffe] {
                    machine.apply(Step::Read { offset, width });
                    machine.apply(Step::Write { offset, width, value: 0xff });
                }
            }
            machine.write(STATUS, 0x100);
            machine.write(QUEUE_SEL, 0x1_0000);
            machine.write(QUEUE_NUM, 0x1_0100);
        }),
    ]
}
