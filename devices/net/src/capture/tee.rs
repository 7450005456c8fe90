//! The lane's half of a capture: copies, and never waits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use device_core::counters::Counter;
use device_core::word_ring::Sink;
use vmm_sys_util::eventfd::EventFd;

use super::record::Seen;
use crate::control::capture::CaptureSpec;
use crate::frame::{FrameMeta, RxFrame, TxFrame};
use crate::stage::limiter::Way;
use device_core::scatter::Scatter;

/// Frames that share a time stamp at most.
const STAMP_FRAMES: u32 = 16;

/// A tee in one lane, for both directions or one.
pub struct Tee {
    sink: Sink,
    only: Option<Way>,
    snap: usize,
    stamp: u64,
    /// Frames still to get this stamp.
    stamp_left: u32,
    dropped: Arc<Counter>,
    wake: Arc<EventFd>,
    /// The writer is woken each time that so many words were written.
    quarter: u64,
    woken_at: u64,
}

impl Tee {
    /// Copies what `spec` asks for into `sink`, a ring of `words` words, and wakes its writer by `wake`.
    pub fn new(sink: Sink, spec: &CaptureSpec, wake: Arc<EventFd>, words: usize) -> Tee {
        Tee {
            sink,
            only: spec.direction,
            snap: spec.snap_len as usize,
            stamp: 0,
            stamp_left: 0,
            dropped: Arc::default(),
            wake,
            quarter: words as u64 / 4,
            woken_at: 0,
        }
    }

    /// Frames that there was no room for.
    pub fn dropped(&self) -> Arc<Counter> {
        self.dropped.clone()
    }

    /// The lane's next turn begins: stamps of the last one are old.
    pub fn turn(&mut self) {
        self.stamp_left = 0;
    }

    /// A frame has been sent.
    pub fn sent(&mut self, frame: &TxFrame) {
        self.copy(Way::Out, frame.len(), &frame.meta, frame.head.bytes(), &frame.body, 0);
    }

    /// A frame is about to be delivered; all but its head is in `room`, behind `headroom` bytes
    /// and the head's place.
    pub fn received(&mut self, frame: &RxFrame, room: &Scatter, headroom: usize) {
        let head = frame.head.bytes();
        let behind = headroom.saturating_add(head.len());
        self.copy(Way::In, frame.len, &frame.meta, head, room, behind);
    }

    fn copy(
        &mut self,
        way: Way,
        len: usize,
        meta: &FrameMeta,
        head: &[u8],
        body: &Scatter,
        body_at: usize,
    ) {
        if self.only.is_some_and(|only| only != way) || self.sink.is_closed() {
            return;
        }
        let kept = len.min(self.snap);
        let head = head.get(..kept).unwrap_or(head);
        let beyond = kept.saturating_sub(head.len());
        if body.len().saturating_sub(body_at) < beyond {
            return;
        }
        if self.stamp_left == 0 {
            self.stamp_left = STAMP_FRAMES;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.stamp = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        }
        self.stamp_left = self.stamp_left.saturating_sub(1);
        // No frame is so long that these cut.
        let (len, kept) = (len as u32, kept as u32);
        let seen = Seen { stamp: self.stamp, len, kept, way, meta: *meta };
        // Straight from the guest's memory to where the writer takes it.
        let pushed = self.sink.push_with(&seen.encode(), kept as usize, |front, back| {
            let (front, back) = put(head, front, back);
            // Of most frames one of them has nothing, or neither.
            if !front.is_empty() {
                body.read_at(body_at, front);
            }
            if !back.is_empty() {
                body.read_at(body_at.saturating_add(front.len()), back);
            }
        });
        if !pushed {
            self.dropped.add(1);
        }
        let position = self.sink.position();
        if position.wrapping_sub(self.woken_at) >= self.quarter {
            self.woken_at = position;
            // Cannot fail but by overflow, and then it is readable already.
            let _ = self.wake.write(1);
        }
    }
}

/// Puts `bytes` into two slices of at least their length together; what is left of those.
fn put<'a>(bytes: &[u8], front: &'a mut [u8], back: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
    let (first, second) = bytes.split_at(bytes.len().min(front.len()));
    let (here, front) = front.split_at_mut(first.len());
    let (there, back) = back.split_at_mut(second.len());
    here.copy_from_slice(first);
    there.copy_from_slice(second);
    (front, back)
}
