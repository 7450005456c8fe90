//! A virtio device in an MMIO slot: any accesses, and a good driver afterwards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use device_core::GuestRam;
use device_core::bus::Width::{self, B1, B4};
use device_core::bus::{Bus, BusView};
use device_core::device::{Device, MmioSlot};
use device_core::testing::{TestLine, TestMachine, ram_at};
use device_core::worker::Threads;
use virtio::transport::mmio::{LEN, VirtioMmio};

use crate::checker::{Checker, FEATURES, SIZES};
use crate::driver::{DRIVER_OK, EVENT_IDX, Rings, VERSION_1};
use crate::input::{Input, Output, width, width_bits};

const AT: u64 = 0xfe00_0000;
const RAM: [(u64, usize); 2] = [(0, 0x10_0000), (0x20_0000, 0x10_0000)];

// Registers (linux/virtio_mmio.h).
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
pub const QUEUE_SEL: u64 = 0x30;
pub const QUEUE_NUM: u64 = 0x38;
pub const QUEUE_READY: u64 = 0x44;
const NOTIFY: u64 = 0x50;
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;
pub const STATUS: u64 = 0x70;
const QUEUE_PARTS: [u64; 3] = [0x80, 0x90, 0xa0];
const CONFIG: u64 = 0x100;

const ACKNOWLEDGE: u64 = 1;
const DRIVER: u64 = 2;
const FEATURES_OK: u64 = 8;
const NEEDS_RESET: u64 = 0x40;
const FAILED: u64 = 0x80;

/// One thing that happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read {
        offset: u16,
        width: Width,
    },
    Write {
        offset: u16,
        width: Width,
        value: u64,
    },
    /// A word written to the notify register, as the host's kernel takes it.
    Kick(u32),
    /// Something in the device or by its owner; see [`Machine::happen`].
    Event(u8),
}

impl Step {
    fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let width = width(kind >> 4);
        // Most offsets are those of registers, if they are cut like that.
        let offset = |input: &mut Input<'_>| match kind & 0x80 {
            0 => Some(u16::from(input.u8()?) & !3),
            _ => input.u16(),
        };
        Some(match kind & 0xf {
            0 | 1 => Step::Read { offset: offset(input)?, width },
            2..10 => Step::Write { offset: offset(input)?, width, value: input.value(width)? },
            10 => Step::Kick(input.u32()?),
            _ => Step::Event(input.u8()?),
        })
    }

    pub fn write(&self, output: &mut Output) {
        let head = |kind: u8, width: Width, offset: u16| {
            let is_register = offset < 0x100 && offset.is_multiple_of(4);
            kind | width_bits(width) << 4 | if is_register { 0 } else { 0x80 }
        };
        let place = |output: &mut Output, kind: u8, width: Width, offset: u16| {
            let head = head(kind, width, offset);
            output.u8(head);
            if head & 0x80 == 0 {
                output.u8(offset as u8);
            } else {
                output.u16(offset);
            }
        };
        match *self {
            Step::Read { offset, width } => place(output, 0, width, offset),
            Step::Write { offset, width, value } => {
                place(output, 2, width, offset);
                output.value(width, value);
            }
            Step::Kick(value) => {
                output.u8(10).u32(value);
            }
            Step::Event(event) => {
                output.u8(11).u8(event);
            }
        }
    }
}

/// The device in its slot.
pub struct Machine {
    machine: TestMachine,
    card: Arc<VirtioMmio>,
    device: Arc<Checker>,
    line: Arc<TestLine>,
    cpu: BusView,
    stopped: bool,
    /// What has been done, if anyone wants to know.
    pub record: Option<Vec<Step>>,
}

impl Machine {
    pub fn new() -> Machine {
        static MEMORY: OnceLock<GuestRam> = OnceLock::new();
        let memory = MEMORY.get_or_init(|| ram_at(&RAM)).clone();
        let mut machine = TestMachine::new(memory.clone());
        machine.threads = Threads::by_hand().expect("an epoll");
        let device = Arc::new(Checker::new(0xa5, memory));
        let line = Arc::new(TestLine::default());
        let slot = MmioSlot { address: AT, line: line.clone() };
        let card = VirtioMmio::new(device.clone(), &machine.kit(), &slot).expect("a device");
        let mmio = Bus::new();
        mmio.insert(AT, LEN, card.clone()).expect("the place is free");
        let cpu = mmio.view();
        Machine { machine, card, device, line, cpu, stopped: false, record: None }
    }

    /// Does a step; returns what was read.
    pub fn apply(&mut self, step: Step) -> u64 {
        if let Some(record) = &mut self.record {
            record.push(step);
        }
        match step {
            Step::Read { offset, width } => {
                return self.cpu.read(AT + u64::from(offset), width).unwrap_or(width.mask());
            }
            Step::Write { offset, width, value } => {
                self.cpu.write(AT + u64::from(offset), width, value);
            }
            Step::Kick(value) => {
                if !self.machine.kicks.kick_value(AT + NOTIFY, value) {
                    self.cpu.write(AT + NOTIFY, B4, value.into());
                }
            }
            Step::Event(event) => self.happen(event),
        }
        0
    }

