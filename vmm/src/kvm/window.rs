//! Memory of cards, and files, in memory slots, which the guest reaches without an exit.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arch::layout::{self, AddressRange};
use device_core::ram_window::{FileWindow, RamWindow, RamWindows};
use device_core::{GuestRam, Ram};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::file::FileMapping;
use crate::memory::leave_out_of_dumps;

/// Gives out windows of one VM, each in a slot of its own behind those of RAM.
pub struct Windows {
    vm: Arc<VmFd>,
    next_slot: AtomicU32,
    /// Where files go, without those that have gone there.
    files: Mutex<AddressRange>,
}

impl Windows {
    /// For a VM whose slots up to the number of regions of `ram` are taken; `files` is where files go.
    pub fn new(vm: Arc<VmFd>, ram: &Ram, files: AddressRange) -> Windows {
        let next_slot = AtomicU32::new(ram.num_regions() as u32);
        Windows { vm, next_slot, files: Mutex::new(files) }
    }
}

impl RamWindows for Windows {
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let memory = Ram::from_ranges(&[(GuestAddress(0), len)]).map_err(io::Error::other)?;
        memory.iter().for_each(|region| leave_out_of_dumps(region));
        Ok(Arc::new(Window {
            vm: self.vm.clone(),
            slot: self.next_slot.fetch_add(1, Ordering::Relaxed),
            memory: Arc::new(memory),
            placed: Mutex::default(),
        }))
    }

    fn map_file(
        &self,
        file: &File,
        bytes: u64,
        read_only: bool,
    ) -> io::Result<Arc<dyn FileWindow>> {
        let mapping = FileMapping::new(file, bytes, read_only)?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let place = layout::next_pmem(&files, mapping.len());
        let place =
            place.ok_or_else(|| io::Error::other("the guest has no address space for it"))?;
        let shown = Shown {
            vm: self.vm.clone(),
            slot: self.next_slot.fetch_add(1, Ordering::Relaxed),
            address: place.start,
            mapping: Arc::new(mapping),
        };
        shown.set(true, read_only)?;
        files.start = place.end;
        Ok(Arc::new(shown))
    }
}

/// A window; its slot goes before its memory.
struct Window {
    vm: Arc<VmFd>,
    slot: u32,
    memory: GuestRam,
    placed: Mutex<Option<u64>>,
}

impl Window {
    /// Sets the slot to the whole window at `at`, or to nothing.
    fn set(&self, at: Option<u64>) -> io::Result<()> {
        for region in self.memory.iter() {
            let slot = kvm_userspace_memory_region {
                slot: self.slot,
                guest_phys_addr: at.unwrap_or_default(),
                memory_size: if at.is_some() { region.len() } else { 0 },
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the region is mapped at `userspace_addr`, and `drop` takes the slot away
            // before `memory` goes.
            unsafe { self.vm.set_user_memory_region(slot) }?;
        }
        Ok(())
    }
}

impl RamWindow for Window {
    fn memory(&self) -> &GuestRam {
        &self.memory
    }

    fn place(&self, at: Option<u64>) -> io::Result<()> {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if *placed == at {
            return Ok(());
        }
        // A slot moves by way of nowhere.
        if placed.take().is_some() {
            self.set(None)?;
        }
        if at.is_some() {
            self.set(at)?;
            *placed = at;
        }
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Err(error) = self.place(None) {
            // The memory must not go before its slot.
            tracing::error!("cannot take back a card's memory: {error}");
            std::mem::forget(self.memory.clone());
        }
    }
}

/// A file in a slot of its own, which goes before its mapping.
struct Shown {
    vm: Arc<VmFd>,
    slot: u32,
    address: u64,
    mapping: Arc<FileMapping>,
}

impl Shown {
    /// Sets the slot to the mapping, or to nothing.
    fn set(&self, on: bool, read_only: bool) -> io::Result<()> {
        let slot = kvm_userspace_memory_region {
            slot: self.slot,
            guest_phys_addr: self.address,
            memory_size: if on { self.mapping.len() } else { 0 },
            userspace_addr: self.mapping.address(),
            flags: if read_only { KVM_MEM_READONLY } else { 0 },
        };
        // SAFETY: the mapping is at `userspace_addr` with that length, and `drop` takes the slot away before it
        // goes.
        unsafe { self.vm.set_user_memory_region(slot) }?;
        Ok(())
    }
}

impl FileWindow for Shown {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.mapping.len()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Err(error) = self.set(false, false) {
            // The mapping must not go before its slot.
            tracing::error!("cannot take back a mapped file: {error}");
            std::mem::forget(self.mapping.clone());
        }
    }
}

#[cfg(test)]
#[path = "window_test.rs"]
mod tests;
