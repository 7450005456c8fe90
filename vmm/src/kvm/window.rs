//! Memory of cards, and files, in memory slots, which the guest reaches without an exit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    cards: Arc<Mutex<Cards>>,
    /// What is expected to be asked for.
    waiting: Mutex<VecDeque<Arc<Window>>>,
}

/// Where memory of cards is, by slots.
#[derive(Default)]
struct Cards {
    /// Address and length, and whether it stays there.
    placed: BTreeMap<u32, (u64, u64, bool)>,
    /// Those that are where they were expected to be, and nobody has said yet that they belong there.
    expected: BTreeSet<u32>,
}

/// Most windows that are expected, and the most bytes of one.
const MOST_EXPECTED: (usize, u64) = (64, 1 << 20);

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

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Windows {
    /// For a VM whose slots up to the number of regions of `ram` are taken; `files` is where files go.
    pub fn new(vm: Arc<VmFd>, ram: &Ram, files: AddressRange) -> Windows {
        let next_slot = ram.num_regions() as u32;
        let taken = Taken { free_slots: Vec::new(), next_slot, room: files, files: Vec::new() };
        let (taken, waiting) = (Arc::new(Mutex::new(taken)), Mutex::default());
        Windows { vm, taken, cards: Arc::default(), waiting }
    }

    /// Where memory of cards is that stays there, each with its length, in the order of [`Windows::expect`].
    pub fn placed(&self) -> Vec<(u64, u64)> {
        let cards = lock(&self.cards);
        let staying = cards.placed.values().filter(|(.., stays)| *stays);
        staying.map(|(at, len, _)| (*at, *len)).collect()
    }

    /// Expects that cards ask for memory of these lengths in this order, and put it at these addresses: their slots
    /// are set now, when that takes no time, and not when it is in the way. What KVM refuses is not expected.
    pub fn expect(&self, places: &[(u64, u64)]) {
        let (most, bytes) = MOST_EXPECTED;
        for (at, len) in places.iter().take(most).filter(|(_, len)| (1..=bytes).contains(len)) {
            let Ok(window) = self.make(*len, true) else { continue };
            if let Ok(len) = window.set(*at) {
                let mut cards = lock(&self.cards);
                cards.placed.insert(window.slot.number, (*at, len, true));
                cards.expected.insert(window.slot.number);
                lock(&self.waiting).push_back(window);
            }
        }
    }

    /// Takes away what was expected, and nobody has put where it is.
    pub fn settle(&self) {
        drop(std::mem::take(&mut *lock(&self.waiting)));
        lock(&self.cards).forget_expected(&self.vm);
    }

    fn make(&self, bytes: u64, stays: bool) -> io::Result<Arc<Window>> {
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let memory = zeroed_ram(&[(0, len)])?;
        memory.iter().for_each(|region| leave_out_of_dumps(region));
        Ok(Arc::new(Window {
            vm: self.vm.clone(),
            slot: Arc::new(self.take_slot()),
            memory: Arc::new(memory),
            cards: self.cards.clone(),
            stays,
        }))
    }

    fn take_slot(&self) -> Slot {
        Slot { number: lock(&self.taken).take_slot(), taken: self.taken.clone() }
    }
}

impl RamWindows for Windows {
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        let next = lock(&self.waiting).pop_front();
        match next {
            Some(window)
                if window.memory.iter().map(|region| region.len()).sum::<u64>() == bytes =>
            {
                Ok(window)
            }
            _ => Ok(self.make(bytes, true)?),
        }
    }

    fn allocate_passing(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        Ok(self.make(bytes, false)?)
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
    cards: Arc<Mutex<Cards>>,
    stays: bool,
}

impl Window {
    /// Sets the slot to the whole window at `at`; tells its length.
    fn set(&self, at: u64) -> io::Result<u64> {
        let mut len = 0;
        for region in self.memory.iter() {
            let slot = kvm_userspace_memory_region {
                slot: self.slot.number,
                guest_phys_addr: at,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the region is mapped at `userspace_addr`, and `drop` takes the slot away
            // before `memory` goes.
            unsafe { self.vm.set_user_memory_region(slot) }?;
            len = region.len();
        }
        Ok(len)
    }
}

impl Cards {
    /// Empties a slot.
    fn clear(&mut self, vm: &VmFd, slot: u32) -> io::Result<()> {
        if self.placed.contains_key(&slot) {
            let empty = kvm_userspace_memory_region { slot, ..Default::default() };
            // SAFETY: the slot is a window's, and has no memory then.
            unsafe { vm.set_user_memory_region(empty) }?;
            self.placed.remove(&slot);
        }
        Ok(())
    }

    /// Tells whether there was any.
    fn forget_expected(&mut self, vm: &VmFd) -> bool {
        let expected = std::mem::take(&mut self.expected);
        for slot in &expected {
            if let Err(error) = self.clear(vm, *slot) {
                tracing::error!("cannot take back a card's memory: {error}");
            }
        }
        !expected.is_empty()
    }
}

impl RamWindow for Window {
    fn memory(&self) -> &GuestRam {
        &self.memory
    }

    fn place(&self, at: Option<u64>) -> io::Result<()> {
        let mut cards = lock(&self.cards);
        let slot = self.slot.number;
        cards.expected.remove(&slot);
        if cards.placed.get(&slot).map(|(placed, ..)| *placed) == at {
            return Ok(());
        }
        // A slot moves by way of nowhere.
        cards.clear(&self.vm, slot)?;
        if let Some(at) = at {
            let len = match self.set(at) {
                // What was expected may be in the way of what is.
                Err(_) if cards.forget_expected(&self.vm) => self.set(at),
                set => set,
            }?;
            cards.placed.insert(slot, (at, len, self.stays));
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
