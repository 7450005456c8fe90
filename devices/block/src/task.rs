//! What the host is asked to do for a request, with all memory that it may touch meanwhile.
//!
//! A task moves to an engine and comes back when the host is done with it; while it is away nobody else has
//! it. So nothing of it can be freed under the kernel.
#![allow(unsafe_code)]

use std::time::Instant;

use device_core::GuestRam;

use crate::bounce::{BOUNCE, Bounce};
use crate::image::Place;
use crate::request::Request;

/// One call of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Call {
    /// preadv2 to the task's buffers.
    #[default]
    Read,
    /// pwritev2 of them.
    Write {
        /// On disk before it completes (RWF_DSYNC).
        durable: bool,
    },
    /// fdatasync.
    Sync,
    /// fallocate: the range reads as zeroes, and its space is free.
    Punch,
    /// fallocate: the range reads as zeroes, and keeps its space.
    Zero,
    /// BLKDISCARD, on a block device.
    DeviceDiscard,
    /// BLKZEROOUT, on a block device.
    DeviceZero,
}

/// What the lane notes on a request between two calls of the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes of the buffers, or of the range, that are done.
    pub done: u64,
    /// Number of the range.
    pub range: usize,
    /// Times in a row that the host said to try again.
    pub tries: u32,
    /// What it reads or writes is in the bounce buffer.
    pub bounced: bool,
    /// Direct I/O was refused: through the page cache then.
    pub refused: bool,
    /// When the lane took it.
    pub since: Instant,
    /// When it was first handed to the engine.
    pub handed: Option<Instant>,
}

impl Progress {
    fn new(since: Instant) -> Progress {
        Progress {
            done: 0,
            range: 0,
            tries: 0,
            bounced: false,
            refused: false,
            since,
            handed: None,
        }
    }
}

/// What the lane notes on a request of a disk that is an overlay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Over {
    pub stage: Stage,
    /// It is to be on disk before it completes, and some of it is not yet.
    pub owes_flush: bool,
    /// The flush that will have all of it, once it waits for one.
    pub flush: Option<u64>,
}

/// What a call for a disk that is an overlay is about. Clusters in it are claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There was none, or nothing is left of it.
    #[default]
    Next,
    /// Bytes are read, or written where the overlay has them.
    Moving,
    /// So many new clusters, from the first on, are written whole.
    Filling { first: u64, count: u64 },
    /// What is below is read of a new cluster.
    Fetching { cluster: u64 },
    /// It is written.
    Storing { cluster: u64 },
    /// A flush brings data to the medium.
    Syncing,
    /// It writes so many pages of the map.
    Mapping { first: u64, count: u64 },
    /// It brings those to the medium.
    Sealing,
}

/// A request on its way.
pub struct Task {
    /// Where the lane keeps the rest of it.
    pub(crate) seat: u16,
    pub(crate) request: Request,
    pub(crate) progress: Progress,
    /// The same of a disk that is an overlay.
    pub(crate) over: Over,
    /// Others that wait for its kind of request have let it pass.
    pub(crate) admitted: bool,
    call: Call,
    place: Place,
    offset: u64,
    len: u64,
    /// Into guest memory that `request` keeps mapped, into `bounce`, or into the page of zeroes.
    iovecs: Vec<libc::iovec>,
    bounce: Option<Bounce>,
}

// SAFETY: the iovecs lead to guest memory, which any thread may touch by volatile access, to a buffer
// that the task owns, or to zeroes that nobody writes.
unsafe impl Send for Task {}

/// Most that one call moves or zeroes.
pub(crate) const MOST: u64 = 1 << 30;

#[repr(align(4096))]
struct Zeroes([u8; BOUNCE]);
static ZEROES: Zeroes = Zeroes([0; BOUNCE]);
/// Pieces of zeroes in one write.
const ZERO_PIECES: u64 = 16;

impl Task {
    pub(crate) fn new(memory: GuestRam) -> Task {
        Task {
            seat: 0,
            request: Request::new(memory),
            progress: Progress::new(Instant::now()),
            over: Over::default(),
            admitted: false,
            call: Call::Read,
            place: Place::FILE,
            offset: 0,
            len: 0,
            iovecs: Vec::new(),
            bounce: None,
        }
    }

    /// Forgets the last request.
    pub(crate) fn clear(&mut self, now: Instant) {
        self.request.clear();
        self.iovecs.clear();
        self.progress = Progress::new(now);
        self.over = Over::default();
        self.admitted = false;
    }

    /// What is to be done.
    pub fn call(&self) -> Call {
        self.call
    }

    /// By which of the image's files.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether that is one that goes through the page cache.
    pub fn is_cached(&self) -> bool {
        self.place.is_cached()
    }

