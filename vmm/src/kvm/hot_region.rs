//! Memory that is plugged while the guest runs, in memory slots that KVM has for as long as a block of them is.
//!
//! Of a slot without a block the guest has nothing: its accesses are such as no device covers, and the host keeps no
//! page of it. Of one with some, vCPUs reach the others too, where they find zeroes, and pages that they write to come
//! out of the host's memory as all do; devices never reach them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::hot_region::{Blocks, HotRegion};
use device_core::memory::RamSlice;
use device_core::{GuestRam, Ram, dirty};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::memory::take_log;
use crate::memory::reclaim::Reclaimer;
use crate::memory::{PAGE, Pages};

/// Numbers of slots before this one are for RAM and for windows of devices: a card may have one for each queue.
const FIRST_SLOT: u32 = 4096;

/// Slots of one machine's region.
pub struct HotSlots {
    vm: Arc<VmFd>,
    ram: GuestRam,
    /// Number of the region among those of `ram`.
    nth: usize,
    start: u64,
    blocks: Arc<Blocks>,
    slot_bytes: u64,
    /// Whether pages are taken from the host's pool as they are plugged.
    takes_pages: bool,
    reclaimer: Arc<Reclaimer>,
    /// Of each slot, whether KVM has it. Locked while blocks come or go.
    shown: Mutex<Vec<bool>>,
}

/// The region of `ram` that is plugged block by block, and its number, if there is one.
fn hot(ram: &Ram) -> Option<(usize, &<Ram as GuestMemoryBackend>::R, &Arc<Blocks>)> {
    let regions = ram.iter().enumerate();
    regions.filter_map(|(nth, region)| Some((nth, region, region.blocks()?))).next()
}

impl HotSlots {
    /// For a VM with this `ram`, whose region is to be in slots of `slot_bytes` bytes; `None` if none of it is plugged
    /// block by block. Its pages are such as `pages`, or a pager brings them if they are `brought`; they go back by
    /// `reclaimer`.
    pub fn of(
        vm: &Arc<VmFd>,
        ram: &GuestRam,
        slot_bytes: u64,
        (pages, brought): (Pages, bool),
        reclaimer: &Arc<Reclaimer>,
    ) -> Option<HotSlots> {
        let (nth, region, blocks) = hot(ram)?;
        let count = usize::try_from(region.len().checked_div(slot_bytes)?).ok()?;
        Some(HotSlots {
            vm: vm.clone(),
            ram: ram.clone(),
            nth,
            start: region.start_addr().0,
            blocks: blocks.clone(),
            slot_bytes,
            takes_pages: pages == Pages::Huge && !brought,
            reclaimer: reclaimer.clone(),
            shown: Mutex::new(vec![false; count]),
        })
    }

    /// Whether this host's KVM has so many slots.
    pub fn fit(kvm: &Kvm, count: u64) -> bool {
        u64::from(FIRST_SLOT).saturating_add(count) <= kvm.get_nr_memslots() as u64
    }

