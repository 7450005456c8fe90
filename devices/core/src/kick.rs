//! Kicks: guest writes that the kernel turns into an eventfd signal without leaving for user space.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vmm_sys_util::eventfd::EventFd;

use crate::doorbell::Wake;

/// Binds eventfds to guest-physical addresses (ioeventfd).
pub trait KickBinder: Send + Sync {
    /// From now on a write of any width and value at `address` signals `event`. Fails if the host
    /// refuses, such as for an address that is bound already.
    fn bind(&self, address: u64, event: &EventFd) -> io::Result<Binding>;

    /// From now on a write of four bytes with just this `value` at `address` signals `event`; other
    /// writes there reach the device. Fails if the host refuses, such as for a value that is bound
    /// there already.
    fn bind_value(&self, address: u64, value: u32, event: &EventFd) -> io::Result<Binding>;
}

/// An address bound to an eventfd; dropping it unbinds.
pub struct Binding(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Binding {
    /// A binding that ends with a call of `unbind`.
    pub fn new(unbind: impl FnOnce() + Send + Sync + 'static) -> Binding {
        Binding(Some(Box::new(unbind)))
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        if let Some(unbind) = self.0.take() {
            unbind();
        }
    }
}

/// The descriptor of an eventfd, borrowed for as long as the eventfd.
pub fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `event`, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

impl Wake for EventFd {
    fn wake(&self) {
        // Cannot fail but by overflow, and then it is readable already.
        let _ = self.write(1);
    }
}
