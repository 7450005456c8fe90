//! The boot timer: a register that a guest writes to when it is up, for who wants to know how long that
//! took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use device_core::bus::{BusDevice, Width};

/// Where it is: a port of floppy drives, which this machine has none of.
pub const PORT: u64 = 0x3f0;
/// Where it is too in a machine without PCI: the address at which guests made for Firecracker write.
pub const ADDRESS: u64 = arch::layout::LOW_RAM_END;
/// What says "I am up".
const UP: u64 = 123;

/// Counts from when it is made, which is just before the machine runs.
pub struct BootTimer {
    start: Instant,
    told: AtomicBool,
}

impl BootTimer {
    /// Counts from now on.
    pub fn new() -> BootTimer {
        BootTimer { start: Instant::now(), told: AtomicBool::new(false) }
    }
}

impl BusDevice for BootTimer {
    fn read(&self, _: u64, width: Width) -> u64 {
        width.mask()
    }

    fn write(&self, _: u64, _: Width, value: u64) {
        // Once: a guest must not fill the log.
        if value == UP && !self.told.swap(true, Ordering::Relaxed) {
            let us = self.start.elapsed().as_micros();
            tracing::info!("Guest-boot-time = {us} us {} ms", us / 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_report_of_the_guest_counts() {
        let timer = BootTimer::new();
        timer.write(0, Width::B1, 122);
        assert!(!timer.told.load(Ordering::Relaxed));
        timer.write(0, Width::B1, UP);
        assert!(timer.told.load(Ordering::Relaxed));
        assert_eq!(timer.read(0, Width::B1), 0xff);
    }
}
