//! The CPU's clock.

use core::arch::x86_64::_rdtsc;

/// Ticks of it.
pub fn now() -> u64 {
    // SAFETY: every CPU that KVM runs on has it.
    unsafe { _rdtsc() }
}
