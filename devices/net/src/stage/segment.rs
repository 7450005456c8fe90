//! TCP frames, and UDP frames, that stand for many, cut into those that a wire would carry, for cards that have no
//! word for them.
//!
//! One read brings what would be dozens, and sums are made while the bytes are warm. What a cut
//! changes in the headers is what Linux does (net/ipv4/tcp_offload.c, net/ipv4/udp_offload.c, net/ipv4/af_inet.c).

use std::ops::Range;

use crate::frame::{Csum, FrameMeta, Gso, GsoKind, MAX_HEAD, Offloads, RxFrame};
use crate::stage::finish::TransportCheck;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6;
use crate::wire::layers::{L3, L4, Layers};
use crate::wire::{put_be16, tcp, udp};

/// What a backend may leave to be cut.
pub const CUT: Offloads =
    Offloads::CSUM.union(Offloads::TSO4).union(Offloads::TSO6).union(Offloads::ECN);

/// Bytes of the smallest segments that are cut: smaller ones multiply a frame beyond all use.
pub const MIN_SEGMENT: u16 = 8;

/// Why a frame cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSegments {
    /// It is neither TCP nor UDP as it says, or its headers are longer than a private head.
    #[error("segmentation is asked for something else than it is, or headers too long")]
    Headers,
    /// Its transport checksum is not left to be completed.
    #[error("segmentation without an open checksum")]
    Checksum,
    /// Segments would be below [`MIN_SEGMENT`], or there is no payload.
    #[error("segmentation into pieces too small, or of nothing")]
    Payload,
}

/// A frame that is being cut.
#[derive(Clone, Debug)]
pub struct Segments {
    layers: Layers,
    l4: L4,
    /// Bytes of all headers, which each segment has.
    headers: usize,
    /// Payload bytes of each segment but the last.
    payload: usize,
    /// Where the payload of the next one begins in the whole.
    next: usize,
    /// Bytes of the whole.
    len: usize,
    /// IPv4 identification and TCP sequence number, if it has one, of the next one.
    identification: u16,
    sequence: u32,
}

impl Segments {
    /// The segments of `frame`, all of whose bytes are in `whole`. Fails if it is no packet that can be
    /// cut, and is to be dropped.
    pub fn of(frame: &RxFrame, whole: &[u8]) -> Result<Segments, BadSegments> {
        let whole = whole.get(..frame.len).ok_or(BadSegments::Headers)?;
        // More than the head that has been looked at: extension headers and options can be long.
        let front = whole.get(..MAX_HEAD).unwrap_or(whole);
        let layers = Layers::of(front);
        let Some(Gso { kind, segment, .. }) = frame.meta.gso else {
            return Err(BadSegments::Headers);
        };
        let l4 = match (layers.l3, layers.l4, kind) {
            (Some(L3::Ipv4), Some(l4 @ L4::Tcp), GsoKind::Tcp4)
            | (Some(L3::Ipv6), Some(l4 @ L4::Tcp), GsoKind::Tcp6)
            | (Some(_), Some(l4 @ L4::Udp), GsoKind::Udp) => l4,
            _ => return Err(BadSegments::Headers),
        };
        let transport = front.get(layers.l4_at..).unwrap_or_default();
        let l4_header = match l4 {
            L4::Tcp => tcp::header_len(transport),
            L4::Udp => udp::HEADER,
        };
        if !(l4.header_len()..=transport.len()).contains(&l4_header) {
            return Err(BadSegments::Headers);
        }
        let headers = layers.l4_at.saturating_add(l4_header);
        if Csum::needed(layers.l4_at, l4) != Some(frame.meta.csum) {
            return Err(BadSegments::Checksum);
        }
        if segment < MIN_SEGMENT || headers >= frame.len {
            return Err(BadSegments::Payload);
        }
        let network = front.get(layers.l3_at..).unwrap_or_default();
        Ok(Segments {
            layers,
            l4,
            headers,
            payload: segment.into(),
            next: headers,
            len: frame.len,
            identification: Ipv4::of(network).map_or(0, |ip| ip.identification()),
            sequence: match l4 {
                L4::Tcp => tcp::sequence(transport).unwrap_or_default(),
                L4::Udp => 0,
            },
        })
    }

    /// Bytes of the longest one.
    pub fn longest(&self) -> usize {
        self.headers.saturating_add(self.payload).min(self.len)
    }

    /// Makes the next one: all but its payload goes into `frame`, whose hash is left as it is. Says
    /// where in `whole` the payload is, which comes behind the head; `None` after the last one.
    pub fn next(&mut self, whole: &[u8], frame: &mut RxFrame) -> Option<Range<usize>> {
        let (first, begin) = (self.next == self.headers, self.next);
        let end = begin.saturating_add(self.payload).min(self.len);
        let payload = whole.get(begin..end).filter(|payload| !payload.is_empty())?;
        frame.head.set(whole.get(..self.headers)?);
        frame.len = self.headers.saturating_add(payload.len());
        self.renumber(frame.head.bytes_mut(), frame.len, first, end == self.len);
        let l4_len = frame.len.saturating_sub(self.layers.l4_at);
        self.sum(frame.head.bytes_mut(), l4_len, payload);
        frame.meta = FrameMeta { csum: Csum::Valid, gso: None, hash: frame.meta.hash };
        frame.findings.layers = Layers { l4_len, ..self.layers };
        frame.findings.header_sum_wrong = false;
        frame.findings.transport = TransportCheck::Right;
        self.next = end;
        self.identification = self.identification.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(self.payload as u32); // of 16 bits
        Some(begin..end)
    }

    /// Sets what differs from one to the next.
    fn renumber(&self, head: &mut [u8], len: usize, first: bool, last: bool) {
        let beyond_l3 = len.saturating_sub(self.layers.l3_at);
        if let Some(network) = head.get_mut(self.layers.l3_at..self.layers.l4_at) {
            // Segments are no longer than the packet that they are of, whose length is 16 bits.
            match self.layers.l3 {
                Some(L3::Ipv6) => {
                    let len = beyond_l3.saturating_sub(ipv6::HEADER);
                    ipv6::set_payload_len(network, u16::try_from(len).unwrap_or(u16::MAX));
                }
                _ => {
                    ipv4::set_total_len(network, u16::try_from(beyond_l3).unwrap_or(u16::MAX));
                    ipv4::set_identification(network, self.identification);
                    ipv4::set_sum(network);
                }
            }
        }
        let beyond_l4 = len.saturating_sub(self.layers.l4_at);
        if let Some(transport) = head.get_mut(self.layers.l4_at..) {
            match self.l4 {
                L4::Tcp => {
                    tcp::set_sequence(transport, self.sequence);
                    tcp::keep_flags(transport, first, last);
                }
                L4::Udp => {
                    udp::set_len(transport, u16::try_from(beyond_l4).unwrap_or(u16::MAX));
                }
            }
        }
    }

    fn sum(&self, head: &mut [u8], l4_len: usize, payload: &[u8]) {
        let sum = self.layers.pseudo_header(head, self.l4, l4_len);
        let (Some(mut sum), Some(transport)) = (sum, head.get_mut(self.layers.l4_at..)) else {
            return;
        };
        put_be16(transport, self.l4.checksum_at(), 0);
        sum.add(transport);
        sum.add(payload);
        put_be16(transport, self.l4.checksum_at(), sum.checksum());
    }
}

#[cfg(test)]
#[path = "segment_test.rs"]
mod tests;
