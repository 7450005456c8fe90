//! A storm: writes of random and of half-sensible values to all that a card has, in memory and in registers, at native
//! speed. None of it may harm anybody but this guest, so what would harm this program is not written: no address that
//! leads to it, no interrupt that cannot be held back.

use crate::memory::{ARENA, IN_LARGE, barrier, read, write};
use crate::options::Options;
use crate::pci::Ground;
use crate::random::Random;
use crate::targets::Targets;

/// Strikes in the life of a device, between two resets.
const LIFE: u64 = 2048;
/// Of as many strikes one is at a register, which is an exit.
const REGISTERS: u64 = 64;
/// And one rings a doorbell with a likely value.
const BELLS: u64 = 16;
/// Parts of a storm; behind each the device has to work.
const PARTS: u64 = 4;

/// End of the memory that addresses may lead to without harm, and begin of what is none.
const ARENA_LEN: u64 = 8 << 20;
const NO_MEMORY: u64 = 3 << 30;

/// What might be there, or not at all, instead of `old`.
fn instead_of(random: &mut Random, old: u64) -> u64 {
    match random.below(8) {
        0 => random.next(),
        1 => random.of_any_size(16),
        2 => old.wrapping_sub(1),
        3 | 4 => old ^ (1 << random.below(64)),
        5 => (1u64 << random.below(64)).wrapping_sub(random.below(3)),
        _ => old.wrapping_add(1),
    }
}

/// Where a buffer or a ring might be, or nothing is; never this program.
fn address(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => NO_MEMORY + random.next() % NO_MEMORY,
        1 => random.next() | NO_MEMORY,
        2 => ARENA + random.below(ARENA_LEN),
        _ => ARENA + (random.below(ARENA_LEN) & !0xfff),
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

/// One life of a device, and what is known of its place.
struct Life<'a> {
    targets: Targets,
    ground: &'a Ground,
    /// The MSI-X table, from and to.
    vectors: (u64, u64),
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
        let (addresses, numbers) = (table.addresses, table.numbers);
        if numbers.1 == 0 || addresses.1 > 0 && random.one_in(4) {
            let at = at + addresses.0 + random.below((addresses.1 - addresses.0) / 8) * 8;
            write(at, address(random));
        } else {
            let room = numbers.1 - numbers.0;
            let len = (1 << random.below(4)).min(room);
            let at = at + numbers.0 + random.below(room / len) * len;
            put(at, len, instead_of(random, get(at, len)));
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
        let offset = random.of_any_size(24) % (self.ground.window_len - 8 - (window & IN_LARGE));
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
        if touches(self.vectors) {
            // Fixed interrupts only: these wait for ever, as this program takes none.
            let at = at & !3;
            let value = random.next();
            let value = if at & 0xf == 8 { value & 0xff } else { value };
            write(at, value as u32);
        } else if let Some((from, _)) =
            self.targets.address_registers.into_iter().find(|range| touches(*range))
        {
            let at = from + (at.saturating_sub(from) & !7);
            let address = address(random);
            write(at, address as u32);
            write(at + 4, (address >> 32) as u32);
        } else {
            let value = random.next();
            let value = if random.one_in(2) { value } else { instead_of(random, value & 0xff) };
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

/// A storm against one device.
pub struct Storm<'a> {
    random: Random,
    ground: &'a Ground,
    ecam: u64,
    part: u64,
    strikes: u64,
    lives: usize,
}

impl<'a> Storm<'a> {
    /// As the options say, not begun.
    pub fn new(ground: &'a Ground, options: &Options) -> Storm<'a> {
        let random = Random(options.seed);
        let part = options.count / PARTS;
        Storm { random, ground, ecam: options.ecam, part, strikes: 0, lives: 0 }
    }

    /// A quarter of it. `open` resets the device and says what to strike in this life of it, of which it has the
    /// number. Returns the strikes so far.
    pub fn part(&mut self, mut open: impl FnMut(usize) -> Option<Targets>) -> u64 {
        let end = self.strikes + self.part;
        while self.strikes < end {
            let Some(targets) = open(self.lives) else { break };
            let config = match (self.ecam, self.ground.config[0]) {
                (0, _) | (_, 0) => 0,
                (ecam, _) => ecam + (u64::from(self.ground.device) << 15),
            };
            let (ground, vectors) = (self.ground, self.ground.vectors());
            let life = Life { targets, ground, vectors, config, ecam: self.ecam };
            for _ in 0..LIFE {
                life.strike(&mut self.random);
            }
            life.restore();
            self.strikes += LIFE;
            self.lives += 1;
        }
        self.strikes
    }
}
