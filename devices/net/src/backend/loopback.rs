//! A backend whose queues receive what they send: both directions of a card at once, no kernel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::backend::script::WireFrame;
use crate::backend::{NetQueue, QueueError, Room};
use crate::frame::{HEAD, RxFrame, TxFrame};

/// Frames between sending and receiving; then there is no room.
pub const DEPTH: usize = 256;

/// One queue; it and its lane are alone with its frames.
pub struct Queue {
    frames: VecDeque<WireFrame>,
    /// Buffers of frames received, for those to come.
    spare: Vec<Vec<u8>>,
    ready: EventFd,
}

impl Queue {
    /// A queue without frames. Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Queue> {
        let ready = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Queue { frames: VecDeque::with_capacity(DEPTH), spare: Vec::new(), ready })
    }

    /// Tells the lane that the other direction can go on.
    fn signal(&self) {
        // Cannot fail but by overflow, and then it is ready already.
        let _ = self.ready.write(1);
    }
}

impl NetQueue for Queue {
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        if self.frames.len() >= DEPTH {
            return Err(QueueError::NotReady);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame.head.bytes());
        bytes.resize(frame.len(), 0);
        if let Some(body) = bytes.get_mut(frame.head.bytes().len()..) {
            frame.body.read_at(0, body);
        }
        self.frames.push_back(WireFrame { meta: frame.meta, bytes });
        if self.frames.len() == 1 {
            self.signal();
        }
        Ok(())
    }

    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        let WireFrame { meta, bytes } = self.frames.pop_front().ok_or(QueueError::NotReady)?;
        if self.frames.len() == DEPTH.saturating_sub(1) {
            self.signal();
        }
        frame.meta = meta;
        frame.len = bytes.len();
        let (head, body) = bytes.split_at(bytes.len().min(HEAD));
        frame.head.room().iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        frame.head.set_len(head.len());
        let fits = room.buffers.len().saturating_sub(room.skip).min(body.len());
        let (body, rest) = body.split_at(fits);
        room.buffers.write_at(room.skip, body);
        room.spill.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.spare.push(bytes);
        Ok(())
    }

    fn enable(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(borrow(&self.ready))
    }
}
