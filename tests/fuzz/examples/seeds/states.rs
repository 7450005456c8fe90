//! States of each kind of part, as they are and with a change that matters.

use fuzz::device_states::{Change, KINDS};
use fuzz::input::Output;

use crate::Seed;

const NAMES: [&str; KINDS as usize] = [
    "pci-net",
    "pci-block",
    "pci-balloon",
    "pci-pmem",
    "pci-entropy",
    "mmio-net",
    "mmio-block",
    "mmio-balloon",
    "mmio-pmem",
    "mmio-entropy",
    "bus",
    "serial",
    "keyboard",
    "clock",
    "pci-memory",
    "mmio-memory",
];

pub fn all() -> Vec<Seed> {
    let seed = |(kind, name): (u8, &'static str)| {
        let mut output = Output::default();
        output.u8(kind);
        // The first is right; others differ in a number, a flag, a text or a list.
        for nth in 0..u16::from(kind) % 3 {
            let change = Change { at: 7 * nth + 5, how: nth as u8, value: 1 << (nth * 9) };
            change.write(&mut output);
        }
        (name, output.0)
    };
    (0..).zip(NAMES).map(seed).collect()
}
