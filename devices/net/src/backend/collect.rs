//! Frames on their way to the host, collected to go in one system call.

use std::sync::Arc;

use device_core::GuestRam;
use libc::iovec;

use crate::backend::vnet_hdr;
use crate::frame::{MAX_HEAD, TxFrame};

/// Most frames of a call.
pub const FRAMES: usize = 32;
/// Most pieces of a frame that is collected: its front, and a body of Linux's in as many fragments as it makes
/// of one.
const PIECES: usize = 1 + 18;

/// Frames, each behind the first `HEADER` bytes of a vnet header.
pub struct Collected<const HEADER: usize> {
    slots: Box<[Slot<HEADER>]>,
    /// Frames in the slots, from the first on.
    filled: usize,
    /// What their bodies are in; it stays mapped for so long.
    memory: Option<GuestRam>,
}

/// A frame as the host will see it; private but for its body.
pub struct Slot<const HEADER: usize> {
    /// Header and head, side by side: the kernel takes fewer pieces in less time.
    front: [u8; vnet_hdr::LEN + MAX_HEAD],
    front_len: usize,
    /// All of it: the front, and the body in guest memory. The first is lined up just before a call.
    pieces: [iovec; PIECES],
    count: u32,
    /// Bytes of the frame.
    len: usize,
}

// SAFETY: the pointers lead into guest memory, which any thread may touch, or are rubbish outside of a call.
unsafe impl<const HEADER: usize> Send for Slot<HEADER> {}

const NO_PIECE: iovec = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

impl<const HEADER: usize> Slot<HEADER> {
    fn new() -> Self {
        let front = [0; vnet_hdr::LEN + MAX_HEAD];
        Slot { front, front_len: 0, pieces: [NO_PIECE; PIECES], count: 0, len: 0 }
    }

    /// Takes a frame; false if it is in too many pieces.
    fn take(&mut self, frame: &TxFrame) -> bool {
        let (mut count, mut places) = (1u32, self.pieces.iter_mut().skip(1));
        for piece in frame.body.iovecs(0) {
            let Some(place) = places.next() else { return false };
            *place = piece;
            count = count.wrapping_add(1);
        }
        let head = frame.head.bytes();
        let header = vnet_hdr::encode(&frame.meta, 0);
        if let Some((to_header, to_head)) = self.front.split_first_chunk_mut::<HEADER>()
            && let Some(header) = header.first_chunk()
        {
            *to_header = *header;
            to_head.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        }
        self.front_len = HEADER.wrapping_add(head.len());
        self.count = count;
        self.len = frame.len();
        true
    }

    /// The pieces, good as long as the slot stays where it is and its memory is mapped.
    pub fn line_up(&mut self) -> &mut [iovec] {
        let front = piece(self.front.get(..self.front_len).unwrap_or_default());
        if let Some(first) = self.pieces.first_mut() {
            *first = front;
        }
        self.pieces.get_mut(..self.count as usize).unwrap_or_default()
    }

    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<const HEADER: usize> Collected<HEADER> {
    pub fn new() -> Self {
        let slots = (0..FRAMES).map(|_| Slot::new()).collect();
        Collected { slots, filled: 0, memory: None }
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub fn is_full(&self) -> bool {
        self.filled >= self.slots.len()
    }

    /// Collects a frame; false if it has to go by itself.
    pub fn push(&mut self, frame: &TxFrame) -> bool {
        let memory = frame.body.memory();
        if !self.memory.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, memory)) {
            if self.filled > 0 {
                return false;
            }
            self.memory = Some(memory.clone());
        }
        let taken = self.slots.get_mut(self.filled).is_some_and(|slot| slot.take(frame));
        if taken {
            self.filled = self.filled.wrapping_add(1);
        }
        taken
    }

    /// What was collected, in order, to be sent now: afterwards there is nothing. What bodies lie in stays
    /// mapped until the next frame is collected.
    pub fn take(&mut self) -> &mut [Slot<HEADER>] {
        let count = std::mem::take(&mut self.filled);
        self.slots.get_mut(..count).unwrap_or_default()
    }

    /// Frees nothing that the kernel may still know of, and collects nothing from now on.
    pub fn leak(&mut self) {
        std::mem::forget((std::mem::take(&mut self.slots), self.memory.take()));
    }

    /// Whether it was leaked.
    pub fn is_leaked(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A private piece of a frame, for a call while `bytes` is borrowed.
pub fn piece(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// The same, to be written to.
pub fn piece_mut(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}
