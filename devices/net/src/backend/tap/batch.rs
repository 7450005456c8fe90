//! Frames on their way to a TAP, many in one system call: writes of an io_uring, in order.
//!
//! A TAP takes a write or refuses it at once, so that each has ended when the call returns. Nothing is ever
//! in flight between two calls, and no memory has to outlive one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, types};
use libc::iovec;

use crate::backend::collect::{Collected, FRAMES};
use crate::backend::vnet_hdr;
use crate::frame::TxFrame;

/// Frames collected, and the ring that they go by.
pub struct Batch {
    ring: IoUring,
    frames: Collected<{ vnet_hdr::LEN }>,
}

/// All that the ring can be asked for: what filters system calls does not see its operations.
const OPERATIONS: [u8; 2] = [opcode::Write::CODE, opcode::Writev::CODE];

impl Batch {
    /// A ring for the calling thread only. Fails where the kernel has no io_uring as we
    /// need it (Linux 6.1), or forbids it.
    pub fn new() -> io::Result<Batch> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .dontfork()
            .build(FRAMES as u32)?;
        let mut restrictions = OPERATIONS.map(Restriction::sqe_op);
        ring.submitter().register_restrictions(&mut restrictions)?;
        ring.submitter().register_enable_rings()?;
        Ok(Batch { ring, frames: Collected::new() })
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.frames.is_full()
    }

    /// Collects a frame; false if it has to go by itself.
    pub fn push(&mut self, frame: &TxFrame) -> bool {
        self.frames.push(frame)
    }

    /// Writes what was collected, in order; tells of each frame that the TAP refused: its bytes, and why.
    pub fn send(&mut self, tap: &File, mut refused: impl FnMut(usize, io::Error)) {
        let slots = self.frames.take();
        if let [only] = slots {
            // One by itself is cheaper so.
            // SAFETY: the first piece is the slot's, the others checked guest memory that the batch keeps
            // mapped.
            if let Err(error) = unsafe { write(tap, only.line_up()) } {
                refused(only.len(), error);
            }
            return;
        }
        // By its descriptor and not as a file of the ring: the kernel takes rings down at its leisure, and
        // would keep the TAP from its next owner for so long.
        let fd = types::Fd(tap.as_raw_fd());
        let mut waiting = 0usize;
        {
            let mut queue = self.ring.submission();
            for (index, slot) in slots.iter_mut().enumerate() {
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
                    Err(full) => refused(slot.len(), io::Error::other(full)),
                }
            }
        }
        while waiting > 0 {
            let called = self.ring.submit_and_wait(waiting);
            for entry in self.ring.completion() {
                let slot = usize::try_from(entry.user_data()).ok();
                let Some(slot) = slot.and_then(|index| slots.get(index)) else { continue };
                waiting = waiting.saturating_sub(1);
                let code = entry.result();
                if code < 0 {
                    refused(slot.len(), io::Error::from_raw_os_error(code.saturating_neg()));
                }
            }
            if let Err(error) = called
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Not for any frame: the ring is of no more use. What it may still know of is not freed.
                self.frames.leak();
                refused(0, error);
                return;
            }
        }
    }

    /// Whether the ring failed, and frames have to go in another way.
    pub fn is_broken(&self) -> bool {
        self.frames.is_leaked()
    }
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
