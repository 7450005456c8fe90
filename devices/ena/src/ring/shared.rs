//! What rings of both directions share: bounds, doorbell, and what becomes of a broken one.

use device_core::GuestRam;
use device_core::doorbell::Doorbell;
use device_core::fault::GuestFault;
use vm_memory::{GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

/// Deepest ring: free-running 16-bit counters tell full from empty up to here.
pub const MAX_DEPTH: u16 = 1 << 15;
/// Most buffers of one packet, as announced to drivers (feature 7); both ways.
pub const MAX_BUFFERS: u16 = 19;

/// A submission queue's doorbell; [`Doorbell::ring`] takes the value written, of which the low 16
/// bits count.
pub type SqDoorbell = Doorbell<EventFd>;

/// Which way a queue's frames go, seen from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the driver.
    Tx,
    /// To the driver.
    Rx,
}

/// Hears of rings that had to be given up (error class B); on a lane's thread, so it may neither
/// wait nor call the port.
pub trait FaultSink: Send + Sync {
    /// Queue `index` of its direction has been given up, because of `fault`.
    fn ring_broken(&self, direction: Direction, index: u16, fault: GuestFault);

    /// What a transmit completion that ought to name `id` names; `None` for no completion. Other
    /// than `id` only to rehearse faults.
    fn completed(&self, id: u16) -> Option<u16> {
        Some(id)
    }
}

/// Why a queue cannot be made as the driver asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRing {
    /// The depth is no power of two from 2 to [`MAX_DEPTH`] entries.
    #[error("depth {0} is not a power of two from 2 to {MAX_DEPTH}")]
    Depth(u16),
    /// A part of the ring is not RAM, or it is not aligned to 8 bytes.
    #[error("a ring of {len} bytes at {base:#x} is not in RAM, or not aligned to 8")]
    Range {
        /// Guest-physical address of the ring; an offset in the card's memory for a low-latency queue.
        base: u64,
        /// Bytes of the ring.
        len: usize,
    },
    /// Completion entries have other than 2 or 4 words (of 4 bytes) for transmission, 4 or 8 for reception.
    #[error("completion entries of {0} words do not go with the direction")]
    EntryWords(u8),
    /// An entry size, a number of descriptors or a room for the header that cannot be
    /// ([`LlqPolicy::check`](super::LlqPolicy::check)).
    #[error("impossible low-latency queue policy")]
    Policy,
}

/// Checks a ring's depth and that `depth` entries of `entry_len` bytes at `base` are RAM.
pub(super) fn check_ring(
    memory: &GuestRam,
    base: u64,
    depth: u16,
    entry_len: usize,
) -> Result<(), BadRing> {
    if !depth.is_power_of_two() || !(2..=MAX_DEPTH).contains(&depth) {
        return Err(BadRing::Depth(depth));
    }
    let len = usize::from(depth).saturating_mul(entry_len);
    let in_ram = base.is_multiple_of(8) && memory.check_range(GuestAddress(base), len);
    if in_ram { Ok(()) } else { Err(BadRing::Range { base, len }) }
}
