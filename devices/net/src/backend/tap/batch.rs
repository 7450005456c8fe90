//! Frames on their way to a TAP, many in one system call: writes of an io_uring, in order.
//!
//! A TAP takes a write or refuses it at once, so that each has ended when the call returns. Nothing is ever
//! in flight between two calls, and no memory has to outlive one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use device_core::GuestRam;
use io_uring::{IoUring, opcode, types};
use libc::iovec;

use crate::backend::vnet_hdr;
use crate::frame::{MAX_HEAD, TxFrame};

/// Most frames of a call.
pub const FRAMES: usize = 32;
/// Most pieces of a frame that is collected: its front, and a body of Linux's in as many fragments as it makes
/// of one.
const PIECES: usize = 1 + 18;

/// Frames collected, and the ring that they go by.
pub struct Batch {
    ring: IoUring,
    slots: Box<[Slot]>,
    /// Frames in the slots, from the first on.
    filled: usize,
    /// What their bodies are in; it stays mapped for so long.
    memory: Option<GuestRam>,
}

/// A frame as the TAP will see it; private but for its body.
struct Slot {
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
unsafe impl Send for Slot {}

const NO_PIECE: iovec = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

impl Slot {
    fn new() -> Slot {
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
        if let Some((to_header, to_head)) = self.front.split_first_chunk_mut() {
            *to_header = header;
            to_head.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        }
        self.front_len = vnet_hdr::LEN.wrapping_add(head.len());
        self.count = count;
        self.len = frame.len();
        true
    }

    /// The pieces, good as long as the slot stays where it is.
    fn line_up(&mut self) -> &[iovec] {
        let front = piece(self.front.get(..self.front_len).unwrap_or_default());
        if let Some(first) = self.pieces.first_mut() {
            *first = front;
        }
        self.pieces.get(..self.count as usize).unwrap_or_default()
    }
}

impl Batch {
    /// A ring for the calling thread only. Fails where the kernel has no io_uring as we
    /// need it (Linux 6.1), or forbids it.
    pub fn new() -> io::Result<Batch> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .dontfork()
            .build(FRAMES as u32)?;
        let slots = (0..FRAMES).map(|_| Slot::new()).collect();
        Ok(Batch { ring, slots, filled: 0, memory: None })
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

    /// Writes what was collected, in order; tells of each frame that the TAP refused: its bytes, and why.
    pub fn send(&mut self, tap: &File, mut refused: impl FnMut(usize, io::Error)) {
        let count = std::mem::take(&mut self.filled);
        if count == 1 {
            // One by itself is cheaper so.
            for slot in self.slots.iter_mut().take(count) {
                // SAFETY: the first piece is the slot's, the others checked guest memory that the batch keeps
                // mapped.
                if let Err(error) = unsafe { write(tap, slot.line_up()) } {
                    refused(slot.len, error);
                }
            }
            return;
        }
        // By its descriptor and not as a file of the ring: the kernel takes rings down at its leisure, and
        // would keep the TAP from its next owner for so long.
        let fd = types::Fd(tap.as_raw_fd());
        let mut waiting = 0usize;
        {
            let mut queue = self.ring.submission();
            for (index, slot) in self.slots.iter_mut().take(count).enumerate() {
                let entry = match slot.line_up() {
                    [only] => {
                        opcode::Write::new(fd, only.iov_base.cast(), only.iov_len as u32).build()
                    }
                    all => opcode::Writev::new(fd, all.as_ptr(), all.len() as u32).build(),
                };
                // SAFETY: the slot stays where it is, and the batch keeps the guest memory it leads to mapped,
                // until its entry has ended: before this function returns, or for ever.
                match unsafe { queue.push(&entry.user_data(index as u64)) } {
                    Ok(()) => waiting = waiting.wrapping_add(1),
                    // Not with a ring of as many entries; it is not waited for.
                    Err(full) => refused(slot.len, io::Error::other(full)),
                }
            }
        }
        while waiting > 0 {
            let called = self.ring.submit_and_wait(waiting);
            for entry in self.ring.completion() {
                let slot = usize::try_from(entry.user_data()).ok();
                let Some(slot) = slot.and_then(|index| self.slots.get(index)) else { continue };
                waiting = waiting.saturating_sub(1);
                let code = entry.result();
                if code < 0 {
                    refused(slot.len, io::Error::from_raw_os_error(code.saturating_neg()));
                }
            }
            if let Err(error) = called
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Not for any frame: the ring is of no more use. What it may still know of is not freed.
                std::mem::forget((std::mem::take(&mut self.slots), self.memory.take()));
                refused(0, error);
                return;
            }
        }
    }

    /// Whether the ring failed, and frames have to go in another way.
    pub fn is_broken(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A private piece of a frame, for a call while `bytes` is borrowed.
pub fn piece(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Writes a frame to a TAP, header first. Fails as the system call does.
///
/// # Safety
/// The pieces are to be memory that may be read during the call.
pub unsafe fn write(tap: &File, pieces: &[iovec]) -> io::Result<()> {
    let count = pieces.len() as libc::c_int; // far below what an int holds
    loop {
        // SAFETY: as the caller promises; the call only reads.
        let sent = unsafe { libc::writev(tap.as_raw_fd(), pieces.as_ptr(), count) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
