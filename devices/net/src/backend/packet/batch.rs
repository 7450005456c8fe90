//! Frames on their way to an interface, many in one sendmmsg, in order.
//!
//! Measured against a ring of the kernel's for frames to be sent (PACKET_TX_RING), which costs as much, and has room
//! for no frame longer than its slots; and against io_uring, which costs more here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use libc::{iovec, mmsghdr, msghdr};

use super::socket::{HEADER, Socket};
use crate::backend::collect::{Collected, FRAMES};
use crate::frame::TxFrame;

/// Frames collected, and what the kernel is told of each.
pub struct Batch {
    frames: Collected<HEADER>,
    messages: Box<[mmsghdr]>,
}

// SAFETY: the pointers in `messages` are rubbish outside of a call on one thread.
unsafe impl Send for Batch {}

impl Batch {
    pub fn new() -> Batch {
        let message = || mmsghdr { msg_hdr: message(&mut []), msg_len: 0 };
        let messages = (0..FRAMES).map(|_| message()).collect();
        Batch { frames: Collected::new(), messages }
    }

    pub fn is_full(&self) -> bool {
        self.frames.is_full()
    }

    /// Collects a frame; false if it has to go by itself.
    pub fn push(&mut self, frame: &TxFrame) -> bool {
        self.frames.push(frame)
    }

    /// Sends what was collected, in order; tells of each frame that the kernel refused: its bytes, and why.
    pub fn send(&mut self, socket: &Socket, mut refused: impl FnMut(usize, io::Error)) {
        let slots = self.frames.take();
        for (slot, to) in slots.iter_mut().zip(&mut self.messages) {
            to.msg_hdr = message(slot.line_up());
        }
        let mut sent = 0usize;
        while let Some(left) =
            self.messages.get_mut(sent..slots.len()).filter(|left| !left.is_empty())
        {
            let (fd, count) = (socket.as_fd().as_raw_fd(), left.len() as u32); // at most FRAMES
            // SAFETY: the first piece of each message is its slot's, the others checked guest memory that is mapped
            // as long as it is collected; all live during the call.
            let done = unsafe { send_many(fd, left.as_mut_ptr(), count) };
            // Fewer than all stop before one that cannot go, which then is the first of the next call.
            let done = match usize::try_from(done) {
                Ok(done) => done,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    refused(slots.get(sent).map_or(0, |slot| slot.len()), error);
                    1
                }
            };
            sent = sent.saturating_add(done.max(1));
        }
    }
}

/// sendmmsg, which musl's function of that name does not come to: it sends one by one.
///
/// # Safety
/// There are so many messages, and their pieces may be read.
unsafe fn send_many(fd: RawFd, messages: *mut mmsghdr, count: u32) -> libc::c_long {
    // SAFETY: as the caller promises. A message of zeros has zeros where other libraries than glibc leave a gap.
    unsafe { libc::syscall(libc::SYS_sendmmsg, fd, messages, count, 0) }
}

/// A message of these pieces, for a call while they stay where they are.
fn message(pieces: &mut [iovec]) -> msghdr {
    // SAFETY: a message of zeros is valid.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    message
}

/// Sends one frame, header first. Fails as the system call does.
///
/// # Safety
/// The pieces are to be memory that may be read during the call.
pub unsafe fn send(socket: &Socket, pieces: &mut [iovec]) -> io::Result<()> {
    // By the same call as many: a lane has no other.
    let mut message = mmsghdr { msg_hdr: message(pieces), msg_len: 0 };
    loop {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: as the caller promises; of the message itself only the length is written.
        let sent = unsafe { send_many(fd, &raw mut message, 1) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
