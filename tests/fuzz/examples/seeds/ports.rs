//! What drivers do with the board's ports.

use device_core::bus::Width;
use fuzz::input::Output;
use fuzz::legacy_ports::{Board, CLOCK, COM1, KEYBOARD, POWER, Step};

use crate::Seed;

const COMMAND: u16 = KEYBOARD + 4;
const STATUS: u16 = COMMAND;

fn drive(name: &'static str, driver: impl FnOnce(&mut Board)) -> Seed {
    let mut board = Board::new();
    board.record = Some(Vec::new());
    driver(&mut board);
    let mut output = Output::default();
    board.record.unwrap_or_default().iter().for_each(|step| step.write(&mut output));
    (name, output.0)
}

pub fn all() -> Vec<Seed> {
    let mut seeds = serial();
    seeds.extend(keyboard());
    seeds.extend(clock());
    seeds.extend(power());
    seeds
}

fn serial() -> Vec<Seed> {
    fn set_up(board: &mut Board) {
        for (register, value) in [(3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 0xb), (1, 5)] {
            board.outb(COM1 + register, value);
        }
    }
    vec![
        drive("serial-probe", |board| {
            board.inb(COM1 + 1);
            board.outb(COM1 + 1, 0);
            board.outb(COM1 + 1, 0xf);
            board.inb(COM1 + 1);
            board.outb(COM1 + 7, 0x5a);
            board.inb(COM1 + 7);
            board.outb(COM1 + 4, 0x1a);
            board.inb(COM1 + 6);
            board.outb(COM1 + 2, 1);
            board.inb(COM1 + 2);
        }),
        drive("serial-print", |board| {
            set_up(board);
            for byte in *b"hello\n" {
                board.inb(COM1 + 5);
                board.outb(COM1, byte);
                board.inb(COM1 + 2);
            }
        }),
        drive("serial-transmit-interrupt", |board| {
            set_up(board);
            board.outb(COM1 + 1, 2);
            board.outb(COM1, b'x');
            board.inb(COM1 + 2);
            board.inb(COM1 + 2);
        }),
        drive("serial-loopback", |board| {
            set_up(board);
            board.outb(COM1 + 4, 0x1b);
            (0..70).for_each(|byte| board.outb(COM1, byte));
            while board.inb(COM1 + 5) & 1 != 0 {
                board.inb(COM1 + 2);
                board.inb(COM1);
            }
            board.outb(COM1 + 4, 0xb);
        }),
        drive("serial-wide", |board| {
            board.apply(Step::Read { port: COM1, width: Width::B4 });
            board.apply(Step::Write { port: COM1, width: Width::B8, value: 0x1b_0307_0141 });
            board.apply(Step::Read { port: COM1, width: Width::B8 });
            board.apply(Step::Write { port: COM1 + 6, width: Width::B2, value: 0x5a00 });
        }),
    ]
}

fn drain(board: &mut Board) {
    while board.inb(STATUS) & 1 != 0 {
        board.inb(KEYBOARD);
    }
}

fn keyboard() -> Vec<Seed> {
    fn command(board: &mut Board, command: u8) -> u8 {
        board.outb(COMMAND, command);
        board.inb(STATUS);
        board.inb(KEYBOARD)
    }
    fn command_with(board: &mut Board, command: u8, byte: u8) {
        board.outb(COMMAND, command);
        board.outb(KEYBOARD, byte);
    }
    fn probe(board: &mut Board) {
        drain(board);
        let config = command(board, 0x20);
        command_with(board, 0x60, config & !0x41 | 0x10);
        command(board, 0xaa);
        command_with(board, 0xd3, 0x5a);
        drain(board);
        board.outb(COMMAND, 0xa7);
        command(board, 0x20);
        board.outb(COMMAND, 0xa8);
        command(board, 0xa9);
        command(board, 0xab);
        command_with(board, 0x60, 0x65);
        board.outb(COMMAND, 0xae);
        for byte in [0xf2, 0xed, 0, 0xf3, 0, 0xf4] {
            board.outb(KEYBOARD, byte);
            drain(board);
        }
    }
    vec![
        drive("keyboard-probe", probe),
        drive("keyboard-keys", |board| {
            probe(board);
            board.apply(Step::Keys);
            board.apply(Step::Keys);
            drain(board);
            board.apply(Step::Keys);
        }),
        drive("keyboard-keys-untranslated", |board| {
            probe(board);
            command_with(board, 0x60, 0x25);
            board.apply(Step::Keys);
            drain(board);
        }),
        drive("keyboard-scan-set", |board| {
            [0xf0, 0, 0xf0, 2, 0xff].iter().for_each(|byte| board.outb(KEYBOARD, *byte));
            drain(board);
        }),
        drive("keyboard-disabled", |board| {
            board.outb(KEYBOARD, 0xf5);
            drain(board);
            board.apply(Step::Keys);
            board.outb(COMMAND, 0xad);
            board.outb(KEYBOARD, 0xee);
        }),
        drive("keyboard-full", |board| (0..40).for_each(|_| board.outb(KEYBOARD, 0xf2))),
        drive("keyboard-typed-by-controller", |board| {
            (0..20).for_each(|byte| command_with(board, 0xd2, byte));
            drain(board);
        }),
        drive("controller-memory", |board| {
            command_with(board, 0x7f, 0x5a);
            command(board, 0x3f);
        }),
        drive("controller-ports", |board| {
            command(board, 0xc0);
            command(board, 0xd0);
            command_with(board, 0xd4, 0xff);
            board.outb(KEYBOARD + 1, 3);
            board.inb(KEYBOARD + 1);
            board.inb(KEYBOARD + 1);
        }),
        drive("controller-reset-line", |board| board.outb(COMMAND, 0xfe)),
        drive("controller-output-port-reset", |board| command_with(board, 0xd1, 0xde)),
    ]
}

