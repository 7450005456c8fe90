//! Memory of a machine that is to be its children's too.

use std::io;

use super::Vm;
use super::backing::Backing;
use crate::memory::base::{self, Prepared};

impl Vm {
    /// Does of [`Vm::share_memory`] what can be done while the machine runs. Fails if the host has not so much memory.
    pub fn prepare_memory(&self) -> io::Result<Option<Prepared>> {
        match &self.backing {
            Backing::Mapped(file) if !self.supplies.reclaimer.gave_back() => {
                base::prepare(&self.ram, file).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Makes the memory of a machine that is paused a file that nobody writes to, which it is [backed](Vm::backing) by from
    /// then on; tells how many bytes are in it. Fails if the host has not so much memory; then all is as it was.
    pub fn share_memory(&mut self, prepared: Option<Prepared>) -> io::Result<u64> {
        // What went back meanwhile would be there again.
        let prepared = prepared.filter(|_| !self.supplies.reclaimer.gave_back());
        let base = base::make(&self.ram, self.backing.file(), prepared)?;
        // What the guest gives back would read as the file otherwise.
        self.supplies.reclaimer.is_of_file_now();
        self.backing = Backing::Mapped(base.file);
        Ok(base.data_bytes)
    }
}
