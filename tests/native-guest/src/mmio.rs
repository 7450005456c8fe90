//! Virtio devices without PCI: each on a page of its own (virtio 1.2, 4.2), which the command line announces.

use crate::memory::read;
use crate::pci::Ground;
use crate::virtio::Place;

/// Registers that say what is on a page (4.2.2).
const MAGIC: u64 = 0x0;
const VERSION: u64 = 0x4;
const DEVICE: u64 = 0x8;

/// "virt".
const VIRT: u32 = 0x7472_6976;
/// Of the layout that is no legacy.
const MODERN: u32 = 2;

/// Numbers of kinds of devices (5).
pub const NET: u32 = 1;
pub const BLK: u32 = 2;
pub const RNG: u32 = 4;
pub const BALLOON: u32 = 5;
pub const MEM: u32 = 24;
pub const VSOCK: u32 = 19;

/// The first device of a kind on one of the pages, and what a storm may make of its place. Pages are below 4 GiB, and
/// so mapped where they are.
pub fn find(pages: &[u64], kind: u32) -> Option<(Place, Ground)> {
    let is_wanted = |page: &&u64| {
        let [magic, version, device] = [MAGIC, VERSION, DEVICE].map(|at| read::<u32>(**page + at));
        (magic, version, device) == (VIRT, MODERN, kind)
    };
    let page = *pages.iter().filter(|page| **page != 0).find(is_wanted)?;
    Some((Place::Page(page), Ground::of_page(page)))
}
