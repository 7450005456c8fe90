//! Where a transmit queue's descriptors are, and how they are read: each once, below the tail.

use device_core::GuestRam;

use super::llq::LlqPolicy;

/// Where the driver puts a transmit queue's descriptors.
pub enum Placement {
    /// In RAM, from `base` on.
    Host { base: u64 },
    /// In the card's memory behind BAR 2. The window is that memory, from address 0 on; the ring
    /// begins at `offset`.
    Llq { window: GuestRam, offset: u64, policy: LlqPolicy },
}
