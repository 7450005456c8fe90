//! The CPU's clock.

use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;

/// Ticks of it.
pub fn now() -> u64 {
    // SAFETY: every CPU that KVM runs on has it.
    unsafe { _rdtsc() }
}

/// Does nothing for so many ticks.
pub fn wait(ticks: u64) {
    let begun = now();
    while now().wrapping_sub(begun) < ticks {
        spin_loop();
    }
}
