//! TAP devices: single- and multi-queue, one file for each lane, a vnet header before each frame.

mod batch;
mod ioctl;
mod open;
mod queue;

use std::fs::File;
use std::io;

use crate::backend::{Limits, NetBackend};
use crate::frame::Offloads;
use crate::rss::steer::Steerer;
use crate::rss::{Hasher, Steering};

pub use open::{OpenTapError, Opened, attach_for_others, make, open_by, open_by_fds, open_by_name};
pub use queue::Queue;

/// The control half of an open TAP.
pub struct Tap {
    /// "tap NAME".
    name: String,
    /// Any of its queues: offloads belong to the whole device.
    control: File,
    limits: Limits,
    /// What steers in the kernel, if there are several queues and the process may.
    steerer: Option<Steerer>,
    /// Whether it does.
    steering: bool,
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

    fn steers(&self) -> bool {
        self.steerer.is_some()
    }

    fn steer(&mut self, to: Option<&Hasher>) -> io::Result<Steering> {
        let Some(steerer) = &mut self.steerer else { return Ok(Steering::ByFlow) };
        if let Some(hasher) = to {
            steerer.update(hasher);
            if !self.steering {
                ioctl::set_steering(&self.control, Some(steerer.program()))?;
                self.steering = true;
            }
            return Ok(Steering::Exact);
        }
        if self.steering {
            ioctl::set_steering(&self.control, None)?;
            self.steering = false;
        }
        Ok(Steering::ByFlow)
    }
}

/// A TAP may outlive this process; its next owner shall find it as it was made.
impl Drop for Tap {
    fn drop(&mut self) {
        if let Err(error) = self.steer(None) {
            tracing::warn!("{} keeps its steering program: {error}", self.name);
        }
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
