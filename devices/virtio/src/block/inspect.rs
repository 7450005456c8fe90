//! What the disk shows to the one who runs the machine, and what it lets him ask.

use std::io;
use std::sync::Arc;

use block::control::{ChangeError, DiskControl, Inspection, NoSuchFault};
use block::image::Source;
use block::port::PortControl;
use block::spec::{Allowed, Fault, Model};
use block::stats::Stretches;
use device_core::files::Files;
use device_core::histogram::Summary;

use super::Block;

/// A virtio disk, whatever its transport.
pub struct Disk(Arc<Block>);

impl Disk {
    /// Of a device.
    pub fn new(block: Arc<Block>) -> Disk {
        Disk(block)
    }

    fn port(&self) -> &dyn PortControl {
        self.0.port()
    }
}

impl DiskControl for Disk {
    fn id(&self) -> &str {
        self.0.port().id()
    }

    fn inspect(&self) -> Inspection {
        self.port().inspect(Model::Virtio, self.0.is_running())
    }

    fn timings(&self) -> Stretches<Summary> {
        self.port().timings()
    }

    fn sync(&self) {
        self.port().sync();
    }

    fn write_map(&self) {
        self.port().write_map();
    }

    fn let_go(&self) {
        self.port().let_go();
    }

    fn take_back(&self) -> io::Result<bool> {
        self.port().take_back()
    }

    fn refresh(&self) -> Result<u64, ChangeError> {
        self.port().refresh()
    }

    fn replace(&self, source: &Source<'_>, files: &dyn Files) -> Result<(), ChangeError> {
        self.port().replace(source, files)
    }

    fn allowed(&self) -> Allowed {
        self.port().allowed()
    }

    fn limit(&self, allowed: &Allowed) {
        self.port().limit(allowed);
    }

    fn faults(&self) -> Vec<Fault> {
        self.port().faults()
    }

    fn inject(&self, fault: Fault) -> Result<(), NoSuchFault> {
        if matches!(fault, Fault::Vanish | Fault::Fatal) {
            return Err(NoSuchFault);
        }
        self.port().inject(fault);
        Ok(())
    }

    fn clear_faults(&self) {
        self.port().clear_faults();
    }
}
