//! What a machine does to go on in another process: tells which pages it writes to, and lets go of its images.

use std::io;

use super::Vm;
use super::backing::Backing;
use crate::kvm;
use crate::memory::changes::Since;
use crate::memory::pages::PageSet;
use crate::memory::touched::Touched;
use crate::memory::{barrier, whole};

impl Vm {
    /// A part of it that cannot go on elsewhere, by its name, and why.
    pub fn stays_for(&self) -> Option<(String, &'static str)> {
        if matches!(self.backing, Backing::Brought(_)) {
            return Some(("memory that comes by a pager".into(), "it is not all here"));
        }
        let lent = self.nics().iter().find(|nic| nic.control.port().is_passed_by())?;
        let why = "the host's kernel moves its frames (backend=vhost), and nobody tracks what it writes to memory";
        Some((format!("network card {:?}", lent.control.id()), why))
    }

    /// From now on the pages of the machine, which is paused, are tracked, until [`Vm::end_tracking`]. Fails if the host
    /// cannot do that.
    pub fn begin_tracking(&mut self) -> io::Result<()> {
        barrier::begin()?;
        device_core::dirty::begin(&self.ram);
        kvm::memory::log(&self.fd, &self.ram, true)?;
        // Of before.
        self.changes.take(&self.fd, &self.ram).map(drop)
    }

    /// KVM tracks no more than it did before. The machine may run.
    pub fn end_tracking(&mut self) {
        if self.changes.since() != Since::Last
            && let Err(error) = kvm::memory::log(&self.fd, &self.ram, false)
        {
            tracing::warn!("KVM goes on tracking which memory is written to: {error}");
        }
    }

    /// Pages that were written to since this was asked last, of a machine that is tracked, and may run. Fails if the host
    /// does not tell.
    pub fn take_written(&mut self) -> io::Result<PageSet> {
        self.changes.take(&self.fd, &self.ram)
    }

    /// All pages that may have something in them.
    pub fn pages_with_something(&self) -> PageSet {
        whole::with_something(&self.ram, self.backing.file(), Touched::look())
    }

    /// What disks have completed would survive a power cut. A pause that comes soon takes less long.
    pub fn sync_disks(&self) {
        self.disks().iter().for_each(|disk| disk.sync());
    }

    /// Lets go of the locks on its images, as it is paused, for another process to have them.
    pub fn let_disks_go(&self) {
        self.disks().iter().for_each(|disk| disk.let_go());
    }

    /// The machine, which is paused, is another process's: here it is never resumed.
    pub fn part(&mut self) {
        self.is_parted = true;
    }

    /// Takes the locks on its images again, as far as nobody else has them. The first disk whose image somebody has. Fails
    /// if the host does.
    pub fn take_disks_back(&self) -> io::Result<Option<&str>> {
        for disk in self.disks() {
            if !disk.take_back()? {
                return Ok(Some(disk.id()));
            }
        }
        Ok(None)
    }
}