fn clock() -> Vec<Seed> {
    fn get(board: &mut Board, index: u8) -> u8 {
        board.outb(CLOCK, index);
        board.inb(CLOCK + 1)
    }
    fn set(board: &mut Board, index: u8, value: u8) {
        board.outb(CLOCK, index);
        board.outb(CLOCK + 1, value);
    }
    fn read_all(board: &mut Board) {
        for index in [0xa, 0, 2, 4, 6, 7, 8, 9, 0x32, 0xb, 0xc, 0xd] {
            get(board, index);
        }
    }
    let forms = [
        ("clock-binary", 0x06),
        ("clock-12-hours", 0x00),
        ("clock-binary-12-hours", 0x04),
        ("clock-24-hours", 0x02),
    ];
    let mut seeds: Vec<Seed> = forms
        .into_iter()
        .map(|(name, form)| {
            drive(name, |board| {
                read_all(board);
                set(board, 0xb, form);
                read_all(board);
                board.apply(Step::Wait { ms: 12 * 3_600_000 });
                read_all(board);
            })
        })
        .collect();
    seeds.extend([
        drive("clock-set", |board| {
            set(board, 0xb, 0x82);
            for (index, value) in [(0, 0x59), (2, 0x59), (4, 0x23), (7, 0x29), (8, 2), (9, 0x28)] {
                set(board, index, value);
            }
            set(board, 0xb, 0x02);
            board.apply(Step::Wait { ms: 1000 });
            read_all(board);
        }),
        drive("clock-set-12-hours", |board| {
            set(board, 0xb, 0x80);
            set(board, 4, 0x92);
            set(board, 0xb, 0x00);
            read_all(board);
        }),
        drive("clock-set-to-no-time", |board| {
            set(board, 0xb, 0x82);
            set(board, 8, 0x13);
            set(board, 7, 0xff);
            set(board, 0xb, 0x02);
            read_all(board);
        }),
        drive("clock-set-at-once", |board| {
            set(board, 0, 0x30);
            set(board, 0x32, 0x99);
            read_all(board);
        }),
        drive("clock-update-flag", |board| {
            board.apply(Step::Wait { ms: 999 });
            get(board, 0xa);
            set(board, 0xa, 0xff);
            get(board, 0xa);
        }),
        drive("clock-memory", |board| {
            (0x0e..0x80).for_each(|index| set(board, index, index));
            (0x0e..0x80).step_by(16).for_each(|index| {
                get(board, index);
            });
        }),
        drive("clock-wide", |board| {
            board.apply(Step::Write { port: CLOCK, width: Width::B2, value: 0x820b });
            board.apply(Step::Read { port: CLOCK, width: Width::B2 });
        }),
    ]);
    seeds
}

fn power() -> Vec<Seed> {
    vec![
        drive("power-off", |board| board.outb(POWER, arch::layout::SLEEP_INTO_S5)),
        drive("power-other-sleep", |board| {
            (0..8).for_each(|kind| board.outb(POWER, kind << 2 | 32))
        }),
        drive("power-status", |board| {
            board.inb(POWER + 1);
            board.outb(POWER + 1, 0x80);
            board.apply(Step::Read { port: POWER, width: Width::B4 });
        }),
        drive("power-reset", |board| board.outb(POWER + 2, arch::layout::RESET_VALUE)),
        drive("power-wide", |board| {
            let value = u64::from(arch::layout::SLEEP_INTO_S5) | 1 << 16;
            board.apply(Step::Write { port: POWER, width: Width::B4, value });
        }),
    ]
}
