//! How much a direction does before its guest is shown, and before the turn ends.

/// Frames per direction and turn; then the other direction, mail and the thread's other lanes are heard.
pub const BUDGET: usize = 256;
/// Bytes, likewise.
pub const BUDGET_BYTES: usize = 1024 * 1024;
/// Frames and bytes after which finished ones are shown to the guest, so that it works in parallel.
/// A large TCP frame sent is shown by itself: Linux lets a stream have only about two of them in
/// flight. Received ones are not worth an interrupt each.
const BURST_FRAMES: usize = 32;
const TX_BURST_BYTES: usize = 32 * 1024;
const RX_BURST_BYTES: usize = 256 * 1024;

/// Frames finished in one turn and not yet shown.
pub struct Burst {
    frames: usize,
    bytes: usize,
    /// Bytes after which it is time to show them.
    most_bytes: usize,
    /// Bytes finished in the whole turn.
    turn: usize,
}

impl Burst {
    /// Of the guest's sending.
    pub fn outgoing() -> Burst {
        Burst::of(TX_BURST_BYTES)
    }

    /// Of its receiving.
    pub fn incoming() -> Burst {
        Burst::of(RX_BURST_BYTES)
    }

    fn of(most_bytes: usize) -> Burst {
        Burst { frames: 0, bytes: 0, most_bytes, turn: 0 }
    }

    /// Counts one more frame; true, and the burst begins anew, if it is time to show them.
    pub fn ends_with(&mut self, len: usize) -> bool {
        self.turn = self.turn.saturating_add(len);
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
        let ends = self.frames >= BURST_FRAMES || self.bytes >= self.most_bytes;
        if ends {
            (self.frames, self.bytes) = (0, 0);
        }
        ends
    }

    /// The turn's bytes are enough for one.
    pub fn is_turn_spent(&self) -> bool {
        self.turn >= BUDGET_BYTES
    }
}
