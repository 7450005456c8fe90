//! Doubles for the tests of this crate: an interrupt line and a board that count.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use device_core::bus::{BusDevice, Width};
use device_core::interrupt::IrqLine;
use proptest::prelude::*;

use crate::power::BoardEvents;

#[derive(Default)]
pub struct TestLine(AtomicU32);

impl TestLine {
    /// Pulses since the last call.
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl IrqLine for TestLine {
    fn pulse(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
pub struct TestBoard {
    offs: AtomicU32,
    resets: AtomicU32,
}

impl TestBoard {
    pub fn offs(&self) -> u32 {
        self.offs.load(Ordering::SeqCst)
    }
    pub fn resets(&self) -> u32 {
        self.resets.load(Ordering::SeqCst)
    }
}

impl BoardEvents for TestBoard {
    fn guest_off(&self) {
        self.offs.fetch_add(1, Ordering::SeqCst);
    }
    fn guest_reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
}

/// A device's ports as a driver sees them.
pub trait Ports {
    fn inb(&self, port: u64) -> u8;
    fn outb(&self, port: u64, value: u8);
}

impl<D: BusDevice + ?Sized> Ports for D {
    fn inb(&self, port: u64) -> u8 {
        self.read(port, Width::B1) as u8
    }
    fn outb(&self, port: u64, value: u8) {
        self.write(port, Width::B1, value.into());
    }
}

/// One access of a hostile guest.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub offset: u64,
    pub width: Width,
    pub write: Option<u64>,
}

impl Access {
    /// Does it; returns what was read.
    pub fn perform(self, device: &dyn BusDevice) -> Option<u64> {
        match self.write {
            Some(value) => {
                device.write(self.offset, self.width, value & self.width.mask());
                None
            }
            None => Some(device.read(self.offset, self.width)),
        }
    }
}

/// Up to `count` accesses of any width, most of them in the first `ports` ports.
pub fn accesses(ports: u64, count: usize) -> impl Strategy<Value = Vec<Access>> {
    let offset = prop_oneof![9 => 0..ports, 1 => any::<u64>()];
    let width = prop_oneof![
        6 => Just(Width::B1),
        1 => Just(Width::B2),
        1 => Just(Width::B4),
        1 => Just(Width::B8),
    ];
    let access = (offset, width, any::<Option<u64>>()).prop_map(|(offset, width, write)| Access {
        offset,
        width,
        write,
    });
    prop::collection::vec(access, 0..count)
}

/// Waits until `condition` holds; fails the test after ten seconds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