    /// Takes what KVM has logged since it was asked last: `to` gets the number of a page of the region, and a bit for
    /// each page from there on. Fails if KVM does not log.
    pub fn take_logs(&self, mut to: impl FnMut(u64, &[u64])) -> io::Result<()> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = self.slot_bytes / PAGE as u64;
        let bytes = usize::try_from(self.slot_bytes).map_err(io::Error::other)?;
        for (number, nth) in (FIRST_SLOT..).zip(0u64..).zip(shown.iter()).filter_map(seen) {
            to(nth.saturating_mul(pages), &take_log(&self.vm, number, bytes)?);
        }
        Ok(())
    }

    fn region(&self) -> &<Ram as GuestMemoryBackend>::R {
        self.ram.iter().nth(self.nth).expect("regions of memory never change")
    }

    /// Bytes of the region, whether they are plugged or not.
    fn part(&self, offset: u64, len: u64) -> io::Result<RamSlice<'_>> {
        let none = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let (offset, len) =
            (usize::try_from(offset).map_err(none)?, usize::try_from(len).map_err(none)?);
        let whole = self.region().as_volatile_slice().map_err(io::Error::other)?;
        whole.subslice(offset, len).map_err(io::Error::other)
    }

    /// Has KVM know slot number `nth`, or no more.
    fn show(&self, nth: u64, on: bool) -> io::Result<()> {
        let region = self.region();
        let offset = nth.saturating_mul(self.slot_bytes);
        let is_logged = on && dirty::of(region).is_on();
        let slot = kvm_userspace_memory_region {
            slot: u32::try_from(nth).unwrap_or(u32::MAX).saturating_add(FIRST_SLOT),
            guest_phys_addr: self.start.saturating_add(offset),
            memory_size: if on { self.slot_bytes } else { 0 },
            userspace_addr: (region.as_ptr().addr() as u64).saturating_add(offset),
            flags: if is_logged { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
        };
        // SAFETY: the slot is a part of the region, which is mapped there as RAM is: `vmm::vm::Vm` holds it until after
        // the VM's descriptor is closed.
        Ok(unsafe { self.vm.set_user_memory_region(slot) }?)
    }

    /// Slots that some of these blocks are in.
    fn slots_of(&self, first: u64, count: u64) -> std::ops::RangeInclusive<u64> {
        let per_slot = self.blocks_of_slot();
        let last = first.saturating_add(count.saturating_sub(1));
        first.checked_div(per_slot).unwrap_or(0)..=last.checked_div(per_slot).unwrap_or(0)
    }

    fn blocks_of_slot(&self) -> u64 {
        self.slot_bytes.checked_div(self.blocks.block_bytes()).unwrap_or(1).max(1)
    }

    /// Takes away from KVM what has no block any more of `slots`. Nothing of it is kept.
    fn hide_empty(
        &self,
        shown: &mut [bool],
        slots: std::ops::RangeInclusive<u64>,
    ) -> io::Result<()> {
        let per_slot = self.blocks_of_slot();
        for nth in slots {
            let is_empty = self.blocks.are_missing(nth.saturating_mul(per_slot), per_slot);
            let Some(is_shown) = shown.get_mut(nth as usize).filter(|shown| **shown && is_empty)
            else {
                continue;
            };
            self.show(nth, false)?;
            *is_shown = false;
            // What a guest wrote where it has no blocks is nobody's: no snapshot had it.
            let part = self.part(nth.saturating_mul(self.slot_bytes), self.slot_bytes)?;
            self.reclaimer.discard_part(&part, false)?;
        }
        Ok(())
    }

    /// Takes pages of the host's pool for this part, so that the guest does not find it empty later.
    fn take_pages(&self, offset: u64, len: u64) -> io::Result<()> {
        let part = self.part(offset, len)?;
        let at = part.ptr_guard_mut().as_ptr();
        // SAFETY: advice on a part of the region, which keeps its content.
        match unsafe { libc::madvise(at.cast(), part.len(), libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The number of a slot for KVM and among its like, if it is there.
fn seen(((number, nth), shown): ((u32, u64), &bool)) -> Option<(u32, u64)> {
    shown.then_some((number, nth))
}

impl HotRegion for HotSlots {
    fn start(&self) -> u64 {
        self.start
    }

    fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    fn plug(&self, first: u64, count: u64) -> io::Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = self.slots_of(first, count);
        let bytes = self.blocks.block_bytes();
        let (offset, len) = (first.saturating_mul(bytes), count.saturating_mul(bytes));
        let mut done = || {
            if self.takes_pages {
                self.take_pages(offset, len)?;
            }
            for nth in slots.clone() {
                let Some(is_shown) = shown.get_mut(nth as usize) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                if !*is_shown {
                    self.show(nth, true)?;
                    *is_shown = true;
                }
            }
            Ok(())
        };
        let result = done();
        match result {
            Ok(()) => self.blocks.set(first, count, true),
            Err(_) => {
                let part = self.part(offset, len)?;
                self.reclaimer.discard_part(&part, false)?;
                self.hide_empty(&mut shown, slots)?;
            }
        }
        result
    }

    fn unplug(&self, first: u64, count: u64) -> io::Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Devices first: they do not ask KVM.
        self.blocks.set(first, count, false);
        let bytes = self.blocks.block_bytes();
        let part = self.part(first.saturating_mul(bytes), count.saturating_mul(bytes))?;
        let freed = self.reclaimer.discard_part(&part, true);
        self.hide_empty(&mut shown, self.slots_of(first, count))?;
        freed.map(drop)
    }
}

#[cfg(test)]
#[path = "hot_region_test.rs"]
mod tests;
