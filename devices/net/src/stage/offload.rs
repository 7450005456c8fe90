//! What a driver left to the device, made into what a backend can be told: checksum fields seeded,
//! lengths set, segmentation as metadata (ENA specification 7.7 and 7.8).
//!
//! All is done on the frame's private head; payload is summed and cut by whoever takes the frame.

use crate::frame::{Csum, Gso, GsoKind, TxFrame};
use crate::stage::segment::MIN_SEGMENT;
use crate::wire::checksum::{Sum, pseudo_header};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::put_be16;
use crate::wire::tcp;

pub use crate::wire::layers::{L3, L4};

/// What a driver says of one frame. Nothing of it is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What it calls the network header; `None` if it does not know.
    pub l3: Option<L3>,
    /// What it calls the transport header; `None` if it does not know.
    pub l4: Option<L4>,
    /// Where the network header begins, in bytes from the begin of the frame.
    pub l3_at: usize,
    /// Bytes of the network header, with options or extension headers.
    pub l3_len: usize,
    /// The IPv4 header is to be summed.
    pub header_sum: bool,
    /// What is to be done for the transport checksum.
    pub transport_sum: TransportSum,
    /// How the packet is to be cut, if it is.
    pub segment: Option<Segment>,
}

/// What is to be done for the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportSum {
    /// It is as it shall be.
    Nothing,
    /// The field holds the pseudo-header's sum; the rest is to be added.
    Seeded,
    /// The field holds anything.
    Whole,
}

/// A TCP packet to be cut.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Payload bytes of each segment.
    pub payload: u16,
    /// Bytes of the TCP header.
    pub l4_len: usize,
    /// Bytes that a segment's packet may not exceed.
    pub max_mtu: u16,
}

/// Why a frame cannot be sent as its driver asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOffload {
    /// The frame has no possible length, or is not all in RAM.
    #[error("a frame too short, too long or not in memory")]
    Length,
    /// A header is not where the driver says, or not in the private head.
    #[error("headers that are not where the driver says")]
    Headers,
    /// No segments can be made of it.
    #[error("segments that are too small, too large or not TCP")]
    Segment,
    /// The driver did not negotiate it, or the backend cannot do it.
    #[error("an offload that was not offered")]
    NotOffered,
}

/// Prepares a frame whose head has been pulled. Fails if what the driver says cannot be, and the frame
/// is to be dropped.
pub fn apply(request: &Request, frame: &mut TxFrame) -> Result<(), BadOffload> {
    let len = frame.len();
    let l4_at = request.l3_at.saturating_add(request.l3_len);
    let head = frame.head.bytes_mut();
    if let Some(segment) = &request.segment {
        let headers = segmented(request, segment, head, len)?;
        frame.meta.csum = Csum::needed(l4_at, L4::Tcp).ok_or(BadOffload::Headers)?;
        let payload = len.checked_sub(headers).ok_or(BadOffload::Headers)?;
        // What fits into one segment is not cut: hosts refuse to.
        if payload > usize::from(segment.payload) {
            let ecn = tcp::has_cwr(frame.head.bytes().get(l4_at..).unwrap_or_default());
            let kind = match request.l3 {
                Some(L3::Ipv6) => GsoKind::Tcp6,
                _ => GsoKind::Tcp4,
            };
            let headers = u16::try_from(headers).map_err(|_| BadOffload::Headers)?;
            frame.meta.gso = Some(Gso { kind, ecn, segment: segment.payload, headers });
        }
        return Ok(());
    }
    if request.header_sum && request.l3 == Some(L3::Ipv4) {
        let header = network_header(request, head)?;
        ipv4::set_sum(header);
    }
    if request.transport_sum == TransportSum::Nothing {
        return Ok(());
    }
    let l4 = transport(request, head).ok_or(BadOffload::Headers)?;
    if l4_at.saturating_add(l4.header_len()) > len {
        return Err(BadOffload::Headers);
    }
    if request.transport_sum == TransportSum::Whole {
        seed(request, head, l4)?;
    }
    frame.meta.csum = Csum::needed(l4_at, l4).ok_or(BadOffload::Headers)?;
    Ok(())
}

