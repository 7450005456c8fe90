//! The boot timer: a register that a guest writes to when it is up, for who wants to know how long that
//! took.

use std::sync::{Mutex, PoisonError};
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
    /// Nobody has reported yet.
    waiting: Mutex<Waiting>,
}

enum Waiting {
    /// And this is called then.
    For(Option<Box<dyn FnOnce() + Send>>),
    NoMore,
}

impl BootTimer {
    /// Counts from now on.
    pub fn new() -> BootTimer {
        BootTimer { start: Instant::now(), waiting: Mutex::new(Waiting::For(None)) }
    }

    /// Has `first` called with the guest's report, if it is still to come; `first` must not wait.
    pub fn on_report(&self, first: Box<dyn FnOnce() + Send>) {
        if let Waiting::For(call) =
            &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
        {
            *call = Some(first);
        }
    }
}

impl BusDevice for BootTimer {
    fn read(&self, _: u64, width: Width) -> u64 {
        width.mask()
    }

    fn write(&self, _: u64, _: Width, value: u64) {
        if value != UP {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Once: a guest must not fill the log.
        if let Waiting::For(call) = std::mem::replace(&mut *waiting, Waiting::NoMore) {
            let us = self.start.elapsed().as_micros();
            tracing::info!("Guest-boot-time = {us} us {} ms", us / 1000);
            if let Some(call) = call {
                call();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_report_of_the_guest_counts() {
        let timer = BootTimer::new();
        let (told, reports) = std::sync::mpsc::channel();
        timer.on_report(Box::new(move || told.send(()).unwrap()));
        timer.write(0, Width::B1, 122);
        assert!(reports.try_recv().is_err());
        timer.write(0, Width::B1, UP);
        timer.write(0, Width::B1, UP);
        assert_eq!(reports.iter().count(), 1);
        assert_eq!(timer.read(0, Width::B1), 0xff);
    }
}