    /// What the device and its owner do.
    fn happen(&mut self, event: u8) {
        let device = self.device.clone();
        match event {
            0 => drop(device.plugged(|plugged| plugged.notice.config_changed())),
            1 => drop(device.plugged(|plugged| plugged.notice.needs_reset())),
            2 => drop(device.plugged(|plugged| {
                let irqs = plugged.queues.iter().filter_map(|queue| queue.irq.clone());
                irqs.for_each(|irq| irq.fire());
            })),
            3 => drop(device.refuses.fetch_xor(true, Ordering::Relaxed)),
            4 if self.stopped => {
                self.stopped = false;
                self.card.start();
            }
            4 => {
                self.stopped = true;
                self.card.stop();
            }
            5 => self.card.reset(),
            _ => {}
        }
    }

    /// Looks without a trace in the record.
    fn look(&mut self, offset: u64) -> u64 {
        self.cpu.read(AT + offset, B4).expect("a register")
    }

    pub fn read(&mut self, offset: u64) -> u64 {
        self.apply(Step::Read { offset: offset as u16, width: B4 })
    }

    pub fn write(&mut self, offset: u64, value: u64) {
        self.apply(Step::Write { offset: offset as u16, width: B4, value });
    }

    pub fn set_queue(&mut self, queue: u16, rings: Rings) {
        self.write(QUEUE_SEL, queue.into());
        self.write(QUEUE_NUM, rings.size.into());
        let addresses = [rings.descriptors, rings.available, rings.used];
        for (part, address) in QUEUE_PARTS.into_iter().zip(addresses) {
            self.write(part, address & 0xffff_ffff);
            self.write(part + 4, address >> 32);
        }
        self.write(QUEUE_READY, 1);
    }

    /// From reset to FEATURES_OK; whether the device agrees.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.write(STATUS, 0);
        self.write(STATUS, ACKNOWLEDGE);
        self.write(STATUS, ACKNOWLEDGE | DRIVER);
        for (select, word) in [(1, features >> 32), (0, features & 0xffff_ffff)] {
            self.write(DRIVER_FEATURES_SEL, select);
            self.write(DRIVER_FEATURES, word);
        }
        self.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        self.read(STATUS) & FEATURES_OK != 0
    }

    /// The last step; the queues live from here on.
    pub fn run(&mut self) {
        self.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// A driver's whole way from reset on.
    pub fn start(&mut self) {
        assert!(self.negotiate(VERSION_1 | EVENT_IDX | FEATURES), "features refused");
        for (queue, size) in (0u16..).zip(SIZES) {
            let base = 0x1_0000 * (u64::from(queue) + 1);
            let (available, used) = (base + 0x2000, base + 0x4000);
            self.set_queue(queue, Rings { size, descriptors: base, available, used });
        }
        self.run();
    }

    /// Why there was an interrupt, taken back as a driver's handler does.
    pub fn take_interrupt(&mut self) -> u64 {
        let why = self.read(INTERRUPT_STATUS);
        self.write(INTERRUPT_ACK, why);
        why
    }

    /// What must hold after any step: the device has queues when the driver said so and nothing is wrong.
    fn check(&mut self) {
        let status = self.look(STATUS);
        let may_run = status & DRIVER_OK != 0 && !self.stopped;
        if self.device.plugged(|_| ()).is_some() {
            assert!(may_run && status & FAILED == 0, "queues with status {status:#x}");
        } else {
            let trouble = status & (FAILED | NEEDS_RESET) != 0;
            assert!(!may_run || trouble, "no queues with status {status:#x}");
        }
        let why = self.look(INTERRUPT_STATUS);
        assert!(why <= 3, "interrupt status {why:#x}");
        assert!(why == 0 || self.line.pulses() > 0, "a reason without an interrupt");
        let byte = self.cpu.read(AT + CONFIG, B1);
        assert_eq!(byte, Some(self.device.pattern.into()));
        assert_eq!(self.machine.kicks.bound(), [AT + NOTIFY; SIZES.len()]);
    }

    /// From whatever it was brought into, a good driver brings the device back.
    fn check_recovery(&mut self) {
        if self.stopped {
            self.happen(4);
        }
        self.device.refuses.store(false, Ordering::Relaxed);
        self.start();
        self.check();
        let features = self.device.plugged(|plugged| (plugged.features, plugged.queues.len()));
        assert_eq!(features, Some((VERSION_1 | EVENT_IDX | FEATURES, SIZES.len())));

        self.take_interrupt();
        let before = self.line.pulses();
        self.happen(2);
        assert_eq!(self.line.pulses(), before + SIZES.len() as u64, "an interrupt was lost");
        assert_eq!(self.take_interrupt(), 1);

        let heard = |queue: u16| {
            move |plugged: &crate::checker::Plugged| {
                plugged.queues[usize::from(queue)].kick.read().is_ok()
            }
        };
        for queue in 0..SIZES.len() as u16 {
            self.device.plugged(heard(queue));
            self.apply(Step::Kick(queue.into()));
            assert_eq!(self.device.plugged(heard(queue)), Some(true), "a kick was lost");
        }
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

pub fn run(bytes: &[u8]) {
    let mut machine = Machine::new();
    let mut input = Input(bytes);
    while let Some(step) = Step::read(&mut input) {
        machine.apply(step);
        if !matches!(step, Step::Read { .. }) {
            machine.check();
        }
    }
    machine.check_recovery();
}
