//! Which MSRs differ from their reset values when a vCPU first runs.

use kvm_bindings::kvm_msr_entry;

const IA32_TIME_STAMP_COUNTER: u32 = 0x10;
const IA32_MISC_ENABLE: u32 = 0x1A0;
const IA32_MTRR_DEF_TYPE: u32 = 0x2FF;

/// Fast string operations; no branch trace and no event-based sampling, as CPUID hides the counters.
const MISC_ENABLE: u64 = (1 << 0) | (1 << 11) | (1 << 12);
/// Variable ranges on, everything without one write-back.
const MTRR_DEF_TYPE: u64 = (1 << 11) | 6;

/// MSRs to set on every vCPU before its first run.
///
/// All others keep what KVM gives a fresh vCPU: zero, or the reset value of the manual (PAT).
/// A zero TSC on all vCPUs is how KVM recognises that they shall run in step.
pub fn boot_msrs() -> Vec<kvm_msr_entry> {
    [
        (IA32_MISC_ENABLE, MISC_ENABLE),
        (IA32_MTRR_DEF_TYPE, MTRR_DEF_TYPE),
        (IA32_TIME_STAMP_COUNTER, 0),
    ]
    .map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() })
    .to_vec()
}

#[cfg(test)]
#[path = "msr_test.rs"]
mod tests;
