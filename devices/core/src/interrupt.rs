//! Interrupts as objects: a device holds lines and vectors, never numbers.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::irq_gate::Fire;

/// An edge-triggered interrupt line of the board.
pub trait IrqLine: Send + Sync {
    /// Raises and lowers the line once.
    fn pulse(&self);
}

/// An interrupt, whatever carries it to the guest.
pub trait Interrupt: Send + Sync {
    /// Sends it once, from any thread; never waits.
    fn fire(&self);

    /// The eventfd behind [`Interrupt::fire`], for whoever fires without us (vhost); `None` if there is more to it.
    fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// One message-signalled interrupt. To fire it is one write to an eventfd, masked or not.
pub trait MsiVector: Interrupt {
    /// Whether a fire waits for the vector to be unmasked: the bit of the MSI-X PBA.
    fn is_pending(&self) -> bool;
}

impl Fire for Arc<dyn MsiVector> {
    fn fire(&self) {
        (**self).fire();
    }
}

/// What an MSI writes, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsiMessage {
    /// Guest-physical address of the write, as in an MSI-X table entry (PCI Local Bus 3.0, 6.8.2).
    pub address: u64,
    /// The value written.
    pub data: u32,
}

/// Where the vector `index` shall go from now on; `None` masks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which vector of its set, from 0.
    pub index: u16,
    /// Its message from now on.
    pub to: Option<MsiMessage>,
}

/// The vectors of one card.
///
/// A vector is born masked. While masked, fires are kept in its eventfd, and delivered at unmasking.
pub trait MsiSet: Send + Sync {
    /// How many vectors there are.
    fn count(&self) -> u16;

    /// The vector `index`, or `None` past the end.
    fn vector(&self, index: u16) -> Option<Arc<dyn MsiVector>>;

    /// Routes several vectors at once; indices past the end are ignored. Fails if the host refuses a
    /// route; some may have been changed by then.
    fn route(&self, changes: &[Route]) -> io::Result<()>;

    /// Where the vector `index` goes, or went before it was masked; `None` if that is not known.
    fn target(&self, _index: u16) -> Option<MsiMessage> {
        None
    }
}

/// Gives out vectors while a machine is built.
pub trait MsiController: Send + Sync {
    /// A set of `count` vectors, all masked. Fails if the host has no eventfd or no interrupt route
    /// left.
    fn allocate(&self, count: u16) -> io::Result<Arc<dyn MsiSet>>;
}
