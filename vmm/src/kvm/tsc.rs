//! The time-stamp counter of a vCPU: what KVM adds to the host's, and how it goes on in another process
//! (`Documentation/virt/kvm/devices/vcpu.rst`, 4.1).

use std::io;

use kvm_bindings::{
    KVM_CLOCK_HOST_TSC, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_clock_data,
    kvm_device_attr,
};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// The attribute, with the number at `addr`.
fn attribute(addr: u64) -> kvm_device_attr {
    kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr,
        ..Default::default()
    }
}

/// What KVM adds to the host's counter; `None` if it does not tell (before Linux 5.16).
pub fn offset(fd: &VcpuFd) -> Option<u64> {
    let mut offset = 0u64;
    let attribute = attribute((&raw mut offset).expose_provenance() as u64);
    // SAFETY: the attribute is whole, and KVM writes the one number that it has the address of.
    let result = unsafe { ioctl_with_ref(fd, KVM_GET_DEVICE_ATTR(), &attribute) };
    (result == 0).then_some(offset)
}

/// Replaces what KVM adds. Fails if KVM refuses.
pub fn set_offset(fd: &VcpuFd, offset: u64) -> io::Result<()> {
    let attribute = attribute((&raw const offset).expose_provenance() as u64);
    // SAFETY: the attribute is whole, and KVM reads the one number that it has the address of.
    match unsafe { ioctl_with_ref(fd, KVM_SET_DEVICE_ATTR(), &attribute) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What has passed for a guest between its save and its load, by its paravirtual clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Nanoseconds; next to none if its clock was frozen.
    pub nanos: u64,
    /// The host's counters when that clock was read, then and now; `None` if one host does not tell.
    pub host_tsc: Option<(u64, u64)>,
}

impl Passage {
    /// Between two readings of the clock.
    pub fn between(then: &kvm_clock_data, now: &kvm_clock_data) -> Passage {
        let known = then.flags & now.flags & KVM_CLOCK_HOST_TSC != 0;
        Passage {
            nanos: now.clock.saturating_sub(then.clock),
            host_tsc: known.then_some((then.host_tsc, now.host_tsc)),
        }
    }

    /// Ticks of a counter of `khz` in it.
    pub fn ticks(&self, khz: u32) -> u64 {
        let ticks = u128::from(self.nanos).saturating_mul(khz.into()) / 1_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The offset that lets a counter of `khz`, which had the offset `then`, go on with the paravirtual clock, to the
    /// tick; `None` if a host does not tell what it takes.
    pub fn offset(&self, then: u64, khz: u32) -> Option<u64> {
        let (host_then, host_now) = self.host_tsc?;
        Some(then.wrapping_add(self.ticks(khz)).wrapping_add(host_then).wrapping_sub(host_now))
    }
}

#[cfg(test)]
#[path = "tsc_test.rs"]
mod tests;
