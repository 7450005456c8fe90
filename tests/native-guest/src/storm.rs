//! A storm: writes of random and of half-sensible values to all that a card has, in memory and in registers, at native
//! speed. None of it may harm anybody but this guest, so what would harm this program is not written: no address that
//! leads to it, no interrupt that cannot be held back.

use crate::clock::wait;
use crate::load::{Filled, send};
use crate::memory::{ARENA, barrier, read, write};
use crate::nic::{Nic, Targets};
use crate::options::Options;
use crate::pci::Ground;
use crate::report::{PAUSE, Results, tell_once};

/// Strikes in the life of a card, between two resets.
const LIFE: u64 = 2048;
/// Of as many strikes one is at a register, which is an exit.
const REGISTERS: u64 = 64;
/// And one rings a doorbell with a likely value.
const BELLS: u64 = 16;
/// Parts of a storm; behind each the card has to work, and does so for so many frames.
const PARTS: u64 = 4;
const FRAMES: u64 = 1000;
/// Reports behind each part.
const REPORTS: u64 = 8;

/// End of the memory that addresses may lead to without harm, and begin of what is none.
const ARENA_LEN: u64 = 8 << 20;
const NO_MEMORY: u64 = 3 << 30;
/// What a window shows.
const WINDOW: u64 = 16 << 20;

/// Numbers as by chance (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Small numbers as often as large ones.
    fn of_any_size(&mut self, most_bits: u64) -> u64 {
        let bits = self.below(most_bits + 1);
        self.next() & ((1u64 << bits) - 1)
    }

    /// What might be there, or not at all, instead of `old`.
    fn instead_of(&mut self, old: u64) -> u64 {
        match self.below(8) {
            0 => self.next(),
            1 => self.of_any_size(16),
            2 => old.wrapping_sub(1),
            3 | 4 => old ^ (1 << self.below(64)),
            5 => (1u64 << self.below(64)).wrapping_sub(self.below(3)),
            _ => old.wrapping_add(1),
        }
    }

    /// Where a buffer or a ring might be, or nothing is; never this program.
    fn address(&mut self) -> u64 {
        match self.below(8) {
            0 => NO_MEMORY + self.next() % NO_MEMORY,
            1 => self.next() | NO_MEMORY,
            2 => ARENA + self.below(ARENA_LEN),
            _ => ARENA + (self.below(ARENA_LEN) & !0xfff),
        }
    }
}

/// Writes a value of `len` bytes: 1, 2, 4 or 8.
fn put(at: u64, len: u64, value: u64) {
    match len {
        1 => write(at, value as u8),
        2 => write(at, value as u16),
        4 => write(at, value as u32),
        _ => write(at, value),
    }
}

fn get(at: u64, len: u64) -> u64 {
    match len {
        1 => read::<u8>(at).into(),
        2 => read::<u16>(at).into(),
        4 => read::<u32>(at).into(),
        _ => read(at),
    }
}

/// One life of a card, and what is known of its place.
struct Life<'a> {
    targets: Targets,
    ground: &'a Ground,
    /// This function's configuration space; 0 if it is not to be had.
    config: u64,
    ecam: u64,
}

