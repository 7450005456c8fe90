//! The run loop, and the way from an access to a device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use device_core::bus::{Bus, BusView, Width};
use device_core::counters::SharedCounter;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;

use crate::kvm::vcpu::{Accesses, BoundVcpu, Exit};
use crate::observe::metrics::VcpuCounters;

/// Accesses that no device covers: reads give all ones, writes are dropped.
#[derive(Debug, Default)]
pub struct Unmapped {
    /// Reads of nothing.
    pub reads: SharedCounter,
    /// Writes to nothing.
    pub writes: SharedCounter,
    limit: LogLimit,
}

/// Both address spaces as one vCPU sees them.
pub struct AddressSpaces {
    ports: BusView,
    mmio: BusView,
    unmapped: Arc<Unmapped>,
    counters: Arc<VcpuCounters>,
}

impl AddressSpaces {
    /// As a new vCPU sees them.
    pub fn new(ports: &Arc<Bus>, mmio: &Arc<Bus>, unmapped: Arc<Unmapped>) -> AddressSpaces {
        let counters = Arc::default();
        AddressSpaces { ports: ports.view(), mmio: mmio.view(), unmapped, counters }
    }

    /// Holds no device until the next access.
    pub fn forget(&mut self) {
        self.ports.forget();
        self.mmio.forget();
    }

    /// What the vCPU leaves the guest for.
    pub fn counters(&self) -> Arc<VcpuCounters> {
        self.counters.clone()
    }
}

impl Accesses for AddressSpaces {
    fn port_read(&mut self, port: u16, bytes: &mut [u8]) {
        self.counters.port_reads.add(1);
        read(&mut self.ports, &self.unmapped, "port", port.into(), bytes);
    }

    fn port_write(&mut self, port: u16, bytes: &[u8]) {
        self.counters.port_writes.add(1);
        write(&mut self.ports, &self.unmapped, "port", port.into(), bytes);
    }

    fn mmio_read(&mut self, address: u64, bytes: &mut [u8]) {
        self.counters.mmio_reads.add(1);
        read(&mut self.mmio, &self.unmapped, "address", address, bytes);
    }

    fn mmio_write(&mut self, address: u64, bytes: &[u8]) {
        self.counters.mmio_writes.add(1);
        write(&mut self.mmio, &self.unmapped, "address", address, bytes);
    }
}

/// Cuts an access of an odd length (one that crosses a page) into single bytes.
fn width_of(len: usize) -> Width {
    Width::of(len).unwrap_or(Width::B1)
}

fn read(bus: &mut BusView, unmapped: &Unmapped, space: &str, address: u64, bytes: &mut [u8]) {
    let width = width_of(bytes.len());
    for (at, item) in (0..).step_by(width as usize).zip(bytes.chunks_mut(width as usize)) {
        let address = address.wrapping_add(at);
        let value = bus.read(address, width).unwrap_or_else(|| {
            unmapped.reads.increment();
            guest_warn!(unmapped.limit, "the guest reads unmapped {space} {address:#x}, {width:?}");
            width.mask()
        });
        item.copy_from_slice(&value.to_le_bytes()[..item.len()]);
    }
}

fn write(bus: &mut BusView, unmapped: &Unmapped, space: &str, address: u64, bytes: &[u8]) {
    let width = width_of(bytes.len());
    for (at, item) in (0..).step_by(width as usize).zip(bytes.chunks(width as usize)) {
        let address = address.wrapping_add(at);
        let mut value = [0; 8];
        value[..item.len()].copy_from_slice(item);
        let value = u64::from_le_bytes(value);
        if !bus.write(address, width, value) {
            unmapped.writes.increment();
            guest_warn!(
                unmapped.limit,
                "the guest writes {value:#x} to unmapped {space} {address:#x}, {width:?}"
            );
        }
    }
}

/// Runs the guest until something ends that; `None` when `stop` asked for it.
pub fn run(
    vcpu: &mut BoundVcpu,
    spaces: &mut AddressSpaces,
    stop: &AtomicBool,
) -> std::io::Result<Option<Exit>> {
    // Pairs with the store before a kick. A kick after the look makes the next entry return at once.
    while !stop.load(Ordering::Acquire) {
        match vcpu.run(spaces)? {
            Exit::Access => {}
            Exit::Kicked => spaces.counters.kicks.add(1),
            end => return Ok(Some(end)),
        }
    }
    vcpu.settle(spaces);
    vcpu.excuse_pause();
    Ok(None)
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
