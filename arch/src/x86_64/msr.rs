//! Which MSRs differ from their reset values when a vCPU first runs, and which outlive its process.

use kvm_bindings::kvm_msr_entry;

/// The processor's clock; KVM takes it before the deadline, which is measured by it.
pub const IA32_TIME_STAMP_COUNTER: u32 = 0x10;
/// When the APIC's timer fires, by that clock; 0 while it is not set, and when it has just fired.
pub const IA32_TSC_DEADLINE: u32 = 0x6E0;
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

/// Ranges of MSRs, both ends in, whose values are the guest's and not the processor's: what it has set, what
/// KVM keeps for it. Not there are counters of performance, which guests do not have, and what only tells what a
/// processor can do (0x10A, 0x480 and on).
const SAVED: [(u32, u32); 37] = [
    (0x00, 0x01),
    (IA32_TIME_STAMP_COUNTER, IA32_TIME_STAMP_COUNTER),
    (0x17, 0x17),
    (0x1B, 0x1B),
    (0x2A, 0x2A),
    (0x2C, 0x2C),
    (0x34, 0x34),
    // Feature control comes before all that it locks.
    (0x3A, 0x3B),
    (0x48, 0x48),
    (0x79, 0x79),
    (0x8B, 0x8B),
    (0x9E, 0x9E),
    (0xCD, 0xCE),
    (0xE2, 0xE2),
    (0xE7, 0xE8),
    (0xFE, 0xFE),
    (0x11E, 0x11E),
    (0x122, 0x122),
    (0x140, 0x140),
    (0x174, 0x176),
    // MCG_CTL, behind them, is there only on processors that say so.
    (0x179, 0x17A),
    (0x198, 0x198),
    (IA32_MISC_ENABLE, IA32_MISC_ENABLE),
    (0x1A4, 0x1A4),
    (0x1AA, 0x1AA),
    (0x1D9, 0x1D9),
    (0x1DB, 0x1DE),
    (0x1FC, 0x1FC),
    // Memory types.
    (0x200, 0x2FF),
    // Banks of machine checks.
    (0x400, 0x47F),
    // Shadow stacks.
    (0x6A0, 0x6A8),
    (IA32_TSC_DEADLINE, IA32_TSC_DEADLINE),
    (0xDA0, 0xDA0),
    (0xC000_0080, 0xC000_0084),
    (0xC000_0100, 0xC000_0103),
    (0xC001_0015, 0xC001_0015),
    // KVM's own: clock, stolen time, page faults.
    (0x4B56_4D00, 0x4B56_4D08),
];

/// Whether the value of an MSR that KVM has is a vCPU's own, and goes where the vCPU goes.
pub fn is_saved(index: u32) -> bool {
    SAVED.iter().any(|(first, last)| (*first..=*last).contains(&index))
}

#[cfg(test)]
#[path = "msr_test.rs"]
mod tests;
