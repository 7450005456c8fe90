//! What the life cycle needs of anything with an id, and what a device may take from the machine.

use std::sync::Arc;

use crate::GuestRam;
use crate::files::Files;
use crate::hot_region::HotRegion;
use crate::interrupt::{IrqLine, MsiController};
use crate::kick::KickBinder;
use crate::ram_window::RamWindows;
use crate::reclaim::Reclaim;
use crate::snapshot::{LoadError, SaveError, Saved};
use crate::worker::Threads;

/// A part of the machine that can be stopped and started.
///
/// A device is born started, with nothing plugged. `stop` and `start` come in pairs, called by the
/// owner of the machine while no vCPU runs.
pub trait Device: Send + Sync {
    /// Unique in the machine; what the user calls it.
    fn id(&self) -> &str;

    /// Takes the work up again where `stop` left it.
    fn start(&self);

    /// Brings all rings home; once it returns the device touches no guest memory.
    fn stop(&self);

    /// As after power-on.
    fn reset(&self);

    /// Takes its state. Only while stopped.
    fn save(&self) -> Result<Saved, SaveError>;

    /// Becomes what `saved` says. Only while stopped, and as after power-on; if it fails, the machine
    /// must never run.
    fn load(&self, saved: &Saved) -> Result<(), LoadError>;
}

/// Longest id of a device; it becomes part of a thread's name.
pub const MAX_ID: usize = 64;

/// Whether a user may call a device so: 1 to [`MAX_ID`] letters, digits, `_`, `-` or `.`.
pub fn is_usable_id(id: &str) -> bool {
    let usable = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=MAX_ID).contains(&id.len()) && id.chars().all(usable)
}

/// A fixed place in the address space with an interrupt line of its own.
pub struct MmioSlot {
    /// Guest-physical address of the first register; a page is free from there on.
    pub address: u64,
    /// The line, which nobody else has.
    pub line: Arc<dyn IrqLine>,
}

/// All that a device may ask of the machine while it is built.
#[derive(Clone, Copy)]
pub struct Kit<'a> {
    /// The machine's RAM.
    pub memory: &'a GuestRam,
    /// Gives out the vectors of its interrupts.
    pub msi: &'a Arc<dyn MsiController>,
    /// Has the kernel tell it of writes to its doorbells.
    pub kicks: &'a Arc<dyn KickBinder>,
    /// Gives out memory of the device's own to show behind a BAR.
    pub windows: &'a Arc<dyn RamWindows>,
    /// Gives memory that the guest does not need back to the host.
    pub reclaim: &'a Arc<dyn Reclaim>,
    /// Memory that the guest can be given while it runs, if the machine has some.
    pub hot: Option<&'a Arc<dyn HotRegion>>,
    /// Hosts its workers.
    pub threads: &'a Threads,
    /// Opens what it is named by.
    pub files: &'a dyn Files,
    /// The slot that the device is to sit in; `None` where it sits on the PCI bus.
    pub slot: Option<&'a MmioSlot>,
}
