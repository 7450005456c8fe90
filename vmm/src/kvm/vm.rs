//! A VM: made with its memory, and given interrupt controllers.

use std::io;
use std::sync::{Arc, OnceLock};

use device_core::Ram;
use kvm_bindings::{CpuId, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Kvm, VmFd};

use super::{memory, pic};

/// Why a VM could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("KVM refused to make a VM")]
    Create(#[source] io::Error),
    #[error("KVM refused {0}")]
    Setup(&'static str, #[source] io::Error),
    #[error("KVM refused {len} bytes of guest memory at {start:#x}; ask for less")]
    Memory { start: u64, len: u64, source: io::Error },
}

/// Makes a VM with its memory and interrupts.
#[cfg(test)]
pub fn create(kvm: &Kvm, ram: &Arc<Ram>) -> Result<Arc<VmFd>, CreateError> {
    let vm = bare(kvm, ram)?;
    give_interrupts(&vm)?;
    Ok(vm)
}

/// Makes a VM with its memory; it has no [interrupts](give_interrupts) yet.
pub fn bare(kvm: &Kvm, ram: &Arc<Ram>) -> Result<Arc<VmFd>, CreateError> {
    let vm = loop {
        // A pending signal interrupts the creation; the kernel wants us to try again.
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => continue,
            other => break other.map_err(|error| CreateError::Create(error.into()))?,
        }
    };
    vm.set_identity_map_address(arch::layout::KVM_IDENTITY_MAP)
        .map_err(refused("the place of the identity map"))?;
    vm.set_tss_address(arch::layout::KVM_TSS as usize).map_err(refused("the place of the TSS"))?;
    memory::give(&vm, ram).map_err(|memory::NotTaken { start, len, source }| {
        CreateError::Memory { start, len, source }
    })?;
    Ok(Arc::new(vm))
}

/// Gives a VM the in-kernel PICs, IOAPIC, LAPICs and PIT.
///
/// A kernel that believes the ACPI tables uses neither PICs nor PIT; one that is told not to, by
/// `acpi=off` or `no-kvmclock`, has no other interrupts, no other timer and no other measure of time.
///
/// Memory slots that are known come before: in the wake of this, KVM waits for a grace period of its readers, 6 to
/// 10 ms, and a slot that is set meanwhile waits with it.
pub fn give_interrupts(vm: &VmFd) -> Result<(), CreateError> {
    vm.create_irq_chip().map_err(refused("interrupt controllers"))?;
    pic::close(vm).map_err(refused("the state of its PICs"))?;
    // With port B, by which a kernel reads the timer's second counter.
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(refused("a timer"))
}

fn refused(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> CreateError {
    move |error| CreateError::Setup(what, error.into())
}

/// What KVM can show a guest of the host's CPUID. It is asked once: it asks the processor for each leaf, which exits to
/// the hypervisor where the host is a guest itself.
pub fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, CreateError> {
    static TOLD: OnceLock<CpuId> = OnceLock::new();
    if let Some(told) = TOLD.get() {
        return Ok(told.clone());
    }
    let told = kvm
        .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
        .map_err(|error| CreateError::Setup("to tell its CPUID", error.into()))?;
    Ok(TOLD.get_or_init(|| told).clone())
}
