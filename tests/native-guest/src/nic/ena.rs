//! The ENA card as its drivers use it (Linux `drivers/net/ethernet/amazon/ena`), polled like DPDK's: its
//! vectors are never unmasked. One descriptor for each frame, in host memory or pushed to the card.

mod events;

use self::events::Events;
use super::{BUFFER, EnaPlace, Pair as _, Pairs};
use crate::memory::{Arena, barrier, read, write};
use crate::options::Options;
use crate::targets::{Table, Targets};

/// Registers (`ena_regs_defs.h`).
mod register {
    pub const AQ_BASE: u64 = 0x10;
    pub const AQ_CAPS: u64 = 0x18;
    pub const ACQ_BASE: u64 = 0x20;
    pub const ACQ_CAPS: u64 = 0x28;
    pub const AQ_DOORBELL: u64 = 0x2c;
    pub const AENQ_CAPS: u64 = 0x34;
    pub const AENQ_BASE: u64 = 0x38;
    pub const AENQ_HEAD: u64 = 0x40;
    pub const INTERRUPT_MASK: u64 = 0x4c;
    pub const DEVICE_CONTROL: u64 = 0x54;
    pub const DEVICE_STATUS: u64 = 0x58;
    pub const RESPONSE_BASE: u64 = 0x5c;
}

const RESET_GOES_ON: u32 = 1 << 3;
const ADMIN_ENTRY: u32 = 64;
const ADMIN_DEPTH: u32 = 32;

/// Commands (`ena_admin_defs.h`), the features that are set, and that a command has a buffer.
const CREATE_SQ: u32 = 1;
const CREATE_CQ: u32 = 3;
const SET_FEATURE: u32 = 9;
const FEATURE_EVENTS: u32 = 26;
const FEATURE_LLQ: u32 = 4;
const FEATURE_HASH: u32 = 10;
const FEATURE_TABLE: u32 = 12;
const HAS_BUFFER: u32 = 1 << 25;

/// The receive hash: its function, words of its key, and entries of the table as a logarithm.
const TOEPLITZ: u32 = 1 << 1;
const KEY_WORDS: u32 = 10;
const TABLE_LOG: u32 = 7;
const WHOLE_TABLE: u32 = u32::MAX;

/// Of a descriptor: its phase, and that a frame begins and ends with it and is to be completed.
const PHASE: u32 = 1 << 24;
const FIRST: u32 = 1 << 26;
const LAST: u32 = 1 << 27;
const COMPLETION: u32 = 1 << 28;
/// A meta descriptor that is to be stored (`META`, `META_GIVEN`, `META_STORE`).
const META: u32 = 1 << 23 | 1 << 14 | 1 << 21;
/// A TCP/IPv4 frame is to be cut, and both checksums found: l3 is IPv4, l4 is TCP, partial.
const SEGMENT: u32 = 8 | 12 << 8 | 1 << 7 | 1 << 13 | 1 << 14 | 1 << 17;

/// A low-latency entry: two descriptors and then the begin of the frame.
const PUSHED_ENTRY: u64 = 128;
const PUSHED: u32 = 96;

/// Frames' headers that are cut: Ethernet, IPv4, TCP, in bytes and as a meta descriptor says it.
const L3_AT: u32 = 14;
const L3_LEN: u32 = 20;
const L4_WORDS: u32 = 5;

/// The admin queue, one command at a time.
struct Admin {
    registers: u64,
    queue: u64,
    completions: u64,
    sent: u32,
}

impl Admin {
    fn command(&mut self, mut words: [u32; 16]) -> [u32; 16] {
        let slot = u64::from(self.sent % ADMIN_DEPTH) * u64::from(ADMIN_ENTRY);
        let phase = if self.sent & ADMIN_DEPTH == 0 { PHASE } else { 0 };
        words[0] |= self.sent | phase;
        write(self.queue + slot, words);
        self.sent += 1;
        barrier();
        write(self.registers + register::AQ_DOORBELL, self.sent);
        loop {
            if read::<u32>(self.completions + slot) & PHASE == phase {
                let answer: [u32; 16] = read(self.completions + slot);
                // Anything but success is the end of this guest.
                assert!(answer[0] >> 16 & 0xff == 0);
                return answer;
            }
        }
    }
}

/// A submission queue and its completion queue.
struct Queue {
    ring: u64,
    completions: u64,
    completion_len: u64,
    bell: u64,
    depth: u16,
    buffers: u64,
    stride: u32,
    /// Counters of ring entries posted and of completions taken.
    posted: u16,
    back: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Transmit,
    Receive,
}

