//! Scatter lists: pieces of guest RAM that make one frame or request, checked once and ready for readv and
//! writev.

use vm_memory::{GuestAddress, GuestMemory, Permissions, VolatileSlice};

use crate::memory::{RamSlice, slice};
use crate::{GuestRam, dirty};

/// Most pieces of one list: what one readv takes (Linux, UIO_MAXIOV is 1024) less the private
/// buffers around it.
pub const MAX_PIECES: usize = 1020;
/// When room is made by forgetting what is used up: before a buffer in several regions cannot fit.
const COMPACT_AT: usize = MAX_PIECES - 16;

/// Why a piece was not taken; the list is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScatterError {
    /// A part of it is not guest RAM.
    #[error("buffer outside of RAM")]
    OutsideRam,
    /// The list would have more than [`MAX_PIECES`].
    #[error("buffer in too many pieces")]
    TooManyPieces,
}

/// A list of pieces of guest RAM, in order, used again without allocation.
///
/// It owns a handle on the memory, so what was checked stays mapped as long as the list. The guest
/// may change the bytes at any time: they are copied volatile, or by the kernel, and never lent.
pub struct Scatter {
    memory: GuestRam,
    /// Used up in front, up to `first`; all others point into `memory`.
    pieces: Vec<libc::iovec>,
    first: usize,
    len: usize,
}

// SAFETY: the pointers lead into guest memory, which any thread may touch by volatile access.
unsafe impl Send for Scatter {}

impl Scatter {
    /// An empty list for pieces of `memory`.
    pub fn new(memory: GuestRam) -> Scatter {
        Scatter { memory, pieces: Vec::with_capacity(MAX_PIECES), first: 0, len: 0 }
    }

    /// An empty list that allocates as pieces come, and keeps what it got: where there are many lists, most
    /// of few pieces.
    pub fn growing(memory: GuestRam) -> Scatter {
        Scatter { memory, pieces: Vec::new(), first: 0, len: 0 }
    }

