//! Rings as a driver leaves them that writes whatever it likes, for property tests.

use proptest::prelude::*;

use super::ring::{Descriptor, DriverRing};

/// What a driver does with one queue, before it kicks.
#[derive(Clone, Debug)]
pub struct Ring {
    descriptors: Vec<Descriptor>,
    heads: Vec<u16>,
    /// The available index, if it is not that of the heads.
    index: Option<u16>,
}

/// A ring whose buffers have these addresses and lengths: chains are often nearly right.
pub fn ring(
    addr: impl Strategy<Value = u64>,
    len: impl Strategy<Value = u32>,
) -> impl Strategy<Value = Ring> {
    let descriptor = (addr, len, 0u16..8, 0u16..12);
    let descriptor =
        descriptor.prop_map(|(addr, len, flags, next)| Descriptor { addr, len, flags, next });
    let descriptors = prop::collection::vec(descriptor, 10);
    let heads = prop::collection::vec(prop_oneof![9 => 0u16..10, 1 => any::<u16>()], 0..12);
    let index = prop_oneof![4 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (descriptors, heads, index).prop_map(|(descriptors, heads, index)| Ring {
        descriptors,
        heads,
        index,
    })
}

impl Ring {
    /// Does so, and kicks.
    pub fn write(&self, ring: &mut DriverRing) {
        for (at, descriptor) in (0..).zip(&self.descriptors) {
            ring.write_descriptor(at, *descriptor);
        }
        ring.offer_heads(&self.heads);
        if let Some(index) = self.index {
            ring.set_available(index);
        }
        ring.force_kick();
    }
}
