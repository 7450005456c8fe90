//! The words of queues: commands, completions, opcodes, statuses (NVMe base specification 1.4, 4 and 5).
//!
//! A command is read once as `[u64; 8]` and judged afterwards. Numbers are little-endian.

use serde::{Deserialize, Serialize};

/// Bytes of a submission queue's entry.
pub const SQE: u64 = 64;
/// Bytes of a completion queue's entry.
pub const CQE: u64 = 16;
/// Bytes of a page: CC.MPS and CAP.MPSMAX leave no other size.
pub const PAGE: u64 = 4096;
/// Bytes of a logical block.
pub const BLOCK: u64 = 512;
/// The one namespace.
pub const NAMESPACE: u32 = 1;
/// All namespaces.
pub const ALL_NAMESPACES: u32 = u32::MAX;

/// Opcodes of the admin queue (figure 139).
pub mod admin {
    /// Ends a submission queue; the answer comes after its last DMA.
    pub const DELETE_SQ: u8 = 0x00;
    /// Makes a submission queue, on a completion queue that is there.
    pub const CREATE_SQ: u8 = 0x01;
    /// Reads a log page.
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Ends a completion queue.
    pub const DELETE_CQ: u8 = 0x04;
    /// Makes a completion queue.
    pub const CREATE_CQ: u8 = 0x05;
    /// Tells what controller and namespace are.
    pub const IDENTIFY: u8 = 0x06;
    /// Asks for a command to be taken back.
    pub const ABORT: u8 = 0x08;
    /// Sets a feature.
    pub const SET_FEATURES: u8 = 0x09;
    /// Tells a feature.
    pub const GET_FEATURES: u8 = 0x0a;
    /// Waits for an event.
    pub const ASYNC_EVENT: u8 = 0x0c;
    /// Puts doorbells into memory.
    pub const DOORBELL_BUFFER: u8 = 0x7c;
}

/// Opcodes of I/O queues (figure 346).
pub mod io {
    /// What was written is to be durable.
    pub const FLUSH: u8 = 0x00;
    /// To the namespace.
    pub const WRITE: u8 = 0x01;
    /// From the namespace.
    pub const READ: u8 = 0x02;
    /// Whether the namespace has these bytes.
    pub const COMPARE: u8 = 0x05;
    /// Zeroes to the namespace.
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset management: what is no longer needed.
    pub const DATASET: u8 = 0x09;
}

/// What became of a command: status code type and code, and whether a retry is of no use (figure 124),
/// as in a completion's status field without its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status(pub u16);

/// Do not retry.
const DNR: u16 = 1 << 14;
/// There is more about it in the error log.
const MORE: u16 = 1 << 13;

impl Status {
    /// It was done.
    pub const OK: Status = Status(0);
    /// No command has this opcode.
    pub const INVALID_OPCODE: Status = Status(0x001 | DNR);
    /// A field has a value that cannot be.
    pub const INVALID_FIELD: Status = Status(0x002 | DNR);
    /// Some of the data is not in memory.
    pub const DATA_TRANSFER: Status = Status(0x004 | DNR);
    /// Nothing that the host did.
    pub const INTERNAL: Status = Status(0x006);
    /// It was taken back.
    pub const ABORTED: Status = Status(0x007);
    /// There is no such namespace.
    pub const INVALID_NAMESPACE: Status = Status(0x00b | DNR);
    /// Not now.
    pub const SEQUENCE: Status = Status(0x00c | DNR);
    /// A PRP entry has an offset where none may be.
    pub const PRP_OFFSET: Status = Status(0x013 | DNR);
    /// The namespace is not to be written.
    pub const WRITE_PROTECTED: Status = Status(0x020 | DNR);
    /// A part of it is not in the namespace.
    pub const OUT_OF_RANGE: Status = Status(0x080 | DNR);
    /// There is no room left.
    pub const CAPACITY: Status = Status(0x081 | DNR);
    /// There is no such completion queue.
    pub const CQ_INVALID: Status = Status(0x100 | DNR);
    /// No queue can have this number now.
    pub const QUEUE_ID: Status = Status(0x101 | DNR);
    /// No queue can be of this size.
    pub const QUEUE_SIZE: Status = Status(0x102 | DNR);
    /// More aborts at once than the controller takes.
    pub const ABORT_LIMIT: Status = Status(0x103 | DNR);
    /// More requests for events than the controller holds.
    pub const EVENT_LIMIT: Status = Status(0x105 | DNR);
    /// There is no such vector.
    pub const VECTOR: Status = Status(0x108 | DNR);
    /// There is no such log page.
    pub const LOG_PAGE: Status = Status(0x109 | DNR);
    /// A submission queue still uses it.
    pub const QUEUE_DELETION: Status = Status(0x10c | DNR);
    /// Nothing outlives a reset.
    pub const NOT_SAVEABLE: Status = Status(0x10d | DNR);
    /// The medium did not take it.
    pub const WRITE_FAULT: Status = Status(0x280 | DNR);
    /// The medium did not give it.
    pub const READ_ERROR: Status = Status(0x281 | DNR);
    /// A comparison found other bytes.
    pub const DIFFERS: Status = Status(0x285 | DNR);

