//! For cards that have no word for a checksum still to be completed: completes it, or checks what
//! is there, and says what was found (ENA specification 7.11).

use crate::frame::{Csum, RxFrame};
use crate::wire::checksum::Sum;
use crate::wire::layers::{L3, L4, Layers};
use crate::wire::{be16, ipv4};
use device_core::scatter::Scatter;

/// Bytes that are copied out of guest buffers at once to be summed.
pub const CHUNK: usize = 2048;

/// What a received frame is, and what its checksums are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Where its headers are.
    pub layers: Layers,
    /// The IPv4 header's checksum is wrong.
    pub header_sum_wrong: bool,
    /// What its transport checksum is worth.
    pub transport: TransportCheck,
}

/// What was found of a transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportCheck {
    /// There is none, or it cannot be checked.
    #[default]
    NotDone,
    /// It is right, or is now.
    Right,
    /// It is wrong.
    Wrong,
}

/// The bytes of a received frame behind its private head, by their place in the frame.
pub struct Body<'a> {
    /// Guest buffers; the frame begins `headroom` bytes into them.
    pub room: &'a Scatter,
    /// Bytes before the frame in `room`.
    pub headroom: usize,
    /// What is in the frame from `spilled_at` on.
    pub spill: &'a mut [u8],
    /// Byte of the frame that `spill` begins with.
    pub spilled_at: usize,
    /// Of no matter before and after; room for what is being summed.
    pub chunk: &'a mut [u8; CHUNK],
}

/// Completes the frame's checksum, or checks it; afterwards nothing is left to be done. Where its
/// headers are is known already.
pub fn finish(frame: &mut RxFrame, mut body: Body<'_>) {
    let layers = frame.findings.layers;
    let mut completed = None;
    if let Csum::Needed { start, offset } = frame.meta.csum {
        complete(frame, &mut body, start.into(), offset.into());
        completed = Some(usize::from(start));
    }
    let header_sum_wrong = layers.l3 == Some(L3::Ipv4) && {
        let header = frame.head.bytes().get(layers.l3_at..layers.l4_at);
        !header.is_some_and(ipv4::is_sum_right)
    };
    let transport = match layers.l4 {
        Some(l4) if !header_sum_wrong => {
            if completed == Some(layers.l4_at) {
                TransportCheck::Right
            } else {
                check(frame, &mut body, &layers, l4)
            }
        }
        _ => TransportCheck::NotDone,
    };
    frame.meta.csum = match transport {
        TransportCheck::Right => Csum::Valid,
        TransportCheck::NotDone | TransportCheck::Wrong => Csum::Unknown,
    };
    frame.findings.header_sum_wrong = header_sum_wrong;
    frame.findings.transport = transport;
}

/// Sums up the frame from `start` and stores the result.
fn complete(frame: &mut RxFrame, body: &mut Body<'_>, start: usize, offset: usize) {
    let mut sum = Sum::default();
    if !body.sum(frame, start, frame.len, &mut sum) {
        return;
    }
    let field = sum.checksum().to_be_bytes();
    for (at, byte) in (start.saturating_add(offset)..).zip(field) {
        match frame.head.bytes_mut().get_mut(at) {
            Some(place) => *place = byte,
            None => body.put(at, byte),
        }
    }
}

/// Whether the transport checksum is right; what the backend vouches for is not summed again.
fn check(frame: &RxFrame, body: &mut Body<'_>, layers: &Layers, l4: L4) -> TransportCheck {
    let head = frame.head.bytes();
    if l4 == L4::Udp {
        let field = be16(head, layers.l4_at.saturating_add(l4.checksum_at()));
        match (field, layers.l3) {
            (Some(0), Some(L3::Ipv6)) => return TransportCheck::Wrong,
            (Some(0), _) => return TransportCheck::NotDone,
            _ => {}
        }
    }
    if frame.meta.csum == Csum::Valid {
        return TransportCheck::Right;
    }
    let Some(mut sum) = layers.pseudo_header(head, l4, layers.l4_len) else {
        return TransportCheck::NotDone;
    };
    let end = layers.l4_at.saturating_add(layers.l4_len);
    if !body.sum(frame, layers.l4_at, end, &mut sum) {
        return TransportCheck::NotDone; // cut off
    }
    if sum.is_right() { TransportCheck::Right } else { TransportCheck::Wrong }
}

impl Body<'_> {
    /// Adds the frame's bytes from `start` to `end`; false if it is shorter.
    fn sum(&mut self, frame: &RxFrame, start: usize, end: usize, sum: &mut Sum) -> bool {
        if start > end || end > frame.len {
            return false;
        }
        let head = frame.head.bytes();
        sum.add(head.get(start..end.min(head.len())).unwrap_or_default());
        let mut at = start.max(head.len());
        let in_room = end.min(self.spilled_at);
        while at < in_room {
            let len = in_room.saturating_sub(at).min(CHUNK);
            let Some(bytes) = self.chunk.get_mut(..len) else { return false };
            if !self.room.read_at(self.headroom.saturating_add(at), bytes) {
                return false;
            }
            sum.add(bytes);
            at = at.saturating_add(len);
        }
        if at >= end {
            return true;
        }
        let spilled = at.saturating_sub(self.spilled_at)..end.saturating_sub(self.spilled_at);
        let Some(bytes) = self.spill.get(spilled) else { return false };
        sum.add(bytes);
        true
    }

    fn put(&mut self, at: usize, byte: u8) {
        if at < self.spilled_at {
            self.room.write_at(self.headroom.saturating_add(at), &[byte]);
        } else if let Some(place) = self.spill.get_mut(at.saturating_sub(self.spilled_at)) {
            *place = byte;
        }
    }
}

#[cfg(test)]
#[path = "finish_test.rs"]
mod tests;
