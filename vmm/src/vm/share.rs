//! Memory of a machine that is to be its children's too.

use std::fs::File;
use std::io;

use super::Vm;
use crate::memory::base::{self, Prepared};

impl Vm {
    /// Does of [`Vm::share_memory`] what can be done while the machine runs. Fails if the host has not so much memory.
    pub fn prepare_memory(&self) -> io::Result<Option<Prepared>> {
        match &self.file {
            Some(file) if !self.supplies.reclaimer.gave_back() => {
                base::prepare(&self.ram, file).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Has what is zero in `base`, which the memory of a machine that has not run yet is mapped from, be of this process
    /// alone when it is written. Fails if the host refuses; then it is what it was.
    pub fn open_holes(&self, base: &File) -> io::Result<()> {
        base::open_holes(&self.ram, base)
    }

    /// Makes the memory of a machine that is paused a file that nobody writes to, which is [`Vm::memory_file`] from
    /// then on; tells how many bytes are in it. Fails if the host has not so much memory; then all is as it was.
    pub fn share_memory(&mut self, prepared: Option<Prepared>) -> io::Result<u64> {
        // What went back meanwhile would be there again.
        let prepared = prepared.filter(|_| !self.supplies.reclaimer.gave_back());
        let base = base::make(&self.ram, self.file.as_ref(), prepared)?;
        // What the guest gives back would read as the file otherwise.
        self.supplies.reclaimer.is_of_file_now();
        self.file = Some(base.file);
        Ok(base.data_bytes)
    }
}
