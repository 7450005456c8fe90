//! Requests and answers as they lie in memory (virtio 1.2, 5.15.6; Linux `include/uapi/linux/virtio_mem.h`).

use device_core::hot_region::HotRegion;

use super::state::State;

/// Bytes of a request: its type and six of padding, then an address, a number of blocks and six of padding.
pub const REQUEST_LEN: usize = 24;
/// Bytes of an answer: its type and six of padding, then the state of blocks.
pub const ANSWER_LEN: usize = 10;

/// VIRTIO_MEM_REQ_*.
const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

/// VIRTIO_MEM_STATE_*.
const PLUGGED: u16 = 0;
const UNPLUGGED: u16 = 1;
const MIXED: u16 = 2;

/// What a driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To have these blocks.
    Plug(Range),
    /// To have them no longer.
    Unplug(Range),
    /// To have no block.
    UnplugAll,
    /// Whether it has these.
    State(Range),
}

/// Blocks as a driver names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Guest-physical.
    pub address: u64,
    /// How many blocks.
    pub count: u16,
}

/// Blocks of a region, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What a driver is answered: VIRTIO_MEM_RESP_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done; of blocks that were asked about, what they are.
    Ack(u16),
    /// Not now: the guest is to have less.
    Nack,
    /// Not now: the host cannot.
    Busy,
    /// Never.
    Error,
}

impl Request {
    /// Reads a request; `None` if it is none.
    pub fn read(bytes: &[u8; REQUEST_LEN]) -> Option<Request> {
        let [kind0, kind1, _, _, _, _, _, _, address @ .., count0, count1, _, _, _, _, _, _] =
            bytes;
        let address = u64::from_le_bytes(*address);
        let range = Range { address, count: u16::from_le_bytes([*count0, *count1]) };
        Some(match u16::from_le_bytes([*kind0, *kind1]) {
            PLUG => Request::Plug(range),
            UNPLUG => Request::Unplug(range),
            UNPLUG_ALL => Request::UnplugAll,
            STATE => Request::State(range),
            _ => return None,
        })
    }
}

impl Answer {
    /// As it lies in memory.
    pub fn bytes(self) -> [u8; ANSWER_LEN] {
        let (kind, state) = match self {
            Answer::Ack(state) => (0u16, state),
            Answer::Nack => (1, 0),
            Answer::Busy => (2, 0),
            Answer::Error => (3, 0),
        };
        let ([kind0, kind1], [state0, state1]) = (kind.to_le_bytes(), state.to_le_bytes());
        [kind0, kind1, 0, 0, 0, 0, 0, 0, state0, state1]
    }
}

/// Done.
pub const ACK: Answer = Answer::Ack(0);

impl Range {
    /// Its blocks, if they are some, whole, and in the usable part of the region.
    pub fn span(self, state: &State) -> Option<Span> {
        let bytes = state.region.blocks().block_bytes();
        let offset = self.address.checked_sub(state.region.start())?;
        let len = u64::from(self.count).checked_mul(bytes)?;
        let is_usable = offset.checked_add(len)? <= state.usable();
        let span = Span { first: offset.checked_div(bytes)?, count: self.count.into() };
        (self.count > 0 && offset.is_multiple_of(bytes) && is_usable).then_some(span)
    }

    /// What they are.
    pub fn state(self, state: &State) -> Answer {
        let Some(Span { first, count }) = self.span(state) else { return Answer::Error };
        let blocks = HotRegion::blocks(&*state.region);
        Answer::Ack(if blocks.are_plugged(first, count) {
            PLUGGED
        } else if blocks.are_missing(first, count) {
            UNPLUGGED
        } else {
            MIXED
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_linux_writes_it() {
        let mut bytes = [0u8; REQUEST_LEN];
        bytes[8..16].copy_from_slice(&0x1_8000_0000u64.to_le_bytes());
        bytes[16..18].copy_from_slice(&64u16.to_le_bytes());
        let range = Range { address: 0x1_8000_0000, count: 64 };
        for (kind, request) in [
            (0u16, Some(Request::Plug(range))),
            (1, Some(Request::Unplug(range))),
            (2, Some(Request::UnplugAll)),
            (3, Some(Request::State(range))),
            (4, None),
            (0x100, None),
        ] {
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            assert_eq!(Request::read(&bytes), request);
        }
    }

    #[test]
    fn an_answer_has_its_type_first_and_a_state_behind_it() {
        assert_eq!(Answer::Ack(2).bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(Answer::Busy.bytes(), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((Answer::Nack.bytes()[0], Answer::Error.bytes()[0]), (1, 3));
    }
}
