//! The words of admin queue and event ring: entries, opcodes, features, statuses.
//!
//! An entry is read once as `[u32; 16]` and judged afterwards; offsets are bytes within the entry,
//! as in the tables of the specification (sections 4 to 6). Numbers are little-endian.

use crate::ring::Direction;

/// Bytes of an entry of any admin ring.
pub const ENTRY: u64 = 64;
/// Bytes of an answer behind its common part.
pub const PAYLOAD: usize = 56;

// Opcodes (4.2).
pub const CREATE_SQ: u8 = 1;
pub const DESTROY_SQ: u8 = 2;
pub const CREATE_CQ: u8 = 3;
pub const DESTROY_CQ: u8 = 4;
pub const GET_FEATURE: u8 = 8;
pub const SET_FEATURE: u8 = 9;
pub const GET_STATS: u8 = 11;

/// What may be got and set (6).
pub mod feature {
    pub const DEVICE_ATTRIBUTES: u8 = 1;
    pub const MAX_QUEUES: u8 = 2;
    pub const HW_HINTS: u8 = 3;
    pub const LLQ: u8 = 4;
    pub const MAX_QUEUES_EXT: u8 = 7;
    pub const RSS_FUNCTION: u8 = 10;
    pub const OFFLOADS: u8 = 11;
    pub const RSS_TABLE: u8 = 12;
    pub const MTU: u8 = 14;
    pub const RSS_INPUT: u8 = 18;
    pub const MODERATION: u8 = 20;
    pub const EVENTS: u8 = 26;
    pub const LINK: u8 = 27;
    pub const HOST_ATTRIBUTES: u8 = 28;
}

/// Groups of events, as bits (4.5).
pub mod group {
    pub const LINK_CHANGE: u32 = 1 << 0;
    pub const NOTIFICATION: u32 = 1 << 3;
    pub const KEEP_ALIVE: u32 = 1 << 4;
    pub const CONFIGURATION: u32 = 1 << 6;
    pub const DEVICE_REQUESTS_RESET: u32 = 1 << 7;
    pub const OFFERED: u32 =
        LINK_CHANGE | NOTIFICATION | KEEP_ALIVE | CONFIGURATION | DEVICE_REQUESTS_RESET;
}

/// Why a command did nothing (4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoResources = 1,
    BadOpcode = 2,
    Unsupported = 3,
    Malformed = 4,
    IllegalParameter = 5,
    Unknown = 6,
    Busy = 7,
}

/// An entry of the admin submission queue.
#[derive(Clone, Copy, Debug)]
pub struct Command(pub [u32; 16]);

/// Where a command's control buffer is said to be. The flags about it mean nothing: a buffer is
/// there if its length is not zero, and the address leads to the data itself (4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlBuffer {
    pub address: u64,
    pub len: u32,
}

impl Command {
    /// The word at byte `at`, a multiple of 4.
    pub fn word(&self, at: usize) -> u32 {
        self.0.get(at >> 2).copied().unwrap_or_default()
    }

    /// The 16 bits at byte `at`, a multiple of 2.
    pub fn half(&self, at: usize) -> u16 {
        (self.word(at) >> if at & 2 == 0 { 0 } else { 16 }) as u16
    }

    pub fn byte(&self, at: usize) -> u8 {
        (self.half(at) >> if at & 1 == 0 { 0 } else { 8 }) as u8
    }

    /// The 48-bit address whose low word is at byte `at`.
    pub fn address(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.half(at.wrapping_add(4))) << 32
    }

    /// The command's id and the bits above it, to be echoed as they are.
    pub fn id(&self) -> u16 {
        self.half(0)
    }

    pub fn opcode(&self) -> u8 {
        self.byte(2)
    }

    pub fn phase(&self) -> bool {
        self.byte(3) & 1 != 0
    }

    /// The control buffer, if there is one.
    pub fn buffer(&self) -> Option<ControlBuffer> {
        let len = self.word(4);
        (len != 0).then(|| ControlBuffer { address: self.address(8), len })
    }

    /// Feature and version of GET_FEATURE and SET_FEATURE.
    pub fn feature(&self) -> (u8, u8) {
        (self.byte(17), self.byte(18))
    }
}

/// The payload of SET_FEATURE begins here.
pub const SET_PAYLOAD: usize = 20;

/// What an answer says behind its common part; offsets count from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload(pub [u8; PAYLOAD]);

impl Default for Payload {
    fn default() -> Payload {
        Payload([0; PAYLOAD])
    }
}

impl Payload {
    /// Stores `bytes` at `at`; what would not fit is not stored.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = self.0.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }

    pub fn put_byte(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }

    pub fn put_half(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn put_word(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn put_double(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Words in a row from `at` on.
    pub fn put_words(&mut self, at: usize, values: &[u32]) {
        for (index, value) in values.iter().enumerate() {
            self.put_word(at.saturating_add(index.saturating_mul(4)), *value);
        }
    }
}

/// The direction in the top bits of a byte, as in CREATE_SQ and DESTROY_SQ.
pub fn direction(byte: u8) -> Option<Direction> {
    match byte >> 5 {
        1 => Some(Direction::Tx),
        2 => Some(Direction::Rx),
        _ => None,
    }
}

/// Phase of an entry at a free-running counter: set on the first lap, inverted on each next.
pub fn phase_at(counter: u16, depth: u16) -> bool {
    counter & depth == 0
}
