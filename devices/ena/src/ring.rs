//! The data half of the card: I/O queues as the packet path's rings (specification section 7).
//!
//! The admin half checks a CREATE command, makes a [`TxConfig`] or [`RxConfig`] of it and plugs the
//! [`Tx`] or [`Rx`] into the port; from then on the two share only the [`SqDoorbell`] and the
//! [`Vector`].
//!
//! ```text
//! doorbell ──► Tx::next ──► frame          frame ──► Rx::deliver ──► buffers
//!              descriptor, llq, offload                             completion
//!              completion ◄── Tx::complete          completion ──► Vector
//! ```

mod completion;
mod descriptor;
mod interrupt;
mod llq;
mod rx;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tx;

use std::sync::Arc;

use device_core::GuestRam;
use device_core::doorbell::Doorbell;
use net::frame::Offloads;
use net::ring::GuestFault;
use vmm_sys_util::eventfd::EventFd;

pub use crate::page::Page;
pub use crate::quiet::RxDoorbell;
pub use crate::stamp::Stamp;
pub use completion::CqConfig;
pub use interrupt::{DELAY_UNIT_US, Vector};
pub use llq::{LlqPolicy, Stride};
pub use rx::Rx;
pub use source::Placement;
pub use tx::Tx;

/// Deepest ring: free-running 16-bit counters tell full from empty up to here.
pub const MAX_DEPTH: u16 = 1 << 15;
/// Most buffers of one packet, as announced to drivers (feature 7); both ways.
pub const MAX_BUFFERS: u16 = 19;

/// A submission queue's doorbell; [`Doorbell::ring`] takes the value written, of which the low 16
/// bits count.
pub type SqDoorbell = Doorbell<EventFd>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Tx,
    Rx,
}

/// Hears of rings that had to be given up (error class B); on a lane's thread, so it may neither
/// wait nor call the port.
pub trait FaultSink: Send + Sync {
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
    #[error("depth {0} is not a power of two from 2 to {MAX_DEPTH}")]
    Depth(u16),
    #[error("a ring of {len} bytes at {base:#x} is not in RAM, or not aligned to 8")]
    Range { base: u64, len: usize },
    #[error("completion entries of {0} words do not go with the direction")]
    EntryWords(u8),
    #[error("impossible low-latency queue policy")]
    Policy,
}

/// What a transmit queue is made of.
pub struct TxConfig {
    /// The queue's index among transmit queues, for messages.
    pub index: u16,
    /// Entries, a power of two; ring entries and not descriptors in low-latency mode.
    pub depth: u16,
    pub placement: Placement,
    /// Entries of 2 or 4 words.
    pub completions: CqConfig,
    pub memory: GuestRam,
    /// At 0; it wakes the lane.
    pub doorbell: Arc<SqDoorbell>,
    /// Where the doorbell may be memory, to be looked at.
    pub page: Option<Arc<Page>>,
    /// The doorbell's.
    pub stamp: Arc<Stamp>,
    /// `None`: the driver polls.
    pub vector: Option<Arc<Vector>>,
    pub faults: Arc<dyn FaultSink>,
    /// What the driver may leave to the device, as announced by feature 11 and able by the backend.
    pub offloads: Offloads,
    /// Largest MTU announced.
    pub max_mtu: u16,
}

/// What a receive queue is made of. Its descriptors are in RAM always.
pub struct RxConfig {
    /// The queue's index among receive queues, for messages.
    pub index: u16,
    /// Entries, a power of two.
    pub depth: u16,
    /// Address of the descriptors, aligned to 8.
    pub base: u64,
    /// Entries of 4 or 8 words.
    pub completions: CqConfig,
    pub memory: GuestRam,
    /// At 0; it wakes the lane.
    pub doorbell: Arc<RxDoorbell>,
    /// `None`: the driver polls.
    pub vector: Option<Arc<Vector>>,
    pub faults: Arc<dyn FaultSink>,
}

/// Checks a ring's depth and that `depth` entries of `entry_len` bytes at `base` are RAM.
fn check_ring(memory: &GuestRam, base: u64, depth: u16, entry_len: usize) -> Result<(), BadRing> {
    use vm_memory::{GuestAddress, GuestMemoryBackend};
    if !depth.is_power_of_two() || !(2..=MAX_DEPTH).contains(&depth) {
        return Err(BadRing::Depth(depth));
    }
    let len = usize::from(depth).saturating_mul(entry_len);
    let in_ram = base.is_multiple_of(8) && memory.check_range(GuestAddress(base), len);
    if in_ram { Ok(()) } else { Err(BadRing::Range { base, len }) }
}

#[cfg(test)]
#[path = "ring/hostile_test.rs"]
mod hostile_test;
