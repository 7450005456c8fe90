//! Receive-side scaling: which lane a received frame belongs to, by a hash of its addresses and
//! ports.
//!
//! ```text
//! head ─ classify ─► protocol, fields ─ toeplitz ─► hash ─ table ─► lane
//! ```
//! A front says what its guest set as an [`Rss`]; [`Hasher`] is the software reference, and what
//! steers in the kernel or between threads agrees with it.

pub mod classify;
pub mod explain;
pub mod hits;
pub mod sorter;
pub mod steer;
pub mod table;
pub mod toeplitz;

pub use classify::{Fields, Protocol, Selection};
pub use explain::{Explained, FlowKey};
pub use table::{Table, TableError};
pub use toeplitz::{Key, Toeplitz};

use serde::Serialize;

use crate::frame::FlowHash;
use crate::wire::layers::Layers;
use classify::{Flow, classify, classify_found};

/// All that a guest sets of its receive-side scaling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// In Toeplitz order: an ENA front reverses the bytes its driver wrote ([`Key::reversed`]).
    pub key: Key,
    /// What the hash of no input would be: ENA drivers set it, virtio has 0.
    pub initial: u32,
    /// The fields hashed, by protocol.
    pub fields: Selection,
    /// The lane for each hash.
    pub table: Table,
}

/// How well the host follows a guest's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Steering {
    /// The kernel puts each frame into the queue of its lane.
    Exact,
    /// One thread reads all frames and hands each to its lane.
    Sorted,
    /// The kernel keeps the flows of a lane's sender on that lane; the table is advice only.
    ByFlow,
}

/// An [`Rss`] made ready for frames: the software reference of all steering.
#[derive(Clone, Debug)]
pub struct Hasher {
    rss: Rss,
    toeplitz: Box<Toeplitz>,
}

impl Hasher {
    /// Makes the tables for the key of `rss`.
    pub fn new(rss: Rss) -> Hasher {
        let toeplitz = Box::new(Toeplitz::new(&rss.key));
        Hasher { rss, toeplitz }
    }

    /// What the guest set.
    pub fn rss(&self) -> &Rss {
        &self.rss
    }

    /// The tables of the key.
    pub fn toeplitz(&self) -> &Toeplitz {
        &self.toeplitz
    }

    /// The hash of the frame that begins with `head`, or `None` if its guest wants none for the
    /// protocol.
    pub fn hash(&self, head: &[u8]) -> Option<FlowHash> {
        self.hash_flow(&classify(head))
    }

    /// The same of a frame whose headers were found already.
    #[inline]
    pub fn hash_found(&self, head: &[u8], layers: &Layers) -> Option<FlowHash> {
        self.hash_flow(&classify_found(head, layers))
    }

    fn hash_flow(&self, flow: &Flow<'_>) -> Option<FlowHash> {
        let fields = self.rss.fields.of(flow.protocol) & flow.protocol.fields();
        if fields.is_empty() {
            return None;
        }
        let hash = match self.hash_tuple(flow) {
            Some(hash) if fields == flow.protocol.fields() => hash,
            _ => self.hash_fields(flow, fields),
        };
        let value = self.rss.initial ^ hash;
        let protocol = match flow.protocol {
            protocol if fields.intersects(Fields::PORTS) => protocol,
            protocol => protocol.without_ports(),
        };
        Some(FlowHash { value, protocol })
    }

    /// All of a flow with addresses and ports, which nearly all are.
    #[inline]
    fn hash_tuple(&self, flow: &Flow<'_>) -> Option<u32> {
        if !flow.protocol.has_ports() {
            return None;
        }
        let Flow { source, destination, ports, .. } = flow;
        let t = &*self.toeplitz;
        if let (Some(source), Some(destination)) = (source.as_array(), destination.as_array()) {
            let addresses = t.hash_part::<0, 4>(source) ^ t.hash_part::<4, 4>(destination);
            return Some(addresses ^ t.hash_part::<8, 4>(ports));
        }
        let (source, destination) = (source.as_array()?, destination.as_array()?);
        let addresses = t.hash_part::<0, 16>(source) ^ t.hash_part::<16, 16>(destination);
        Some(addresses ^ t.hash_part::<32, 4>(ports))
    }

    /// Some fields, one behind the other.
    fn hash_fields(&self, flow: &Flow<'_>, fields: Fields) -> u32 {
        let (mut hash, mut place) = (0, 0);
        for (_, bytes) in flow.parts().iter().filter(|(field, _)| fields.intersects(*field)) {
            hash ^= self.toeplitz.hash_at(place, bytes);
            place = place.saturating_add(bytes.len());
        }
        hash
    }

    /// The lane for a frame of this hash.
    pub fn lane(&self, hash: Option<FlowHash>) -> u16 {
        self.rss.table.lane(hash.map(|hash| hash.value))
    }
}

#[cfg(test)]
#[path = "rss_test.rs"]
pub(crate) mod tests;
