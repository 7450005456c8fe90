//! Memory of cards in memory slots, which the guest reaches without an exit.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use device_core::ram_window::{RamWindow, RamWindows};
use device_core::{GuestRam, Ram};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::leave_out_of_dumps;

/// Gives out windows of one VM, each in a slot of its own behind those of RAM.
pub struct Windows {
    vm: Arc<VmFd>,
    next_slot: AtomicU32,
}

impl Windows {
    /// For a VM whose slots up to the number of regions of `ram` are taken.
    pub fn new(vm: Arc<VmFd>, ram: &Ram) -> Windows {
        Windows { vm, next_slot: AtomicU32::new(ram.num_regions() as u32) }
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

#[cfg(test)]
#[path = "window_test.rs"]
mod tests;