    /// Where in the image, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How much of it, in bytes: as much as there is in the buffers, of reads and writes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is of no bytes, as a flush is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffers of reads and writes. What they lead to lives as long as the task, and nobody but the host
    /// touches private memory among it while an engine has the task.
    pub fn iovecs(&self) -> &[libc::iovec] {
        &self.iovecs
    }

    /// A call without buffers.
    pub(crate) fn aim(&mut self, call: Call, offset: u64, len: u64) {
        self.iovecs.clear();
        (self.call, self.place, self.offset, self.len) = (call, Place::FILE, offset, len);
    }

    /// A read or write of up to `len` bytes of the guest's own buffers from byte `skip` on, as much as one call takes.
    pub(crate) fn aim_at_guest(
        &mut self,
        call: Call,
        place: Place,
        offset: u64,
        skip: u64,
        len: u64,
    ) {
        (self.call, self.place, self.offset) = (call, place, offset);
        self.iovecs.clear();
        let most = len.min(MOST) as usize;
        let mut left = most;
        for piece in self.request.buffers.iovecs(usize::try_from(skip).unwrap_or(usize::MAX)) {
            let len = piece.iov_len.min(left);
            left = left.saturating_sub(len);
            if len == 0 {
                break;
            }
            // The kernel goes through a few long pieces faster than through many pages.
            match self.iovecs.last_mut() {
                Some(last) if end(last) == piece.iov_base as usize => {
                    last.iov_len = last.iov_len.saturating_add(len);
                }
                _ => self.iovecs.push(libc::iovec { iov_len: len, ..piece }),
            }
        }
        self.len = most.saturating_sub(left) as u64;
    }

    /// A read or write of `len` bytes of a private buffer.
    pub(crate) fn aim_at_bounce(&mut self, call: Call, place: Place, offset: u64, len: usize) {
        (self.call, self.place, self.offset) = (call, place, offset);
        self.iovecs.clear();
        self.len = 0;
        if let Some(bounce) = &mut self.bounce {
            let len = len.min(BOUNCE);
            self.iovecs.push(libc::iovec { iov_base: bounce.start(), iov_len: len });
            self.len = len as u64;
        }
    }

    /// A write of up to `len` zeroes.
    pub(crate) fn aim_at_zeroes(&mut self, durable: bool, offset: u64, len: u64) {
        (self.call, self.place, self.offset) = (Call::Write { durable }, Place::CACHED, offset);
        self.iovecs.clear();
        let len = len.min((BOUNCE as u64).saturating_mul(ZERO_PIECES));
        let mut left = len as usize;
        while left > 0 {
            let here = left.min(BOUNCE);
            left = left.saturating_sub(here);
            // Only ever the source of a write.
            let iov_base = ZEROES.0.as_ptr().cast_mut().cast();
            self.iovecs.push(libc::iovec { iov_base, iov_len: here });
        }
        self.len = len;
    }

    /// Gives the task a private buffer.
    pub(crate) fn lend(&mut self, bounce: Bounce) {
        self.iovecs.clear();
        self.bounce = Some(bounce);
    }

    pub(crate) fn has_bounce(&self) -> bool {
        self.bounce.is_some()
    }

    /// Takes it back, after the host is done with it.
    pub(crate) fn take_bounce(&mut self) -> Option<Bounce> {
        self.iovecs.clear();
        self.bounce.take()
    }

    /// Copies `len` bytes of the guest's buffers, from what is done on, to the private one; false if there are
    /// fewer.
    pub(crate) fn fill_bounce(&mut self, len: usize) -> bool {
        let skip = usize::try_from(self.progress.done).unwrap_or(usize::MAX);
        let Some(bounce) = &mut self.bounce else { return false };
        bounce.fill(0..len, &self.request.buffers, skip)
    }

    /// The private buffer, and what of the guest's goes into it.
    pub(crate) fn bounce(&mut self) -> Option<(&mut Bounce, &Request)> {
        Some((self.bounce.as_mut()?, &self.request))
    }

    /// Copies `len` bytes the other way.
    pub(crate) fn empty_bounce(&mut self, len: usize) -> bool {
        let skip = usize::try_from(self.progress.done).unwrap_or(usize::MAX);
        let Some(bounce) = &mut self.bounce else { return false };
        bounce.empty(&self.request.buffers, skip, len)
    }

    /// Whether `len` bytes of both are the same.
    pub(crate) fn compare_bounce(&mut self, len: usize) -> bool {
        let skip = usize::try_from(self.progress.done).unwrap_or(usize::MAX);
        let Some(bounce) = &mut self.bounce else { return false };
        bounce.equals(&self.request.buffers, skip, len)
    }
}

fn end(piece: &libc::iovec) -> usize {
    (piece.iov_base as usize).wrapping_add(piece.iov_len)
}
