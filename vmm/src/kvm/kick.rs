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
        let event = event.try_clone()?;
        let at = IoEventAddress::Mmio(address);
        self.0.register_ioevent(&event, &at, NoDatamatch)?;
        let vm = self.0.clone();
        Ok(Binding::new(move || {
            if let Err(error) = vm.unregister_ioevent(&event, &at, NoDatamatch) {
                tracing::error!("cannot unbind the kick at {address:#x}: {error}");
            }
        }))
    }
}
