//! The board's devices on their ports: any accesses, and a good driver afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arch::layout;
use device_core::bus::{Bus, BusDevice, BusView, Width};
use device_core::interrupt::IrqLine;
use legacy::{BoardEvents, ConsoleSpec, I8042, PowerFacts, PowerRegisters, Rtc, Serial};

use crate::input::{Input, Output, width, width_bits};

/// First port and number of ports of each device.
const PORTS: [(u16, u16); 4] = [
    (layout::COM1_PORT, layout::COM1_PORTS as u16),
    (layout::I8042_DATA_PORT, 5),
    (layout::RTC_PORT, layout::RTC_PORTS as u16),
    (layout::SLEEP_CONTROL_PORT, 4),
];
pub const COM1: u16 = layout::COM1_PORT;
pub const KEYBOARD: u16 = layout::I8042_DATA_PORT;
pub const CLOCK: u16 = layout::RTC_PORT;
pub const POWER: u16 = layout::SLEEP_CONTROL_PORT;

/// One thing that happens to the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read {
        port: u16,
        width: Width,
    },
    Write {
        port: u16,
        width: Width,
        value: u64,
    },
    /// The host presses Ctrl-Alt-Del.
    Keys,
    /// Time passes.
    Wait {
        ms: u32,
    },
}

impl Step {
    /// A byte for kind, width and device, then the port counted from the device's first, then the
    /// value.
    fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let width = width(kind >> 2);
        let mut port = || {
            let (first, _) = PORTS[usize::from(kind >> 4 & 3)];
            Some(first.wrapping_add_signed(input.u8()?.cast_signed().into()))
        };
        Some(match kind & 3 {
            0 => Step::Read { port: port()?, width },
            1 => Step::Write { port: port()?, width, value: input.value(width)? },
            2 => Step::Keys,
            _ => Step::Wait { ms: input.u32()? },
        })
    }

    pub fn write(&self, output: &mut Output) {
        let device_and_offset = |port: u16| {
            let (device, &(first, _)) = (0u8..)
                .zip(&PORTS)
                .find(|(_, (first, count))| (*first..*first + *count).contains(&port))
                .expect("a device's port");
            (device << 4, (port - first) as u8)
        };
        match *self {
            Step::Read { port, width } => {
                let (device, offset) = device_and_offset(port);
                output.u8(device | width_bits(width) << 2).u8(offset);
            }
            Step::Write { port, width, value } => {
                let (device, offset) = device_and_offset(port);
                output.u8(1 | device | width_bits(width) << 2).u8(offset).value(width, value);
            }
            Step::Keys => {
                output.u8(2);
            }
            Step::Wait { ms } => {
                output.u8(3).u32(ms);
            }
        }
    }
}

struct Silent;

impl IrqLine for Silent {
    fn pulse(&self) {}
}

#[derive(Default)]
struct Ends {
    off: AtomicU32,
    reset: AtomicU32,
}

impl BoardEvents for Ends {
    fn guest_off(&self) {
        self.off.fetch_add(1, Ordering::Relaxed);
    }
    fn guest_reset(&self) {
        self.reset.fetch_add(1, Ordering::Relaxed);
    }
}

/// The devices, the events they sent, and the time they show.
pub struct Board {
    ports: BusView,
    keyboard: Arc<I8042>,
    ends: Arc<Ends>,
    /// Since 1970, in milliseconds.
    now: Arc<AtomicU64>,
    offs_asked: u32,
    /// What has been done, if anyone wants to know.
    pub record: Option<Vec<Step>>,
}

impl Board {
    pub fn new() -> Board {
        let ends = Arc::new(Ends::default());
        let keyboard = Arc::new(I8042::new(Arc::new(Silent), ends.clone()));
        let console = ConsoleSpec::File("/dev/null".into()).open().expect("/dev/null opens");
        let now = Arc::new(AtomicU64::new(1_767_225_600_000)); // the start of 2026
        let clock = now.clone();
        let power = PowerFacts {
            sleep_control: 0,
            sleep_status: (layout::SLEEP_STATUS_PORT - POWER).into(),
            reset: (layout::RESET_PORT - POWER).into(),
            sleep_into_s5: layout::SLEEP_INTO_S5,
            reset_value: layout::RESET_VALUE,
        };
        let devices: [Arc<dyn BusDevice>; 4] = [
            Arc::new(Serial::new(Arc::new(Silent), console.line())),
            keyboard.clone(),
            Arc::new(Rtc::with_clock(move || Duration::from_millis(clock.load(Ordering::Relaxed)))),
            Arc::new(PowerRegisters::new(power, ends.clone())),
        ];
        let bus = Bus::new();
        for ((first, count), device) in PORTS.into_iter().zip(devices) {
            bus.insert(first.into(), count.into(), device).expect("the ports are free");
        }
        Board { ports: bus.view(), keyboard, ends, now, offs_asked: 0, record: None }
    }

