//! The words of admin queue and event ring: entries, opcodes, features, statuses.
//!
//! An entry is read once as `[u32; 16]` and judged afterwards; offsets are bytes within the entry,
//! as in the tables of the specification (sections 4 to 6). Numbers are little-endian. Names of the
//! driver's are those of Linux `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`.

use device_core::fields::PutLe;

use crate::ring::Direction;

/// Bytes of an entry of any admin ring.
pub const ENTRY: u64 = 64;
/// Bytes of an answer behind its common part.
pub const PAYLOAD: usize = 56;

// Opcodes (4.2; `ena_admin_aq_opcode`).
/// Makes a submission queue, on a completion queue that is there.
pub const CREATE_SQ: u8 = 1;
/// Ends a submission queue; the answer comes after its last DMA.
pub const DESTROY_SQ: u8 = 2;
/// Makes a completion queue.
pub const CREATE_CQ: u8 = 3;
/// Ends a completion queue.
pub const DESTROY_CQ: u8 = 4;
/// Tells what a [`feature`] can do or is set to.
pub const GET_FEATURE: u8 = 8;
/// Sets a [`feature`].
pub const SET_FEATURE: u8 = 9;
/// Tells counters.
pub const GET_STATS: u8 = 11;

/// What may be got and set (6; `ena_admin_aq_feature_id`).
pub mod feature {
    /// Address, largest MTU, and which features there are.
    pub const DEVICE_ATTRIBUTES: u8 = 1;
    /// Numbers and depths of queues, for drivers that do not know [`MAX_QUEUES_EXT`].
    pub const MAX_QUEUES: u8 = 2;
    /// Advised timeouts.
    pub const HW_HINTS: u8 = 3;
    /// Low-latency queues: what there is, and what the driver chooses.
    pub const LLQ: u8 = 4;
    /// Numbers and depths of queues, and descriptors of a packet.
    pub const MAX_QUEUES_EXT: u8 = 7;
    /// Receive hash: function and key.
    pub const RSS_FUNCTION: u8 = 10;
    /// Stateless offloads, both ways.
    pub const OFFLOADS: u8 = 11;
    /// Receive hash: the indirection table.
    pub const RSS_TABLE: u8 = 12;
    /// The driver's MTU, in bytes without the Ethernet header.
    pub const MTU: u8 = 14;
    /// Receive hash: the fields of each protocol.
    pub const RSS_INPUT: u8 = 18;
    /// Interrupt moderation: the unit of its delays.
    pub const MODERATION: u8 = 20;
    /// Groups of events: what there is, and what the driver wants.
    pub const EVENTS: u8 = 26;
    /// Speed of the link, in Mbit/s, and its flags.
    pub const LINK: u8 = 27;
    /// Where the driver says what it is.
    pub const HOST_ATTRIBUTES: u8 = 28;
}

/// Groups of events, as bits (4.5; `ena_admin_aenq_group` has their numbers).
pub mod group {
    /// The link went up or down.
    pub const LINK_CHANGE: u32 = 1 << 0;
    /// Something to be told, such as new hints.
    pub const NOTIFICATION: u32 = 1 << 3;
    /// The card is alive; once a second.
    pub const KEEP_ALIVE: u32 = 1 << 4;
    /// Notices on the driver's configuration; none is sent.
    pub const CONFIGURATION: u32 = 1 << 6;
    /// The card asks to be reset.
    pub const DEVICE_REQUESTS_RESET: u32 = 1 << 7;
    /// Those that the card tells drivers it has.
    pub const OFFERED: u32 =
        LINK_CHANGE | NOTIFICATION | KEEP_ALIVE | CONFIGURATION | DEVICE_REQUESTS_RESET;
}

/// Why a command did nothing (4.3; `ena_admin_aq_completion_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no more of what it asks for.
    NoResources = 1,
    /// No command has this opcode.
    BadOpcode = 2,
    /// The card does not have what is asked for.
    Unsupported = 3,
    /// The entry contradicts itself.
    Malformed = 4,
    /// A value that cannot be.
    IllegalParameter = 5,
    /// Anything else.
    Unknown = 6,
    /// It may work later.
    Busy = 7,
}

/// An entry of the admin submission queue (`ena_admin_aq_entry`).
#[derive(Clone, Copy, Debug)]
pub struct Command(pub [u32; 16]);

/// Where a command's control buffer is said to be. The flags about it mean nothing: a buffer is
/// there if its length is not zero, and the address leads to the data itself (4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlBuffer {
    /// Guest-physical address, 48 bits.
    pub address: u64,
    /// Bytes.
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

    /// The 8 bits at byte `at`.
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

    /// Which command it is.
    pub fn opcode(&self) -> u8 {
        self.byte(2)
    }

    /// The phase bit, as the driver set it.
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

/// Byte of the entry where the payload of SET_FEATURE begins.
pub const SET_PAYLOAD: usize = 20;

/// What an answer says behind its common part; offsets count from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload(pub [u8; PAYLOAD]);

impl Default for Payload {
    fn default() -> Payload {
        Payload([0; PAYLOAD])
    }
}

impl PutLe for Payload {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Payload {
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