    /// What the pieces are of.
    pub fn memory(&self) -> &GuestRam {
        &self.memory
    }

    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.first = 0;
        self.len = 0;
    }

    /// Appends `len` bytes of RAM at guest-physical `addr`; nothing for a length of 0. Fails, with the
    /// list as before, if they are not all RAM or the list is full.
    pub fn push(&mut self, addr: u64, len: u32) -> Result<(), ScatterError> {
        if self.pieces.len() >= COMPACT_AT && self.first > 0 {
            self.pieces.drain(..self.first);
            self.first = 0;
        }
        let before = self.pieces.len();
        let pushed = self.push_slices(GuestAddress(addr), len as usize);
        match pushed {
            Ok(()) => self.len = self.len.saturating_add(len as usize),
            Err(_) => self.pieces.truncate(before),
        }
        pushed
    }

    fn push_slices(&mut self, addr: GuestAddress, len: usize) -> Result<(), ScatterError> {
        if len == 0 {
            return Ok(());
        }
        if let Some(slice) = slice(&self.memory, addr.0, len) {
            return add(&mut self.pieces, &slice);
        }
        let outside = |_| ScatterError::OutsideRam;
        let slices = GuestMemory::get_slices(&*self.memory, addr, len, Permissions::ReadWrite);
        for slice in slices.map_err(outside)? {
            add(&mut self.pieces, &slice.map_err(outside)?)?;
        }
        Ok(())
    }

    /// Takes `into.len()` bytes off the front as a private copy; false, and nothing taken, if there
    /// are fewer.
    pub fn pull(&mut self, into: &mut [u8]) -> bool {
        let copied = self.read_at(0, into);
        if copied {
            self.advance(into.len());
        }
        copied
    }

    /// Drops up to `bytes` off the front.
    pub fn advance(&mut self, bytes: usize) {
        let mut left = bytes.min(self.len);
        self.len = self.len.saturating_sub(left);
        while let Some(piece) = self.pieces.get_mut(self.first) {
            if left < piece.iov_len {
                piece.iov_base = piece.iov_base.cast::<u8>().wrapping_add(left).cast();
                piece.iov_len = piece.iov_len.saturating_sub(left);
                return;
            }
            left = left.saturating_sub(piece.iov_len);
            self.first = self.first.saturating_add(1);
        }
        self.clear();
    }

    /// Drops what is behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        while self.len > len {
            let Some(last) = self.pieces.last_mut() else { return };
            let over = self.len.saturating_sub(len).min(last.iov_len);
            last.iov_len = last.iov_len.saturating_sub(over);
            self.len = self.len.saturating_sub(over);
            if last.iov_len == 0 {
                self.pieces.pop();
            }
        }
    }

    /// Copies the bytes from `offset` on out of the guest; false if there are fewer.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> bool {
        if self.len.checked_sub(offset).is_none_or(|rest| rest < into.len()) {
            return false;
        }
        let mut rest = into;
        for slice in self.slices(offset) {
            let copied = slice.copy_to(rest);
            rest = rest.split_at_mut_checked(copied).map_or(&mut [], |(_, rest)| rest);
            if rest.is_empty() {
                break;
            }
        }
        true
    }

    /// Copies `bytes` to the guest from `offset` on; false, and nothing copied, if they do not fit.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> bool {
        if self.len.checked_sub(offset).is_none_or(|rest| rest < bytes.len()) {
            return false;
        }
        let mut rest = bytes;
        for slice in self.slices(offset) {
            let count = slice.len().min(rest.len());
            let Some((now, later)) = rest.split_at_checked(count) else { break };
            slice.copy_from(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        self.wrote(offset, bytes.len());
        true
    }

    /// Notes that the host's kernel has written `len` bytes from `offset` on, by [`Scatter::iovecs`]: whoever had it
    /// do so calls this before the guest is told. Of no effect unless pages are noted.
    #[inline]
    pub fn wrote(&self, offset: usize, len: usize) {
        if dirty::is_on(&self.memory) {
            self.note(offset, len);
        }
    }

    #[cold]
    fn note(&self, offset: usize, len: usize) {
        let mut left = len;
        for piece in self.iovecs(offset) {
            let here = piece.iov_len.min(left);
            dirty::note_at(&self.memory, piece.iov_base.addr(), here);
            left = left.saturating_sub(here);
            if left == 0 {
                break;
            }
        }
    }

    /// The pieces from byte `skip` on, for a system call while `self` is borrowed.
    pub fn iovecs(&self, skip: usize) -> impl Iterator<Item = libc::iovec> + '_ {
        let mut skip = skip;
        self.pieces.iter().skip(self.first).filter_map(move |piece| {
            if skip >= piece.iov_len {
                skip = skip.saturating_sub(piece.iov_len);
                return None;
            }
            let iov_base = piece.iov_base.cast::<u8>().wrapping_add(skip).cast();
            let iov_len = piece.iov_len.saturating_sub(skip);
            skip = 0;
            Some(libc::iovec { iov_base, iov_len })
        })
    }

    fn slices(&self, skip: usize) -> impl Iterator<Item = VolatileSlice<'_>> {
        self.iovecs(skip).map(|piece| {
            // SAFETY: `push` got the range from `memory`, which keeps it mapped as long as `self`
            // lives; nobody makes a reference to guest memory.
            unsafe { VolatileSlice::new(piece.iov_base.cast(), piece.iov_len) }
        })
    }
}

fn add(pieces: &mut Vec<libc::iovec>, slice: &RamSlice<'_>) -> Result<(), ScatterError> {
    if pieces.len() == MAX_PIECES {
        return Err(ScatterError::TooManyPieces);
    }
    let iov_base = slice.ptr_guard_mut().as_ptr().cast();
    pieces.push(libc::iovec { iov_base, iov_len: slice.len() });
    Ok(())
}

#[cfg(test)]
#[path = "scatter_test.rs"]
mod tests;