impl Queue {
    /// Makes both queues by commands; the ring is in `window`, if one is given.
    fn new(
        admin: &mut Admin,
        arena: &mut Arena,
        direction: Direction,
        pair: u16,
        depth: u16,
        stride: u32,
        window: Option<u64>,
    ) -> Queue {
        let completion_words = if direction == Direction::Receive { 4 } else { 2 };
        let completions = arena.take_zeroed(u64::from(depth) * completion_words * 4);
        let ring = arena.take_zeroed(u64::from(depth) * 16);
        let mut words = [0; 16];
        words[0] = CREATE_CQ << 16;
        // With the pair's vector, which is never unmasked.
        words[1] = 0x20 | (completion_words as u32) << 8 | u32::from(depth) << 16;
        words[2] = 1 + u32::from(pair);
        (words[3], words[4]) = (completions as u32, (completions >> 32) as u32);
        let index = admin.command(words)[2] & 0xffff;
        let mut words = [0; 16];
        words[0] = CREATE_SQ << 16;
        let placement = if window.is_some() { 3 } else { 1 };
        let way = if direction == Direction::Receive { 2 } else { 1 };
        // Direction; placement, with a completion for each; physically contiguous.
        words[1] = way << 5 | placement << 16 | 1 << 24;
        words[2] = index | u32::from(depth) << 16;
        if window.is_none() {
            (words[3], words[4]) = (ring as u32, (ring >> 32) as u32);
        }
        let answer = admin.command(words);
        Queue {
            ring: window.map_or(ring, |window| window + u64::from(answer[4])),
            completions,
            completion_len: completion_words * 4,
            bell: admin.registers + u64::from(answer[3]),
            depth,
            buffers: arena.take(u64::from(depth) * u64::from(stride)),
            stride,
            posted: 0,
            back: 0,
        }
    }

    fn slot(&self, counter: u16) -> u64 {
        u64::from(counter & (self.depth - 1))
    }

    fn buffer(&self, counter: u16) -> u64 {
        self.buffers + self.slot(counter) * u64::from(self.stride)
    }

    fn phase(&self, counter: u16) -> u32 {
        if counter & self.depth == 0 { PHASE } else { 0 }
    }

    /// The place of the next completion, if it is there.
    fn done(&self) -> Option<u64> {
        let at = self.completions + self.slot(self.back) * self.completion_len;
        (read::<u32>(at) & PHASE == self.phase(self.back)).then_some(at)
    }

    fn show(&self) {
        barrier();
        write(self.bell, u32::from(self.posted));
    }
}

/// A pair of queues.
pub struct Pair {
    registers: u64,
    admin_queue: u64,
    rx: Queue,
    tx: Queue,
    /// The transmit ring is the card's memory.
    pushed: bool,
    tso: u16,
    /// The meta descriptor that says how frames are cut is out.
    meta_sent: bool,
    /// Ring entries of transmit that have no completion of their own.
    uncompleted: u16,
    /// What the card tells of itself, of the first pair.
    events: Option<Events>,
}

