//! Blocks of pcapng files (draft-ietf-opsawg-pcapng), in this machine's byte order.

use super::record::Seen;
use crate::frame::{Csum, GsoKind};
use crate::stage::limiter::Way;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
pub const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;
const HASH: u16 = 3;
const QUEUE: u16 = 6;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;

/// Stamps count nanoseconds.
const NANOSECONDS: u8 = 9;
const TOEPLITZ: u8 = 5;
/// In a packet's flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
const CHECKSUM_NOT_READY: u32 = 1 << 9;
const CHECKSUM_VALID: u32 = 1 << 10;
const SEGMENTATION_LEFT: u32 = 1 << 11;

/// Bytes of [`statistics`].
pub const STATISTICS_LEN: u64 = 52;

/// The head of a file.
pub fn section(to: &mut Vec<u8>) {
    block(to, SECTION, |to| {
        to.extend(BYTE_ORDER.to_ne_bytes());
        to.extend(1u16.to_ne_bytes());
        to.extend(0u16.to_ne_bytes());
        to.extend(u64::MAX.to_ne_bytes()); // of unknown length
        option(to, APPLICATION, concat!("vmm ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(to, END_OF_OPTIONS, &[]);
    });
}

/// The one interface: the card.
pub fn interface(to: &mut Vec<u8>, name: &str, description: &str, snap_len: u32) {
    block(to, INTERFACE, |to| {
        to.extend(ETHERNET.to_ne_bytes());
        to.extend([0; 2]);
        to.extend(snap_len.to_ne_bytes());
        option(to, NAME, name.as_bytes());
        option(to, DESCRIPTION, description.as_bytes());
        option(to, RESOLUTION, &[NANOSECONDS]);
        option(to, END_OF_OPTIONS, &[]);
    });
}

/// A frame, its bytes packed in words; its direction is as the guest sees it.
pub fn packet(to: &mut Vec<u8>, queue: u16, seen: &Seen, words: &[u64]) {
    block(to, PACKET, |to| {
        to.extend(0u32.to_ne_bytes());
        to.extend(((seen.stamp >> 32) as u32).to_ne_bytes());
        to.extend((seen.stamp as u32).to_ne_bytes());
        to.extend(seen.kept.to_ne_bytes());
        to.extend(seen.len.to_ne_bytes());
        let end = to.len().saturating_add(seen.kept as usize);
        words.iter().for_each(|word| to.extend(word.to_ne_bytes()));
        to.truncate(end);
        pad(to);
        option(to, FLAGS, &flags(seen).to_ne_bytes());
        option(to, QUEUE, &u32::from(queue).to_ne_bytes());
        if let Some(hash) = seen.meta.hash {
            let [a, b, c, d] = hash.value.to_be_bytes();
            option(to, HASH, &[TOEPLITZ, a, b, c, d]);
        }
        if let Some(comment) = comment(seen) {
            option(to, COMMENT, comment.as_bytes());
        }
        option(to, END_OF_OPTIONS, &[]);
    });
}

/// The end of a file: frames that went by while it was written, and those missing in it.
pub fn statistics(to: &mut Vec<u8>, stamp: u64, received: u64, dropped: u64) {
    block(to, STATISTICS, |to| {
        to.extend(0u32.to_ne_bytes());
        to.extend(((stamp >> 32) as u32).to_ne_bytes());
        to.extend((stamp as u32).to_ne_bytes());
        option(to, RECEIVED, &received.to_ne_bytes());
        option(to, DROPPED, &dropped.to_ne_bytes());
        option(to, END_OF_OPTIONS, &[]);
    });
}

fn flags(seen: &Seen) -> u32 {
    let way = match seen.way {
        Way::In => INBOUND,
        Way::Out => OUTBOUND,
    };
    let csum = match seen.meta.csum {
        Csum::Unknown => 0,
        Csum::Valid => CHECKSUM_VALID,
        Csum::Needed { .. } => CHECKSUM_NOT_READY,
    };
    way | csum | seen.meta.gso.map_or(0, |_| SEGMENTATION_LEFT)
}

/// What was hashed, and what is still to be done; for people.
fn comment(seen: &Seen) -> Option<String> {
    let mut facts = Vec::new();
    if let Some(hash) = seen.meta.hash {
        facts.push(format!("hash {:#010x} of {}", hash.value, hash.protocol.name()));
    }
    if let Csum::Needed { start, offset } = seen.meta.csum {
        facts.push(format!("checksum from byte {start} on still to be stored {offset} bytes on"));
    }
    if let Some(gso) = seen.meta.gso {
        let kind = match gso.kind {
            GsoKind::Tcp4 => "TCP over IPv4",
            GsoKind::Tcp6 => "TCP over IPv6",
            GsoKind::Udp => "UDP",
        };
        facts.push(format!("{kind} still to be cut into segments of {} bytes", gso.segment));
    }
    (!facts.is_empty()).then(|| facts.join("; "))
}

/// A block with its lengths.
fn block(to: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = to.len();
    to.extend(kind.to_ne_bytes());
    to.extend([0; 4]);
    body(to);
    pad(to);
    let len = to.len().saturating_sub(begin).saturating_add(4) as u32; // some 64 KiB at most
    to.extend(len.to_ne_bytes());
    let place = to.get_mut(begin..).and_then(|block| block.get_mut(4..8));
    if let Some(place) = place {
        place.copy_from_slice(&len.to_ne_bytes());
    }
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    to.extend(code.to_ne_bytes());
    to.extend(len.to_ne_bytes());
    to.extend(value.iter().take(len.into()));
    pad(to);
}

/// Blocks, and all in them, begin at multiples of 4 bytes.
fn pad(to: &mut Vec<u8>) {
    to.resize(to.len().next_multiple_of(4), 0);
}
