//! What the life cycle needs of anything with an id, and what a device may take from the machine.

use std::sync::Arc;

use crate::GuestRam;
use crate::interrupt::MsiController;
use crate::kick::KickBinder;
use crate::ram_window::RamWindows;
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
}

/// All that a device may ask of the machine while it is built.
pub struct Kit<'a> {
    /// The machine's RAM.
    pub memory: &'a GuestRam,
    /// Gives out the vectors of its interrupts.
    pub msi: &'a Arc<dyn MsiController>,
    /// Has the kernel tell it of writes to its doorbells.
    pub kicks: &'a Arc<dyn KickBinder>,
    /// Gives out memory of the device's own to show behind a BAR.
    pub windows: &'a Arc<dyn RamWindows>,
    /// Hosts its workers.
    pub threads: &'a Threads,
}
