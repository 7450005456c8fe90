//! The wire between a serial port and its console: output that waits for the host, in bounded room.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Output bytes of the guest, each at a position that only grows, and the bell of who carries them
/// to the host.
///
/// vCPUs only append; when the room is used up the oldest byte goes. They ring the bell when the
/// carrier sleeps, so a guest that prints without pause costs a bell now and then, not one per byte.
pub struct Line {
    state: Mutex<State>,
    bell: EventFd,
}

struct State {
    bytes: VecDeque<u8>,
    /// Position of the first byte in `bytes`.
    start: u64,
    limit: usize,
    carrier_sleeps: bool,
    input_waits: bool,
}

impl State {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.start = self.start.saturating_add(count as u64);
    }
}

impl Line {
    /// A line that holds the latest `limit` bytes; with 0 it holds none.
    pub(crate) fn new(limit: usize) -> io::Result<Arc<Line>> {
        let state = State {
            bytes: VecDeque::new(),
            start: 0,
            limit,
            carrier_sleeps: false,
            input_waits: false,
        };
        let bell = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Arc::new(Line { state: Mutex::new(state), bell }))
    }

    /// Takes a byte that the guest sent. Never waits for the host.
    pub(crate) fn send(&self, byte: u8) {
        let mut state = self.lock();
        if state.bytes.len() >= state.limit {
            state.bytes.pop_front();
            state.start = state.start.saturating_add(1);
        }
        if state.limit > 0 {
            state.bytes.push_back(byte);
        }
        let ring = std::mem::take(&mut state.carrier_sleeps);
        drop(state);
        if ring {
            self.ring();
        }
    }

    /// Notes that the port may take input again; rings if input waits.
    pub(crate) fn port_has_room(&self) {
        if std::mem::take(&mut self.lock().input_waits) {
            self.ring();
        }
    }

    /// Asks for a bell when the port may have room. Look once more at the port afterwards.
    pub(crate) fn wait_for_room(&self) {
        self.lock().input_waits = true;
    }

    /// Copies the bytes from `position` on, or from the oldest there is; returns the position of the
    /// first and their number.
    pub(crate) fn copy_from(&self, position: u64, into: &mut [u8]) -> (u64, usize) {
        let state = self.lock();
        let first = position.max(state.start);
        let skip = usize::try_from(first.saturating_sub(state.start)).unwrap_or(usize::MAX);
        let room = into.len();
        for (to, from) in into.iter_mut().zip(state.bytes.iter().skip(skip)) {
            *to = *from;
        }
        let count = state.bytes.len().saturating_sub(skip).min(room);
        (first, count)
    }

    /// Drops the bytes before `position`, and the memory that a burst took.
    pub(crate) fn forget_before(&self, position: u64) {
        const IDLE_ROOM: usize = 4096;
        let mut state = self.lock();
        let count = position.min(state.end()).saturating_sub(state.start);
        state.forget(usize::try_from(count).unwrap_or(usize::MAX));
        if state.bytes.is_empty() && state.bytes.capacity() > IDLE_ROOM {
            state.bytes.shrink_to(IDLE_ROOM);
        }
    }

    /// From now on nothing is kept: there is nobody to carry it.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.limit = 0;
        let all = state.bytes.len();
        state.forget(all);
        state.bytes.shrink_to_fit();
    }

    /// The carrier goes to sleep, unless there is something beyond `position`; says whether it may.
    pub(crate) fn may_sleep(&self, position: u64) -> bool {
        let mut state = self.lock();
        state.carrier_sleeps = state.end() <= position;
        state.carrier_sleeps
    }

    /// Position of the oldest byte.
    pub(crate) fn oldest(&self) -> u64 {
        self.lock().start
    }

    /// Readable once rung; needs no reading if it is watched for edges.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        device_core::kick::borrow(&self.bell)
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    /// Whether the bell rang since the last call.
    #[cfg(test)]
    pub(crate) fn bell_rang(&self) -> bool {
        self.bell.read().is_ok()
    }

    /// Cannot fail but by overflow of the eventfd, and then it is readable already.
    fn ring(&self) {
        let _ = self.bell.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "line_test.rs"]
mod tests;
