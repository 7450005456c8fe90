//! Steering in the kernel: an eBPF program picks the queue of a multi-queue TAP for each frame by
//! the guest's own key and table.
//!
//! The program is fixed; all a guest sets is data in one mapped array that the program reads. So a
//! change is a few stores to memory, without a system call, and frames are never without a rule:
//! the array holds two sets of rules, and a change fills the one not in use and then turns the
//! program to it.

mod assembler;
#[allow(unsafe_code)] // bpf(2), mmap(2)
mod bpf;
mod program;
mod rules;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::Hasher;
use bpf::{Map, Program};
use rules::Rules;

pub use program::instructions;

/// Why frames cannot be steered in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// A privilege is missing.
    #[error(
        "the process may not load eBPF programs; give it CAP_BPF and CAP_NET_ADMIN for steering in the kernel"
    )]
    Permission,
    /// The kernel lacks what is needed; what it said.
    #[error("this kernel cannot load the steering program; it needs Linux 5.5 with eBPF")]
    Unsupported(#[source] io::Error),
}

impl SteerError {
    fn of(error: io::Error) -> SteerError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => SteerError::Permission,
            _ => SteerError::Unsupported(error),
        }
    }
}

/// A loaded program and its rules; alone it steers nothing.
pub struct Steerer {
    map: Map,
    program: Program,
    /// Which of the two sets of rules the program uses.
    current: usize,
}

impl Steerer {
    /// Loads the program; the only moment that needs a privilege. Fails if the process may not, or the
    /// kernel cannot.
    pub fn load() -> Result<Steerer, SteerError> {
        let map = Map::array(rules::BYTES).map_err(SteerError::of)?;
        let program = Program::socket_filter(&instructions(map.as_fd())).map_err(SteerError::of)?;
        Ok(Steerer { map, program, current: 0 })
    }

    /// From now on frames are steered as `hasher` says. Atomic for every frame but one whose
    /// program would run across two changes, and that one is merely misplaced.
    pub fn update(&mut self, hasher: &Hasher) {
        let next = self.current ^ 1;
        for (word, value) in
            self.map.words().iter().skip(rules::offset(next) >> 2).zip(Rules::of(hasher).words())
        {
            word.store(*value, Ordering::Relaxed);
        }
        if let Some(current) = self.map.words().first() {
            // The kernel's program reads this word first, then what it points to.
            current.store(next as u32, Ordering::Release);
        }
        self.current = next;
    }

    /// The program, for a TAP to run.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// The array of rules.
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
