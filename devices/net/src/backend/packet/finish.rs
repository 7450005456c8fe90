//! What is left to be done on a received frame, where the guest does not do it: a TAP's kernel does it before
//! a frame is read, but who reads packets gets them as they are.

use std::ops::Range;

use crate::frame::{Csum, FrameMeta, HEAD, MAX_FRAME, RxFrame};
use crate::stage::segment::{BadSegments, Segments};
use crate::wire::checksum::Sum;

/// Bytes of the rarely used copy of a frame: with a tag that was taken off.
pub const WHOLE: usize = MAX_FRAME + crate::wire::ethernet::TAG;

/// A frame all in one place, and where it is being cut.
pub struct Whole {
    // Zeroed by the system when touched first, which a queue of other frames never does.
    bytes: Box<[u8]>,
    cut: Option<Segments>,
}

impl Whole {
    pub fn new() -> Whole {
        Whole { bytes: vec![0; WHOLE].into(), cut: None }
    }

    /// For a frame to be put in.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// From now on [`Whole::next`] has the pieces of the frame here, of which `frame` says length and metadata.
    /// Fails if it cannot be cut.
    pub fn cut(&mut self, frame: &RxFrame) -> Result<(), BadSegments> {
        self.cut = Some(Segments::of(frame, &self.bytes)?);
        Ok(())
    }

    /// The next piece: its headers are the head of `frame`; says where the rest is. `None` if nothing is being
    /// cut.
    pub fn next(&mut self, frame: &mut RxFrame) -> Option<Range<usize>> {
        let piece = self.cut.as_mut()?.next(&self.bytes, frame);
        if piece.is_none() {
            self.cut = None;
        }
        piece
    }

    /// Bytes of the frame.
    pub fn range(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// What is left of a frame is forgotten.
    pub fn forget(&mut self) {
        self.cut = None;
    }
}

/// Completes the checksum of a frame that is all here.
pub fn complete(meta: &mut FrameMeta, frame: &mut [u8]) {
    let Csum::Needed { start, offset } = meta.csum else { return };
    let mut sum = Sum::default();
    let place = usize::from(start).saturating_add(offset.into());
    sum.add(frame.get(usize::from(start)..).unwrap_or_default());
    if let Some(field) = frame.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
        *field = sum.checksum().to_be_bytes();
    }
    meta.csum = Csum::Unknown;
}

/// What is known of a frame, once a tag of `len` bytes is put in before all that it speaks of.
pub fn shifted(meta: FrameMeta, len: u16) -> FrameMeta {
    let csum = match meta.csum {
        Csum::Needed { start, offset } => Csum::Needed { start: start.saturating_add(len), offset },
        other => other,
    };
    let gso = meta.gso.map(|mut gso| {
        // 0 is no length.
        if gso.headers > 0 {
            gso.headers = gso.headers.saturating_add(len);
        }
        gso
    });
    FrameMeta { csum, gso, ..meta }
}

/// Splits a frame in two pieces at the end of a private head: what goes there, and what comes behind.
pub fn split<'a>(first: &'a [u8], second: &'a [u8]) -> [[&'a [u8]; 2]; 2] {
    let (front, over) = first.split_at_checked(HEAD).unwrap_or((first, &[]));
    let left = HEAD.saturating_sub(front.len());
    let (top, body) = second.split_at_checked(left).unwrap_or((second, &[]));
    [[front, top], [over, body]]
}

#[cfg(test)]
#[path = "finish_test.rs"]
mod tests;
