//! Kicks by ioeventfd.

use std::io;
use std::sync::Arc;

use device_core::kick::{Binding, KickBinder};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

/// Binds guest-physical addresses of one VM.
pub struct Kicks(pub Arc<VmFd>);

impl KickBinder for Kicks {
    fn bind(&self, address: u64, event: &EventFd) -> io::Result<Binding> {
        self.register(address, NoDatamatch, event)
    }

    fn bind_value(&self, address: u64, value: u32, event: &EventFd) -> io::Result<Binding> {
        self.register(address, value, event)
    }
}

impl Kicks {
    /// Binds writes that are as wide as `value` and equal to it, or all of them.
    fn register<T>(&self, address: u64, value: T, event: &EventFd) -> io::Result<Binding>
    where
        T: Into<u64> + Copy + Send + Sync + 'static,
    {
        let event = event.try_clone()?;
        let at = IoEventAddress::Mmio(address);
        self.0.register_ioevent(&event, &at, value)?;
        let vm = self.0.clone();
        Ok(Binding::new(move || {
            if let Err(error) = vm.unregister_ioevent(&event, &at, value) {
                tracing::error!("cannot unbind the kick at {address:#x}: {error}");
            }
        }))
    }
}

#[cfg(test)]
#[path = "kick_test.rs"]
mod tests;
