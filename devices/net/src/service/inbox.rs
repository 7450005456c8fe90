//! Frames on their way from a card's other lanes to the one that has its stack.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::guard::Concern;

/// Frames that wait; more are lost, as on a wire.
const MOST: usize = 256;

/// A frame, and what it is to the service.
pub type Taken = (Vec<u8>, Concern);

/// Where they wait. Only frames for the service come by, so its lock is on no other frame's way.
pub struct Inbox {
    frames: Mutex<VecDeque<Taken>>,
    event: EventFd,
}

impl Inbox {
    /// An empty one. Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Arc<Inbox>> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Arc::new(Inbox { frames: Mutex::default(), event }))
    }

    /// Leaves a frame and wakes who takes them.
    pub fn put(&self, frame: &[u8], concern: Concern) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() < MOST {
            frames.push_back((frame.to_vec(), concern));
            drop(frames);
            // It can fail only if full, and then it is readable.
            let _ = self.event.write(1);
        }
    }

    /// All frames there are, the oldest first.
    pub fn take(&self) -> VecDeque<Taken> {
        std::mem::take(&mut *self.frames.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Becomes readable with each frame; to be watched edge-triggered, and never read.
    pub fn event(&self) -> BorrowedFd<'_> {
        borrow(&self.event)
    }
}
