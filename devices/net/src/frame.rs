//! Frames on their way: what is known about them, a private copy of their head, their body in
//! guest RAM.

use bitflags::bitflags;
use device_core::GuestRam;

use crate::rss::Protocol;
use crate::stage::finish::Findings;
use crate::wire::layers::L4;
use device_core::scatter::Scatter;

/// Bytes of a frame that are copied to private memory, so that they cannot change between check
/// and use: Ethernet with tags, IPv6 with options, TCP with options.
pub const HEAD: usize = 128;
/// Most bytes of a private head: what a driver may push beside its descriptors.
pub const MAX_HEAD: usize = 256;
/// Bytes of the smallest frame: an Ethernet header.
pub const MIN_FRAME: usize = 14;
/// Bytes of the largest frame: 64 KiB of IP packet or TCP payload, and every header before it.
pub const MAX_FRAME: usize = 65_536 + 256;

bitflags! {
    /// Work on frames that one side leaves to the other.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Offloads: u32 {
        /// Checksums still to be completed.
        const CSUM = 1 << 0;
        /// TCP over IPv4 still to be cut into segments.
        const TSO4 = 1 << 1;
        /// TCP over IPv6 still to be cut into segments.
        const TSO6 = 1 << 2;
        /// Segmentation of TCP with congestion marks.
        const ECN = 1 << 3;
        /// UDP over IPv4 still to be cut into datagrams.
        const USO4 = 1 << 4;
        /// UDP over IPv6 still to be cut into datagrams.
        const USO6 = 1 << 5;
    }
}

/// What is known of a transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Csum {
    /// Nothing; it is in the frame, right or wrong.
    #[default]
    Unknown,
    /// It has been checked and is right.
    Valid,
    /// It is still to be summed from `start` to the end of the frame and stored `offset` bytes
    /// behind `start`.
    Needed {
        /// Byte of the frame.
        start: u16,
        /// Bytes behind `start`.
        offset: u16,
    },
}

impl Csum {
    /// That of a transport header at `l4_at` is still to be summed; `None` so far from the begin that
    /// it cannot be said.
    pub fn needed(l4_at: usize, l4: L4) -> Option<Csum> {
        let (start, offset) = (u16::try_from(l4_at).ok()?, u16::try_from(l4.checksum_at()).ok()?);
        Some(Csum::Needed { start, offset })
    }
}

/// What is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4 or IPv6.
    Udp,
}

/// A frame that stands for many, still to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What it is made of.
    pub kind: GsoKind,
    /// Whether congestion marks are to be cut with care.
    pub ecn: bool,
    /// Payload bytes of each segment.
    pub segment: u16,
    /// Bytes of headers before the payload: a hint, possibly 0.
    pub headers: u16,
}

/// Receive hash of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash {
    /// The Toeplitz hash.
    pub value: u32,
    /// What was hashed: of TCP and UDP without their ports, the IP packet.
    pub protocol: Protocol,
}

/// All that is known of a frame besides its bytes: what a vnet header or a card's descriptor can
/// say, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// What is known of its transport checksum.
    pub csum: Csum,
    /// How it is to be cut, if it is.
    pub gso: Option<Gso>,
    /// Its receive hash, if one was found.
    pub hash: Option<FlowHash>,
}

impl FrameMeta {
    /// What the receiver must be able to do to take this frame. For UDP either version does.
    pub fn needs(&self) -> Offloads {
        let csum = match self.csum {
            Csum::Needed { .. } => Offloads::CSUM,
            Csum::Unknown | Csum::Valid => Offloads::empty(),
        };
        let Some(gso) = self.gso else { return csum };
        let ecn = if gso.ecn { Offloads::ECN } else { Offloads::empty() };
        csum | ecn
            | match gso.kind {
                GsoKind::Tcp4 => Offloads::TSO4,
                GsoKind::Tcp6 => Offloads::TSO6,
                GsoKind::Udp => Offloads::USO4 | Offloads::USO6,
            }
    }
}

/// The first bytes of a frame, private.
#[derive(Clone)]
pub struct HeaderCopy {
    bytes: [u8; MAX_HEAD],
    len: usize,
}

impl Default for HeaderCopy {
    fn default() -> HeaderCopy {
        HeaderCopy { bytes: [0; MAX_HEAD], len: 0 }
    }
}

impl HeaderCopy {
    /// The valid bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The valid bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// [`HEAD`] bytes for a backend to fill before it says [`HeaderCopy::set_len`].
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..HEAD).unwrap_or_default()
    }

    /// How many bytes are valid, at most [`MAX_HEAD`].
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(MAX_HEAD);
    }

    /// Takes a copy of the first bytes of a frame, at most [`MAX_HEAD`].
    pub fn set(&mut self, bytes: &[u8]) {
        self.set_len(bytes.len());
        self.bytes_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

/// A frame on its way from a guest: the head, then the body.
pub struct TxFrame {
    /// What is known of it.
    pub meta: FrameMeta,
    /// Its first bytes.
    pub head: HeaderCopy,
    /// What follows, in the guest's memory.
    pub body: Scatter,
}

impl TxFrame {
    /// An empty frame, for buffers in `memory`.
    pub fn new(memory: GuestRam) -> TxFrame {
        TxFrame {
            meta: FrameMeta::default(),
            head: HeaderCopy::default(),
            body: Scatter::new(memory),
        }
    }

    /// Makes the frame empty, for the next one.
    pub fn clear(&mut self) {
        self.meta = FrameMeta::default();
        self.head.set_len(0);
        self.body.clear();
    }

    /// Moves the first bytes of the body to the private head, up to [`HEAD`] of them with what is
    /// there. A ring does so once the whole frame is in the body.
    pub fn pull_head(&mut self) {
        let have = self.head.len;
        let len = have.saturating_add(HEAD.saturating_sub(have).min(self.body.len()));
        let room = self.head.bytes.get_mut(have..len).unwrap_or_default();
        if self.body.pull(room) {
            self.head.set_len(len);
        }
    }

    /// Bytes of head and body.
    pub fn len(&self) -> usize {
        self.head.len.saturating_add(self.body.len())
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A frame on its way to a guest: the head here, the rest where the backend put it.
#[derive(Clone, Default)]
pub struct RxFrame {
    /// What is known of it.
    pub meta: FrameMeta,
    /// Its first bytes.
    pub head: HeaderCopy,
    /// Bytes of the whole frame, head included.
    pub len: usize,
    /// For cards that want to know ([`crate::ring::RxRing::FINISHED`]).
    pub findings: Findings,
}
