//! Memory of cards, and files, in memory slots, which the guest reaches without an exit.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch::layout::{self, AddressRange};
use device_core::dirty::zeroed_ram;
use device_core::ram_window::{FileWindow, RamWindow, RamWindows};
use device_core::{GuestRam, Ram};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::file::FileMapping;
use crate::memory::leave_out_of_dumps;

/// Gives out windows of one VM, each in a slot of its own behind those of RAM.
pub struct Windows {
    vm: Arc<VmFd>,
    taken: Arc<Mutex<Taken>>,
}

/// What is given out, until it comes back.
struct Taken {
    /// Numbers of slots that came back.
    free_slots: Vec<u32>,
    /// All slots from here on are free.
    next_slot: u32,
    /// Where files go.
    room: AddressRange,
    /// Where they are, in order.
    files: Vec<AddressRange>,
}

impl Taken {
    fn take_slot(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            let slot = self.next_slot;
            self.next_slot += 1;
            slot
        })
    }

    /// The lowest place of `len` bytes that no file has.
    fn take_place(&mut self, len: u64) -> Option<AddressRange> {
        let mut start = self.room.start;
        for (index, file) in self.files.iter().enumerate() {
            if let Some(place) = layout::next_pmem(&AddressRange::new(start, file.start), len) {
                self.files.insert(index, place);
                return Some(place);
            }
            start = file.end;
        }
        let place = layout::next_pmem(&AddressRange::new(start, self.room.end), len)?;
        self.files.push(place);
        Some(place)
    }
}

/// A number of a slot, which is free again once this is dropped; the slot must be empty by then.
struct Slot {
    number: u32,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.taken).free_slots.push(self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Windows {
    /// For a VM whose slots up to the number of regions of `ram` are taken; `files` is where files go.
    pub fn new(vm: Arc<VmFd>, ram: &Ram, files: AddressRange) -> Windows {
        let next_slot = ram.num_regions() as u32;
        let taken = Taken { free_slots: Vec::new(), next_slot, room: files, files: Vec::new() };
        Windows { vm, taken: Arc::new(Mutex::new(taken)) }
    }

    fn take_slot(&self) -> Slot {
        Slot { number: lock(&self.taken).take_slot(), taken: self.taken.clone() }
    }
}

impl RamWindows for Windows {
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let memory = zeroed_ram(&[(0, len)])?;
        memory.iter().for_each(|region| leave_out_of_dumps(region));
        Ok(Arc::new(Window {
            vm: self.vm.clone(),
            slot: Arc::new(self.take_slot()),
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
        let mapping = Arc::new(FileMapping::new(file, bytes, read_only)?);
        let place = lock(&self.taken).take_place(mapping.len());
        let place =
            place.ok_or_else(|| io::Error::other("the guest has no address space for it"))?;
        let slot = Arc::new(self.take_slot());
        let shown = Shown { vm: self.vm.clone(), slot, place, mapping };
        shown.set(true, read_only)?;
        Ok(Arc::new(shown))
    }
}

/// A window; its slot goes before its memory.
struct Window {
    vm: Arc<VmFd>,
    slot: Arc<Slot>,
    memory: GuestRam,
    placed: Mutex<Option<u64>>,
}

impl Window {
    /// Sets the slot to the whole window at `at`, or to nothing.
    fn set(&self, at: Option<u64>) -> io::Result<()> {
        for region in self.memory.iter() {
            let slot = kvm_userspace_memory_region {
                slot: self.slot.number,
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
            std::mem::forget((self.memory.clone(), self.slot.clone()));
        }
    }
}

/// A file in a slot of its own, which goes before its mapping.
struct Shown {
    vm: Arc<VmFd>,
    slot: Arc<Slot>,
    place: AddressRange,
    mapping: Arc<FileMapping>,
}

impl Shown {
    /// Sets the slot to the mapping, or to nothing.
    fn set(&self, on: bool, read_only: bool) -> io::Result<()> {
        let slot = kvm_userspace_memory_region {
            slot: self.slot.number,
            guest_phys_addr: self.place.start,
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
        self.place.start
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
            std::mem::forget((self.mapping.clone(), self.slot.clone()));
            return;
        }
        lock(&self.slot.taken).files.retain(|file| *file != self.place);
    }
}

#[cfg(test)]
#[path = "window_test.rs"]
mod tests;