    /// Whether it has no more bits than there are: the phase is beside them.
    pub fn is_possible(self) -> bool {
        self.0 >> 15 == 0
    }

    /// Status code type and code, without what goes with them.
    pub fn code(self) -> u16 {
        self.0 & 0x7ff
    }

    /// The same, with more about it in the error log.
    pub fn with_more(self) -> Status {
        Status(self.0 | MORE)
    }
}

/// An entry of a submission queue.
#[derive(Clone, Copy, Debug)]
pub struct Command(pub [u64; 8]);

impl Command {
    /// Command doubleword `n`, from 0 on.
    pub fn word(&self, n: usize) -> u32 {
        let double = self.0.get(n >> 1).copied().unwrap_or_default();
        (if n & 1 == 0 { double } else { double >> 32 }) as u32
    }

    /// Which command it is.
    pub fn opcode(&self) -> u8 {
        self.word(0) as u8
    }

    /// Its id, to be echoed.
    pub fn id(&self) -> u16 {
        (self.word(0) >> 16) as u16
    }

    /// The same of a command of which only the first two doublewords are known.
    pub fn id_in(first: u64) -> u16 {
        (first >> 16) as u16
    }

    /// It is half of a fused pair, or its data is told of otherwise than by PRPs: neither is offered.
    pub fn is_foreign(&self) -> bool {
        self.word(0) & 0xc300 != 0
    }

    /// The namespace it is about.
    pub fn namespace(&self) -> u32 {
        self.word(1)
    }

    /// Where its data is.
    pub fn prps(&self) -> [u64; 2] {
        let [.., first, second] = self.0.first_chunk::<5>().copied().unwrap_or_default();
        [first, second]
    }

    /// Doublewords 10 and 11 as one number.
    pub fn block(&self) -> u64 {
        self.0.get(5).copied().unwrap_or_default()
    }
}

/// An entry of a completion queue, but for what depends on where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Id of the command.
    pub id: u16,
    /// What became of it.
    pub status: Status,
    /// What it says besides.
    pub result: u32,
}

impl Completion {
    /// Of command `id`, with nothing to say but its status.
    pub fn new(id: u16, status: Status) -> Completion {
        Completion { id, status, result: 0 }
    }

    /// The entry's two halves: `head` is that of submission queue `queue`.
    pub fn halves(&self, queue: u16, head: u16, phase: bool) -> [u64; 2] {
        let status = u32::from(self.status.0) << 1 | u32::from(phase);
        let low = u32::from(head) | u32::from(queue) << 16;
        let high = u32::from(self.id) | status << 16;
        [self.result.into(), u64::from(low) | u64::from(high) << 32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_command_are_where_the_specification_has_them() {
        let words: [u32; 16] = std::array::from_fn(|n| n as u32 + 0x100);
        let (pairs, _) = words.as_chunks::<2>();
        let halves = |n: usize| u64::from(pairs[n][0]) | u64::from(pairs[n][1]) << 32;
        let command = Command(std::array::from_fn(halves));
        for (n, word) in words.into_iter().enumerate() {
            assert_eq!(command.word(n), word);
        }
        assert_eq!(command.prps(), [0x107_0000_0106, 0x109_0000_0108]);
        assert_eq!(command.block(), 0x10b_0000_010a);
        let command = Command([1 << 32 | 0xbeef_0006, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((command.opcode(), command.id(), command.namespace()), (6, 0xbeef, 1));
        assert!(!command.is_foreign());
        for word in [0x100, 0x200, 0x4000, 0x8000] {
            assert!(Command([word, 0, 0, 0, 0, 0, 0, 0]).is_foreign());
        }
    }

    #[test]
    fn a_completion_has_status_and_phase_in_its_last_half_word() {
        let completion = Completion { id: 0x1234, status: Status::OUT_OF_RANGE, result: 7 };
        let [low, high] = completion.halves(3, 9, true);
        assert_eq!(low, 7);
        assert_eq!(high, 0x8101_1234_0003_0009);
        assert_eq!(Status::OUT_OF_RANGE.code(), 0x80);
    }
}
