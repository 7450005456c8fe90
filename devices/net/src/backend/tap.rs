//! TAP devices: single- and multi-queue, one file for each lane, a vnet header before each frame.

mod ioctl;
mod open;
mod queue;

use std::fs::File;
use std::io;

use crate::backend::{Limits, NetBackend};
use crate::frame::Offloads;

pub(crate) use open::is_gone;
pub use open::{OpenTapError, Opened, open_by_fds, open_by_name};
pub use queue::Queue;

/// The control half of an open TAP.
pub struct Tap {
    /// "tap NAME".
    name: String,
    /// Any of its queues: offloads belong to the whole device.
    control: File,
    limits: Limits,
}

impl NetBackend for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn accept(&mut self, rx: Offloads) -> io::Result<()> {
        ioctl::set_offload(&self.control, tun_flags(rx & self.limits.rx))
    }
}

/// The kernel's flags for what the reader can take (linux/if_tun.h).
fn tun_flags(offloads: Offloads) -> u32 {
    // Without checksums nothing else is possible; the kernel takes UDP for both versions or none.
    if !offloads.contains(Offloads::CSUM) {
        return 0;
    }
    let mut flags = libc::TUN_F_CSUM;
    if offloads.contains(Offloads::TSO4) {
        flags |= libc::TUN_F_TSO4;
    }
    if offloads.contains(Offloads::TSO6) {
        flags |= libc::TUN_F_TSO6;
    }
    if offloads.contains(Offloads::ECN) && flags & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) != 0 {
        flags |= libc::TUN_F_TSO_ECN;
    }
    if offloads.contains(Offloads::USO4 | Offloads::USO6) {
        flags |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
    }
    flags
}