impl Life<'_> {
    fn strike(&self, random: &mut Random) {
        if random.one_in(REGISTERS) {
            match random.below(8) {
                0 => self.strike_config(random),
                1 => self.read_register(random),
                _ => self.strike_register(random),
            }
        } else if random.one_in(BELLS) {
            self.ring(random);
        } else {
            self.strike_table(random);
        }
    }

    fn strike_table(&self, random: &mut Random) {
        let table = &self.targets.tables[random.below(6) as usize];
        // Where the card will look soon as often as anywhere.
        let slot = if random.one_in(2) { random.below(16) } else { random.next() };
        let at = table.at + slot % table.slots * table.slot_len;
        let (from, to) = table.numbers;
        match table.address {
            Some(address) if random.one_in(4) => write(at + address, random.address()),
            _ => {
                let len = (1 << random.below(4)).min(to - from);
                let at = at + from + random.below((to - from) / len) * len;
                put(at, len, random.instead_of(get(at, len)));
            }
        }
    }

    /// As if there were a few more, or far too many.
    fn ring(&self, random: &mut Random) {
        let bell = random.below(2) as usize;
        let value = if random.one_in(8) { random.next() } else { random.of_any_size(11) };
        barrier();
        match self.targets.bell_len {
            2 => write(self.targets.bells[bell], bell as u16),
            _ => write(self.targets.bells[bell], value as u32),
        }
    }

    /// A place in a window, those at its begin as likely as all behind.
    fn register(&self, random: &mut Random, len: u64) -> Option<u64> {
        let window = self.ground.windows[random.below(6) as usize];
        if window == 0 {
            return None;
        }
        let offset = random.of_any_size(24) % (WINDOW - 8 - (window & 0x1f_ffff));
        let aligned = if random.one_in(8) { offset } else { offset & !(len - 1) };
        Some(window + aligned)
    }

    fn read_register(&self, random: &mut Random) {
        let len = 1 << random.below(4);
        if let Some(at) = self.register(random, len) {
            get(at, len);
        }
    }

    fn strike_register(&self, random: &mut Random) {
        let len = 1 << random.below(4);
        let Some(at) = self.register(random, len) else { return };
        let touches = |(from, to): (u64, u64)| at < to && at + len > from;
        if touches(self.ground.vectors) {
            // Fixed interrupts only: these wait for ever, as this program takes none.
            let at = at & !3;
            let value = random.next();
            let value = if at & 0xf == 8 { value & 0xff } else { value };
            write(at, value as u32);
        } else if let Some((from, _)) =
            self.targets.address_registers.into_iter().find(|range| touches(*range))
        {
            let at = from + (at.saturating_sub(from) & !7);
            let address = random.address();
            write(at, address as u32);
            write(at + 4, (address >> 32) as u32);
        } else {
            let value = random.next();
            let value = if random.one_in(2) { value } else { random.instead_of(value & 0xff) };
            put(at, len, value);
        }
    }

    fn strike_config(&self, random: &mut Random) {
        if self.config == 0 {
            return;
        }
        let len = 1 << random.below(3);
        let offset = random.of_any_size(12) & !(len - 1);
        let value = random.next();
        if random.one_in(8) {
            // Of whoever may be there.
            get(self.ecam + (random.below(32) << 15) + offset, len);
        } else if offset < 0x28 && offset + len > 0x10 {
            // BARs are moved about, but not over this program.
            write(self.config + (offset & !3), value as u32 | NO_MEMORY as u32);
        } else {
            put(self.config + offset, len, value);
        }
    }

    /// As it was when it was found.
    fn restore(&self) {
        if self.config == 0 {
            return;
        }
        let dwords = self.ground.config.iter().zip((0..).step_by(4));
        for (dword, offset) in dwords.filter(|(_, offset)| *offset != 4) {
            write(self.config + offset, *dword);
        }
        write(self.config + 4, self.ground.config[1] & 0xffff);
    }
}

/// Strikes as often as `count=` says in all, and shows behind each part of it that the card works. Reports have the strikes
/// so far as bytes.
pub fn run<N: Nic>(card: impl Fn() -> N, ground: &Ground, options: &Options) -> ! {
    let mut random = Random(options.seed);
    let config = match options.ecam {
        0 => 0,
        ecam => ecam + (u64::from(ground.device) << 15),
    };
    let mut results = Results::default();
    loop {
        let end = results.bytes + options.count / PARTS;
        while results.bytes < end {
            let life = Life { targets: card().targets(), ground, config, ecam: options.ecam };
            for _ in 0..LIFE {
                life.strike(&mut random);
            }
            life.restore();
            results.bytes += LIFE;
        }
        let mut nic = card();
        let (sent, mut filled) = (results.sent, Filled::none(options));
        while results.sent < sent + FRAMES {
            send(&mut nic, options, &mut filled, &mut results);
        }
        for _ in 0..REPORTS {
            wait(PAUSE);
            tell_once(&mut nic, &results);
        }
    }
}
