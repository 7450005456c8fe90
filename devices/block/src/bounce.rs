//! Private memory between guest and host, where direct I/O cannot use the guest's, and where what was read is
//! compared.

use std::ops::Range;

use device_core::scatter::Scatter;

/// What direct I/O wants at most of an address.
const PAGE: usize = 4096;
const PAGES: usize = 16;
/// Bytes of one buffer: so much of a request goes at once.
pub const BOUNCE: usize = PAGE * PAGES;

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE]);

/// One buffer, aligned to a page.
pub struct Bounce(Vec<Page>);

impl Bounce {
    /// A zeroed one.
    fn new() -> Bounce {
        Bounce(vec![Page([0; PAGE]); PAGES])
    }

    /// Where its first byte is, for the host to write to and read from.
    pub fn start(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Those of its bytes that are in `range`, with the place of each piece in that.
    fn pieces(&mut self, range: Range<usize>) -> impl Iterator<Item = (usize, &mut [u8])> {
        let Range { start, end } = range;
        let pages = (0..).step_by(PAGE).zip(&mut self.0).skip(start / PAGE);
        pages.map_while(move |(at, page)| {
            let from = start.saturating_sub(at);
            let to = end.saturating_sub(at).min(PAGE);
            let piece = page.0.get_mut(from..to).filter(|piece| !piece.is_empty())?;
            Some((at.max(start).wrapping_sub(start), piece))
        })
    }

    /// Copies bytes from the guest's buffers, from byte `skip` on, to `range`; false if there are fewer.
    pub fn fill(&mut self, range: Range<usize>, from: &Scatter, skip: usize) -> bool {
        self.pieces(range).all(|(at, piece)| from.read_at(skip.wrapping_add(at), piece))
    }

    /// Makes `range` zero.
    pub fn zero(&mut self, range: Range<usize>) {
        self.pieces(range).for_each(|(_, piece)| piece.fill(0));
    }

    /// Takes words in from the first byte on, as many as there are and have room.
    pub fn take_words(&mut self, words: impl Iterator<Item = [u8; 8]>) {
        let places = self.0.iter_mut().flat_map(|page| page.0.as_chunks_mut().0);
        places.zip(words).for_each(|(place, word)| *place = word);
    }

    /// Copies its first `len` bytes to the guest's buffers, from byte `skip` on; false if there are fewer.
    pub fn empty(&mut self, to: &Scatter, skip: usize, len: usize) -> bool {
        self.pieces(0..len).all(|(at, piece)| to.write_at(skip.wrapping_add(at), piece))
    }

    /// Whether its first `len` bytes are those of the guest's buffers from byte `skip` on.
    pub fn equals(&mut self, guest: &Scatter, skip: usize, len: usize) -> bool {
        let mut theirs = [0; PAGE];
        self.pieces(0..len).all(|(at, piece)| {
            let Some(theirs) = theirs.get_mut(..piece.len()) else { return false };
            guest.read_at(skip.wrapping_add(at), theirs) && theirs == piece
        })
    }
}

/// Buffers of one lane: bounded, made when they are needed first.
pub struct BouncePool {
    spare: Vec<Bounce>,
    /// Those that may still be given out.
    left: usize,
}

/// Buffers that a lane has at most: 1 MiB.
const MOST: usize = 16;
/// Buffers that it keeps while it needs none.
const KEPT: usize = 2;

impl Default for BouncePool {
    fn default() -> BouncePool {
        BouncePool { spare: Vec::new(), left: MOST }
    }
}

impl BouncePool {
    /// A buffer, with whatever is in it; `None` while all are out.
    pub fn take(&mut self) -> Option<Bounce> {
        self.left = self.left.checked_sub(1)?;
        Some(self.spare.pop().unwrap_or_else(Bounce::new))
    }

    /// Takes one back.
    pub fn put(&mut self, bounce: Bounce) {
        self.left = self.left.saturating_add(1);
        if self.spare.len() < KEPT {
            self.spare.push(bounce);
        }
    }
}
