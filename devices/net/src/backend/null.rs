//! A backend that swallows what is sent and brings frames without end: it measures a front alone.

use std::io;
use std::os::fd::BorrowedFd;

use crate::backend::{NetQueue, QueueError, Room};
use crate::frame::{HEAD, RxFrame, TxFrame};

/// Swallows every frame sent; brings `frames` frames of `len` bytes to a group address, whose bodies it leaves
/// unwritten.
#[derive(Default)]
pub struct Null {
    pub frames: u64,
    pub len: usize,
}

impl NetQueue for Null {
    fn send(&mut self, _: &TxFrame) -> Result<(), QueueError> {
        Ok(())
    }

    fn recv(&mut self, _: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        self.frames = self.frames.checked_sub(1).ok_or(QueueError::NotReady)?;
        frame.len = self.len;
        // A group address: no filter of a card without addresses of its own stops it.
        if let Some(first) = frame.head.room().first_mut() {
            *first = 1;
        }
        frame.head.set_len(self.len.min(HEAD));
        Ok(())
    }

    fn enable(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