/// Sets the lengths and sums that each segment derives its own from; returns the bytes of all
/// headers.
fn segmented(
    request: &Request,
    segment: &Segment,
    head: &mut [u8],
    len: usize,
) -> Result<usize, BadOffload> {
    let l4_at = request.l3_at.saturating_add(request.l3_len);
    let headers = l4_at.saturating_add(segment.l4_len);
    let longest = request.l3_at.saturating_add(segment.max_mtu.into());
    let fits = headers.saturating_add(segment.payload.into()) <= longest;
    if request.l4 != Some(L4::Tcp)
        || segment.payload < MIN_SEGMENT
        || segment.l4_len < tcp::HEADER
        || !fits
    {
        return Err(BadOffload::Segment);
    }
    if headers > len {
        return Err(BadOffload::Headers);
    }
    let beyond_l3 = len.saturating_sub(request.l3_at);
    match request.l3 {
        Some(L3::Ipv4) => {
            let total = u16::try_from(beyond_l3).map_err(|_| BadOffload::Length)?;
            let header = network_header(request, head)?;
            ipv4::set_total_len(header, total);
            ipv4::set_sum(header);
        }
        Some(L3::Ipv6) => {
            let payload = beyond_l3.checked_sub(ipv6::HEADER).ok_or(BadOffload::Headers)?;
            let payload = u16::try_from(payload).map_err(|_| BadOffload::Length)?;
            let header = network_header(request, head)?;
            ipv6::set_payload_len(header, payload);
        }
        None => return Err(BadOffload::Segment),
    }
    if transport(request, head) != Some(L4::Tcp) {
        return Err(BadOffload::Segment);
    }
    seed(request, head, L4::Tcp)?;
    Ok(headers)
}

/// The network header as the driver says it lies, if it is long enough and all in the head.
fn network_header<'a>(request: &Request, head: &'a mut [u8]) -> Result<&'a mut [u8], BadOffload> {
    let end = request.l3_at.saturating_add(request.l3_len);
    let header = head.get_mut(request.l3_at..end).ok_or(BadOffload::Headers)?;
    let right = match request.l3 {
        Some(L3::Ipv4) => Ipv4::of(header).is_some_and(|ip| ip.header_len() == header.len()),
        Some(L3::Ipv6) => Ipv6::of(header).is_some(),
        None => false,
    };
    if right { Ok(header) } else { Err(BadOffload::Headers) }
}

/// Which transport it is. Behind IPv6 extension headers Linux takes TCP for UDP, so what the
/// headers say goes before what the driver says.
fn transport(request: &Request, head: &[u8]) -> Option<L4> {
    let end = request.l3_at.saturating_add(request.l3_len);
    let walked = match request.l3 {
        Some(L3::Ipv6) => head.get(request.l3_at..end).and_then(|header| {
            let end = Ipv6::of(header)?.end(header)?;
            L4::of_protocol(end.protocol).filter(|_| end.at == header.len())
        }),
        _ => None,
    };
    walked.or(request.l4)
}

/// Writes the pseudo-header's sum into the checksum field. The length is the packet's, not the
/// frame's, which may be padded.
fn seed(request: &Request, head: &mut [u8], l4: L4) -> Result<(), BadOffload> {
    let header = &*network_header(request, head)?;
    let sum: Option<Sum> = match request.l3 {
        Some(L3::Ipv4) => Ipv4::of(header).and_then(|ip| {
            let len = usize::from(ip.total_len()).checked_sub(request.l3_len)?;
            let len = u32::try_from(len).ok()?;
            Some(pseudo_header(ip.addresses(), l4.protocol(), len))
        }),
        Some(L3::Ipv6) => Ipv6::of(header).and_then(|ip| {
            let extensions = request.l3_len.checked_sub(ipv6::HEADER)?;
            let len = usize::from(ip.payload_len()).checked_sub(extensions)?;
            let len = u32::try_from(len).ok()?;
            Some(pseudo_header(ip.addresses(), l4.protocol(), len))
        }),
        None => None,
    };
    let sum = sum.ok_or(BadOffload::Headers)?;
    let at = request.l3_at.saturating_add(request.l3_len).saturating_add(l4.checksum_at());
    if put_be16(head, at, sum.value()) { Ok(()) } else { Err(BadOffload::Headers) }
}

#[cfg(test)]
#[path = "offload_test.rs"]
mod tests;
