//! The words of submission descriptors (specification 7.3 and 7.9), each read once and judged then.
//! Names of the driver's are those of Linux `drivers/net/ethernet/amazon/ena/ena_eth_io_defs.h`.

use device_core::memory::Span;
use serde::{Deserialize, Serialize};

/// Bytes of one descriptor.
pub const LEN: usize = 16;

/// The words of descriptor `index` of a ring; `None` unless it is in RAM.
#[inline]
pub fn read(ring: &Span, index: u16) -> Option<[u32; 4]> {
    let [low, high] = ring.load(u64::from(index).wrapping_mul(LEN as u64))?;
    Some([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32])
}

/// Bits of the first word, of meta descriptors first. What the meta descriptor says counts
/// (`ext_valid`).
pub const META_GIVEN: u32 = 1 << 14;
/// It counts for later packets without one too (`meta_store`).
pub const META_STORE: u32 = 1 << 21;
/// It is a meta descriptor (`meta_desc`).
pub const META: u32 = 1 << 23;
/// Of any descriptor: inverted with each lap of the ring.
pub const PHASE: u32 = 1 << 24;
/// The packet begins.
pub const FIRST: u32 = 1 << 26;
/// The packet ends.
pub const LAST: u32 = 1 << 27;
/// A completion is wanted (`comp_req`).
pub const COMPLETION: u32 = 1 << 28;

/// Bits of the second word of data descriptors. TCP is to be segmented (`tso_en`).
pub const SEGMENT: u32 = 1 << 7;
/// The IPv4 header is to be summed (`l3_csum_en`).
pub const CHECK_HEADER: u32 = 1 << 13;
/// TCP or UDP is to be summed (`l4_csum_en`).
pub const CHECK_TRANSPORT: u32 = 1 << 14;
/// The pseudo-header's sum is in the checksum's place (`l4_csum_partial`).
pub const PARTIAL: u32 = 1 << 17;

/// A transmit descriptor of either kind (`ena_eth_io_tx_desc`, `ena_eth_io_tx_meta_desc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxDescriptor(pub [u32; 4]);

impl TxDescriptor {
    /// Bytes of the buffer; 0 for none.
    pub fn len(self) -> u32 {
        self.0[0] & 0xffff
    }

    /// Guest-physical address of the buffer, 48 bits.
    pub fn address(self) -> u64 {
        u64::from(self.0[2]) | u64::from(self.0[3] & 0xffff) << 32
    }

    /// Whether it describes headers and not a buffer.
    pub fn is_meta(self) -> bool {
        self.0[0] & META != 0
    }

    /// The phase bit, as the driver set it.
    pub fn phase(self) -> bool {
        self.0[0] & PHASE != 0
    }

    /// Whether the packet begins here.
    pub fn is_first(self) -> bool {
        self.0[0] & FIRST != 0
    }

    /// Whether the packet ends here.
    pub fn is_last(self) -> bool {
        self.0[0] & LAST != 0
    }
}

/// What the first data descriptor of a packet says of all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Opaque; it comes back in the completion.
    pub id: u16,
    /// Whether a completion is wanted.
    pub completion: bool,
    /// Bytes pushed with the descriptors; a mere hint where they are in RAM.
    pub header_len: u8,
    word: u32,
}

/// Protocol codes (specification 7.3 and 7.10; `ena_eth_io_l3_proto_index`): IPv4.
pub const L3_IPV4: u32 = 8;
/// IPv6.
pub const L3_IPV6: u32 = 11;
/// TCP (`ena_eth_io_l4_proto_index`).
pub const L4_TCP: u32 = 12;
/// UDP.
pub const L4_UDP: u32 = 13;

impl Control {
    /// Reads the packet's first data descriptor.
    pub fn of(descriptor: TxDescriptor) -> Control {
        let [word0, word1, _, word3] = descriptor.0;
        Control {
            id: (word0 >> 16 << 10 | word1 >> 22) as u16, // the upper six bits fall off
            completion: word0 & COMPLETION != 0,
            header_len: (word3 >> 24) as u8,
            word: word1,
        }
    }

    /// Code of the network protocol, 4 bits.
    pub fn l3(self) -> u32 {
        self.word & 0xf
    }

    /// Code of the transport protocol, 5 bits.
    pub fn l4(self) -> u32 {
        self.word >> 8 & 0x1f
    }

    /// The packet is to be cut into segments.
    pub fn segmentation(self) -> bool {
        self.word & SEGMENT != 0
    }

    /// The IPv4 header's checksum is the device's work.
    pub fn l3_checksum(self) -> bool {
        self.word & CHECK_HEADER != 0
    }

    /// The transport checksum is the device's work.
    pub fn l4_checksum(self) -> bool {
        self.word & CHECK_TRANSPORT != 0
    }

    /// The checksum field holds the sum of the pseudo-header already.
    pub fn l4_partial(self) -> bool {
        self.word & PARTIAL != 0
    }

    /// Whether anything is left to the device.
    pub fn has_offload(self) -> bool {
        self.segmentation() || self.l3_checksum() || self.l4_checksum()
    }
}

/// What a meta descriptor says of the headers; all zero until the driver has said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Payload bytes per segment.
    pub mss: u16,
    /// Byte of the packet where the network header begins.
    pub l3_at: u8,
    /// Bytes of the network header.
    pub l3_len: u8,
    /// Transport header in 32-bit words.
    pub l4_words: u8,
}

/// What a meta descriptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaUse {
    /// It says nothing.
    Empty,
    /// For this packet, and for those after it without one if `store`.
    Given { meta: Meta, store: bool },
}

impl MetaUse {
    /// Reads a meta descriptor.
    pub fn of(descriptor: TxDescriptor) -> MetaUse {
        let [word0, _, word2, _] = descriptor.0;
        if word0 & META_GIVEN == 0 {
            return MetaUse::Empty;
        }
        let meta = Meta {
            mss: ((word0 >> 16 & 0xf) << 10 | word2 >> 22) as u16, // 14 bits
            l3_at: (word2 >> 8) as u8,
            l3_len: word2 as u8,
            l4_words: (word2 >> 16 & 0x3f) as u8,
        };
        MetaUse::Given { meta, store: word0 & META_STORE != 0 }
    }
}

/// A receive descriptor: one buffer (`ena_eth_io_rx_desc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxDescriptor(pub [u32; 4]);

impl RxDescriptor {
    /// Bytes of the buffer, 1 to 65536.
    pub fn len(self) -> u32 {
        match self.0[0] & 0xffff {
            0 => 0x1_0000,
            len => len,
        }
    }

    /// Opaque; it comes back in the completion.
    pub fn id(self) -> u16 {
        self.0[1] as u16 // the upper half is reserved
    }

    /// Guest-physical address of the buffer, 48 bits.
    pub fn address(self) -> u64 {
        u64::from(self.0[2]) | u64::from(self.0[3] & 0xffff) << 32
    }
}

#[cfg(test)]
#[path = "descriptor_test.rs"]
mod tests;
