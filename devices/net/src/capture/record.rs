//! What a lane says of a frame beside its bytes, in words.

use crate::frame::{Csum, FlowHash, FrameMeta, Gso, GsoKind};
use crate::rss::Protocol;
use crate::stage::limiter::Way;

/// Words before the bytes.
pub const WORDS: usize = 5;

/// A frame as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Nanoseconds since 1970.
    pub stamp: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// Bytes of it that were kept.
    pub kept: u32,
    /// Which way it went.
    pub way: Way,
    /// What is known of it besides its bytes.
    pub meta: FrameMeta,
}

const OUT: u64 = 1 << 0;
const HASHED: u64 = 1 << 1;
const VALID: u64 = 1 << 2;
const NEEDED: u64 = 1 << 3;
const ECN: u64 = 1 << 4;
const PROTOCOL: u32 = 8;
const KIND: u32 = 16;

impl Seen {
    /// In words, to be followed by the bytes kept.
    #[inline]
    pub fn encode(&self) -> [u64; WORDS] {
        let FrameMeta { csum, gso, hash } = self.meta;
        let mut flags = if self.way == Way::Out { OUT } else { 0 };
        let mut value = 0;
        if let Some(hash) = hash {
            flags |= HASHED | (hash.protocol as u64) << PROTOCOL;
            value = hash.value;
        }
        let (start, offset) = match csum {
            Csum::Unknown => (0, 0),
            Csum::Valid => {
                flags |= VALID;
                (0, 0)
            }
            Csum::Needed { start, offset } => {
                flags |= NEEDED;
                (start, offset)
            }
        };
        let mut last = 0;
        if let Some(gso) = gso {
            let kind: u64 = match gso.kind {
                GsoKind::Tcp4 => 1,
                GsoKind::Tcp6 => 2,
                GsoKind::Udp => 3,
            };
            flags |= kind << KIND | if gso.ecn { ECN } else { 0 };
            last = u64::from(gso.segment) | u64::from(gso.headers) << 16;
        }
        let lens = u64::from(self.len) | u64::from(self.kept) << 32;
        let sums = u64::from(value) | u64::from(start) << 32 | u64::from(offset) << 48;
        [self.stamp, lens, flags, sums, last]
    }

    /// Our own words again, and the packed bytes behind them.
    pub fn decode(record: &[u64]) -> Option<(Seen, &[u64])> {
        let (head, bytes) = record.split_first_chunk::<WORDS>()?;
        let [stamp, lens, flags, sums, last] = *head;
        let protocol = (flags >> PROTOCOL & 0xff) as usize;
        let hash = match flags & HASHED {
            0 => None,
            _ => Some(FlowHash { value: sums as u32, protocol: *Protocol::ALL.get(protocol)? }),
        };
        let csum = match (flags & VALID, flags & NEEDED) {
            (0, 0) => Csum::Unknown,
            (_, 0) => Csum::Valid,
            _ => Csum::Needed { start: (sums >> 32) as u16, offset: (sums >> 48) as u16 },
        };
        let kind = match flags >> KIND & 3 {
            0 => None,
            1 => Some(GsoKind::Tcp4),
            2 => Some(GsoKind::Tcp6),
            _ => Some(GsoKind::Udp),
        };
        let gso = kind.map(|kind| Gso {
            kind,
            ecn: flags & ECN != 0,
            segment: last as u16,
            headers: (last >> 16) as u16,
        });
        let way = if flags & OUT != 0 { Way::Out } else { Way::In };
        let meta = FrameMeta { csum, gso, hash };
        let (len, kept) = (lens as u32, (lens >> 32) as u32);
        Some((Seen { stamp, len, kept, way, meta }, bytes))
    }
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