    /// Does a step; returns what was read.
    pub fn apply(&mut self, step: Step) -> u64 {
        if let Some(record) = &mut self.record {
            record.push(step);
        }
        match step {
            Step::Read { port, width } => {
                return self.ports.read(port.into(), width).unwrap_or(width.mask());
            }
            Step::Write { port, width, value } => {
                if self.ports.write(port.into(), width, value) {
                    let into_s5 = |(at, byte)| {
                        port + at == layout::SLEEP_CONTROL_PORT && byte == layout::SLEEP_INTO_S5
                    };
                    let bytes = value.to_le_bytes().into_iter().take(width.bytes() as usize);
                    self.offs_asked += (0..).zip(bytes).filter(|at| into_s5(*at)).count() as u32;
                }
            }
            Step::Keys => {
                // A refusal is an answer too.
                if self.keyboard.press_ctrl_alt_del().is_ok() {
                    let status = self.inb(layout::I8042_COMMAND_PORT);
                    assert_eq!(status & 1, 1, "the keys are not there");
                }
            }
            Step::Wait { ms } => {
                let now = self.now.load(Ordering::Relaxed).saturating_add(ms.into());
                self.now.store(now, Ordering::Relaxed);
            }
        }
        0
    }

    pub fn inb(&mut self, port: u16) -> u8 {
        self.apply(Step::Read { port, width: Width::B1 }) as u8
    }

    pub fn outb(&mut self, port: u16, value: u8) {
        self.apply(Step::Write { port, width: Width::B1, value: value.into() });
    }

    fn check_events(&self) {
        assert_eq!(self.ends.off.load(Ordering::Relaxed), self.offs_asked, "powered off by itself");
    }

    fn check_serial(&mut self) {
        let outb = |board: &mut Board, register, value| board.outb(COM1 + register, value);
        outb(self, 3, 3); // 8N1, divisor out of the way
        outb(self, 4, 0x10); // loopback
        while self.inb(COM1 + 5) & 1 != 0 {
            self.inb(COM1);
        }
        assert_eq!(self.inb(COM1 + 5) & 0x60, 0x60, "the transmitter is not empty");
        outb(self, 0, 0x41);
        assert_eq!((self.inb(COM1 + 5) & 1, self.inb(COM1)), (1, 0x41), "no loopback");
        outb(self, 7, 0x5a);
        assert_eq!(self.inb(COM1 + 7), 0x5a, "no scratch register");
    }

    fn check_keyboard(&mut self) {
        let (data, command) = (KEYBOARD, layout::I8042_COMMAND_PORT);
        self.outb(command, 0xaa);
        assert_eq!(self.inb(data), 0x55, "the self-test failed");
        self.outb(command, 0xae);
        let mut left = 64;
        while self.inb(command) & 1 != 0 {
            self.inb(data);
            left -= 1;
            assert_ne!(left, 0, "the keyboard never runs dry");
        }
        self.outb(data, 0xff);
        assert_eq!([self.inb(data), self.inb(data)], [0xfa, 0xaa], "the keyboard is lost");
    }

    fn check_clock(&mut self) {
        // 2026-01-02 03:04:05, a Friday: in BCD and 24 hours.
        let date = [(0, 5), (2, 4), (4, 3), (7, 2), (8, 1), (9, 0x26), (0x32, 0x20)];
        let cell = |board: &mut Board, index, value| {
            board.outb(CLOCK, index);
            board.outb(CLOCK + 1, value);
        };
        cell(self, 0xb, 0x82);
        date.iter().for_each(|&(index, value)| cell(self, index, value));
        cell(self, 0xb, 0x02);
        for (index, value) in date.into_iter().chain([(6, 6)]) {
            self.outb(CLOCK, index);
            assert_eq!(self.inb(CLOCK + 1), value, "cell {index:#x} of the clock");
        }
    }
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

pub fn run(bytes: &[u8]) {
    let mut board = Board::new();
    let mut input = Input(bytes);
    while let Some(step) = Step::read(&mut input) {
        board.apply(step);
        board.check_events();
    }
    board.check_serial();
    board.check_keyboard();
    board.check_clock();
}
