//! For cards that have no word for a checksum still to be completed: completes it, or checks what
//! is there, and says what was found (ENA specification 7.11).

use crate::frame::{Csum, RxFrame};
use crate::scatter::Scatter;
use crate::wire::be16;
use crate::wire::checksum::{Sum, pseudo_header};
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::layers::{L3, L4, Layers};

/// Bytes that are copied out of guest buffers at once to be summed.
const CHUNK: usize = 2048;

/// What a received frame is, and what its checksums are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub layers: Layers,
    /// The IPv4 header's checksum is wrong.
    pub header_sum_wrong: bool,
    pub transport: TransportCheck,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportCheck {
    /// There is none, or it cannot be checked.
    #[default]
    NotDone,
    Right,
    Wrong,
}

/// The bytes of a received frame behind its private head, by their place in the frame.
pub struct Body<'a> {
    /// Guest buffers; the frame begins `headroom` bytes into them.
    pub room: &'a Scatter,
    pub headroom: usize,
    /// What is in the frame from `spilled_at` on.
    pub spill: &'a mut [u8],
    pub spilled_at: usize,
}

/// Completes the frame's checksum, or checks it; afterwards nothing is left to be done.
pub fn finish(frame: &mut RxFrame, mut body: Body<'_>) {
    let layers = Layers::of(frame.head.bytes());
    let mut completed = None;
    if let Csum::Needed { start, offset } = frame.meta.csum {
        complete(frame, &mut body, start.into(), offset.into());
        completed = Some(usize::from(start));
    }
    let header_sum_wrong = layers.l3 == Some(L3::Ipv4) && {
        let header = frame.head.bytes().get(layers.l3_at..).and_then(Ipv4::of);
        !header.is_some_and(|header| header.is_sum_right())
    };
    let transport = match layers.l4 {
        Some(l4) if !header_sum_wrong => {
            if completed == Some(layers.l4_at) {
                TransportCheck::Right
            } else {
                check(frame, &body, &layers, l4)
            }
        }
        _ => TransportCheck::NotDone,
    };
    frame.meta.csum = match transport {
        TransportCheck::Right => Csum::Valid,
        TransportCheck::NotDone | TransportCheck::Wrong => Csum::Unknown,
    };
    frame.findings = Findings { layers, header_sum_wrong, transport };
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
fn check(frame: &RxFrame, body: &Body<'_>, layers: &Layers, l4: L4) -> TransportCheck {
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
    let packet = head.get(layers.l3_at..).unwrap_or_default();
    let addresses = match layers.l3 {
        Some(L3::Ipv4) => Ipv4::of(packet).map(|ip| (ip.source(), ip.destination())),
        Some(L3::Ipv6) => Ipv6::of(packet).map(|ip| (ip.source(), ip.destination())),
        None => None,
    };
    let (Some((source, destination)), Ok(len)) = (addresses, u32::try_from(layers.l4_len)) else {
        return TransportCheck::NotDone;
    };
    let mut sum = pseudo_header(source, destination, l4.protocol(), len);
    let end = layers.l4_at.saturating_add(layers.l4_len);
    if !body.sum(frame, layers.l4_at, end, &mut sum) {
        return TransportCheck::NotDone; // cut off
    }
    if sum.is_right() { TransportCheck::Right } else { TransportCheck::Wrong }
}

impl Body<'_> {
    /// Adds the frame's bytes from `start` to `end`; false if it is shorter.
    fn sum(&self, frame: &RxFrame, start: usize, end: usize, sum: &mut Sum) -> bool {
        if start > end || end > frame.len {
            return false;
        }
        let head = frame.head.bytes();
        sum.add(head.get(start..end.min(head.len())).unwrap_or_default());
        let mut at = start.max(head.len());
        let in_room = end.min(self.spilled_at);
        let mut chunk = [0; CHUNK];
        while at < in_room {
            let len = in_room.saturating_sub(at).min(CHUNK);
            let Some(bytes) = chunk.get_mut(..len) else { return false };
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
