//! Memory slots: which memory of this process the guest has where.

use std::io;

use device_core::{Ram, dirty};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// A region that KVM did not take.
pub(super) struct NotTaken {
    /// Guest-physical address.
    pub start: u64,
    /// In bytes.
    pub len: u64,
    /// What KVM said.
    pub source: io::Error,
}

/// Maps every region of `ram` into the VM, one slot each, but for what is plugged block by block. KVM logs the pages that the guest writes to if those are
/// noted that we write to.
pub(super) fn give(vm: &VmFd, ram: &Ram) -> Result<(), NotTaken> {
    set(vm, ram, dirty::is_on(ram))
}

/// From now on KVM logs the pages that the guest writes to, or logs them no more. The VM has the memory by [`give`], and
/// may run. Fails if KVM refuses.
pub fn log(vm: &VmFd, ram: &Ram, is_on: bool) -> io::Result<()> {
    set(vm, ram, is_on).map_err(|NotTaken { source, .. }| source)
}

fn set(vm: &VmFd, ram: &Ram, is_logged: bool) -> Result<(), NotTaken> {
    for (slot, region) in (0..).zip(ram.iter()).filter(|(_, region)| region.blocks().is_none()) {
        let slot = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: if is_logged { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
        };
        // SAFETY: the region is mapped at `userspace_addr`, and `vmm::vm::Vm` holds the memory
        // until after the VM's descriptor is closed.
        unsafe { vm.set_user_memory_region(slot) }.map_err(|error| NotTaken {
            start: slot.guest_phys_addr,
            len: slot.memory_size,
            source: error.into(),
        })?;
    }
    Ok(())
}

/// Takes what KVM has logged of a region of RAM since it was asked last: a bit for each page that the guest, or KVM
/// for it, may have written to. Fails if KVM does not log it.
pub fn take_log(vm: &VmFd, slot: u32, bytes: usize) -> io::Result<Vec<u64>> {
    Ok(vm.get_dirty_log(slot, bytes)?)
}