/// Resets the card for a reason, of which 0 is none in particular, and makes its queues.
pub fn open(place: EnaPlace, options: &Options, reason: u32) -> Pairs<Pair> {
    let at = place.registers;
    let address = |register: u64, value: u64| {
        write(at + register, value as u32);
        write(at + register + 4, (value >> 32) as u32);
    };
    // In two parts (`ENA_REGS_DEV_CTL_RESET_REASON_SHIFT`, `ENA_REGS_DEV_CTL_RESET_REASON_EXT_SHIFT`).
    write(at + register::DEVICE_CONTROL, 1 | (reason & 0xf) << 28 | (reason >> 4 & 0xf) << 24);
    write(at + register::DEVICE_CONTROL, 0u32);
    while read::<u32>(at + register::DEVICE_STATUS) & RESET_GOES_ON != 0 {}
    let mut arena = Arena::new();
    let mut admin = Admin {
        registers: at,
        queue: arena.take_zeroed(u64::from(ADMIN_DEPTH * ADMIN_ENTRY)),
        completions: arena.take_zeroed(u64::from(ADMIN_DEPTH * ADMIN_ENTRY)),
        sent: 0,
    };
    address(register::AQ_BASE, admin.queue);
    address(register::ACQ_BASE, admin.completions);
    write(at + register::AQ_CAPS, ADMIN_ENTRY << 16 | ADMIN_DEPTH);
    write(at + register::ACQ_CAPS, ADMIN_ENTRY << 16 | ADMIN_DEPTH);
    let events = arena.take_zeroed(u64::from(events::DEPTH * ADMIN_ENTRY));
    address(register::AENQ_BASE, events);
    write(at + register::AENQ_CAPS, ADMIN_ENTRY << 16 | events::DEPTH);
    write(at + register::INTERRUPT_MASK, 1u32);

    let window = place.window.filter(|_| options.llq);
    if window.is_some() {
        let mut words = [0; 16];
        words[0] = SET_FEATURE << 16;
        words[4] = FEATURE_LLQ << 8;
        // Header inline, entries of 128 bytes, two descriptors before it, several in each entry.
        (words[7], words[8], words[9], words[10]) = (1 << 16, 1 << 16, 2 << 16, 2 << 16);
        admin.command(words);
    }
    let tx_stride = options.len.max(BUFFER).next_multiple_of(BUFFER);
    let mut pairs = Pairs::new(options.queues, |index| {
        let mut queue = |direction, stride, window| {
            let depth = options.depth;
            Queue::new(&mut admin, &mut arena, direction, index, depth, stride, window)
        };
        let rx = queue(Direction::Receive, BUFFER, None);
        let tx = queue(Direction::Transmit, tx_stride, window);
        Pair {
            registers: at,
            admin_queue: admin.queue,
            rx,
            tx,
            pushed: window.is_some(),
            tso: options.tso,
            meta_sent: options.tso == 0,
            uncompleted: 0,
            events: None,
        }
    });
    if options.groups > 0 {
        let mut words = [0; 16];
        words[0] = SET_FEATURE << 16;
        (words[4], words[6]) = (FEATURE_EVENTS << 8, options.groups);
        admin.command(words);
        pairs.first().events = Some(Events::new(at, events, options.silence));
    }
    if options.queues > 1 {
        spread(&mut admin, options.queues, arena.take(4096));
    }
    for pair in pairs.iter_mut() {
        for _ in 1..pair.rx.depth {
            pair.give();
        }
        pair.show_given();
    }
    pairs
}

/// Makes the card spread what it receives over so many queues, by a key and a table that are written to `at`.
fn spread(admin: &mut Admin, queues: u16, at: u64) {
    let mut set = |feature: u32, len: u32, payload: [u32; 3]| {
        let mut words = [0; 16];
        words[0] = SET_FEATURE << 16 | HAS_BUFFER;
        (words[1], words[2]) = (len, at as u32);
        words[4] = feature << 8;
        (words[5], words[6], words[7]) = (payload[0], payload[1], payload[2]);
        admin.command(words);
    };
    write(at, [KEY_WORDS, 0]);
    for word in 0..u64::from(KEY_WORDS) {
        // Any key but one that repeats itself.
        write(at + 8 + word * 4, 0x6d5a_56da_u32.rotate_left(7 * word as u32));
    }
    set(FEATURE_HASH, 8 + KEY_WORDS * 4, [TOEPLITZ, TOEPLITZ, 0]);
    for entry in 0..1u64 << TABLE_LOG {
        write(at + entry * 4, (entry % u64::from(queues)) as u32);
    }
    set(FEATURE_TABLE, 4 << TABLE_LOG, [0, TABLE_LOG, WHOLE_TABLE]);
}

impl Pair {
    fn meta(&self) -> [u32; 4] {
        let mss = u32::from(self.tso);
        let phase = self.tx.phase(self.tx.posted);
        let headers = L3_LEN | L3_AT << 8 | L4_WORDS << 16;
        [META | FIRST | phase | (mss >> 10) << 16, 0, headers | (mss & 0x3ff) << 22, 0]
    }
}

impl super::Pair for Pair {
    fn room(&mut self) -> u16 {
        while self.tx.done().is_some() {
            self.tx.back = self.tx.back.wrapping_add(1);
        }
        let posted = self.tx.posted.wrapping_sub(self.uncompleted);
        let used = posted.wrapping_sub(self.tx.back);
        // One entry stays free, as a full ring looks like an empty one, and one is for a meta descriptor.
        (self.tx.depth - 2).saturating_sub(used)
    }

    fn next(&self) -> (u64, u32) {
        (self.tx.buffer(self.tx.posted.wrapping_sub(self.uncompleted)), self.tx.stride)
    }

    fn put(&mut self, len: u32) {
        let id = self.tx.posted.wrapping_sub(self.uncompleted);
        let (buffer, slot) = (self.tx.buffer(id), self.tx.slot(id) as u32);
        if !self.pushed && !self.meta_sent {
            let at = self.tx.ring + self.tx.slot(self.tx.posted) * 16;
            write(at, self.meta());
            self.tx.posted = self.tx.posted.wrapping_add(1);
            self.uncompleted += 1;
        }
        let pushed = if self.pushed { len.min(PUSHED) } else { 0 };
        let rest = len - pushed;
        let phase = self.tx.phase(self.tx.posted);
        let first = if self.pushed || self.meta_sent { FIRST } else { 0 };
        let address = if rest == 0 { 0 } else { buffer + u64::from(pushed) };
        let control = if self.tso == 0 { 0 } else { SEGMENT };
        let descriptor = [
            rest | phase | first | LAST | COMPLETION,
            slot << 22 | control,
            address as u32,
            (address >> 32) as u32 | pushed << 24,
        ];
        if self.pushed {
            let at = self.tx.ring + self.tx.slot(self.tx.posted) * PUSHED_ENTRY;
            // Frames that are cut have their meta descriptor each.
            match self.tso {
                0 => write(at, descriptor),
                _ => {
                    write(at, self.meta());
                    write(
                        at + 16,
                        [descriptor[0] & !FIRST, descriptor[1], descriptor[2], descriptor[3]],
                    );
                }
            }
            for offset in (0..u64::from(pushed)).step_by(8) {
                write(at + 32 + offset, read::<u64>(buffer + offset));
            }
        } else {
            write(self.tx.ring + self.tx.slot(self.tx.posted) * 16, descriptor);
        }
        self.meta_sent = true;
        self.tx.posted = self.tx.posted.wrapping_add(1);
    }

    fn stop_cutting(&mut self) {
        self.tso = 0;
    }

    fn show(&mut self) {
        self.tx.show();
    }

    fn take(&mut self) -> Option<(u64, u32)> {
        let at = self.rx.done()?;
        let word = read::<u32>(at + 4);
        let (len, id) = (word & 0xffff, (word >> 16) as u16);
        self.rx.back = self.rx.back.wrapping_add(1);
        Some((self.rx.buffers + u64::from(id) * u64::from(self.rx.stride), len))
    }

    fn give(&mut self) {
        let slot = self.rx.slot(self.rx.posted);
        let at = self.rx.buffer(self.rx.posted);
        let phase = self.rx.phase(self.rx.posted);
        // First, last, completion: of one buffer each.
        let flags = phase | FIRST | LAST | COMPLETION;
        write(
            self.rx.ring + slot * 16,
            [BUFFER | flags, slot as u32, at as u32, (at >> 32) as u32],
        );
        self.rx.posted = self.rx.posted.wrapping_add(1);
    }

    fn show_given(&mut self) {
        self.rx.show();
    }

    fn reason_to_reset(&mut self) -> Option<u32> {
        self.events.as_mut()?.reason_to_reset()
    }

    fn targets(&self) -> Targets {
        let parts = |queue: &Queue, slot_len| {
            let depth = u64::from(queue.depth);
            let ring = Table {
                addresses: (8, 16),
                numbers: (0, 8),
                ..Table::new(queue.ring, depth, slot_len)
            };
            let len = queue.completion_len;
            (ring, Table { numbers: (0, len), ..Table::new(queue.completions, depth, len) })
        };
        let (rx, rx_done) = parts(&self.rx, 16);
        let (tx, tx_done) = parts(&self.tx, if self.pushed { PUSHED_ENTRY } else { 16 });
        // Opcodes, flags and the first words; the others may be addresses or not.
        let commands = Table {
            numbers: (0, 12),
            ..Table::new(self.admin_queue, u64::from(ADMIN_DEPTH), u64::from(ADMIN_ENTRY))
        };
        let address = |register: u64| (self.registers + register, self.registers + register + 8);
        Targets {
            tables: [rx, rx_done, tx, tx_done, commands, rx],
            bells: [self.rx.bell, self.tx.bell],
            bell_len: 4,
            address_registers: [
                address(register::AQ_BASE),
                address(register::ACQ_BASE),
                address(register::AENQ_BASE),
                address(register::RESPONSE_BASE),
            ],
        }
    }
}
