//! A TAP whose frames the host's kernel moves (vhost-net): it reads the guest's rings itself, in a thread of its own.
//!
//! ```text
//! guest ── kick: the ring's ioeventfd ──► vhost-net ──► TAP
//! guest ◄── call: the vector's irqfd ──── vhost-net ◄── TAP
//! ```
//! What is here lends it the rings of a pair and takes them back, on the thread of the pair's lane, which moves no frames.

#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod kernel;
mod queue;

use std::io;

use device_core::thread::Duty;

use crate::backend::tap::{self, Tap};
use crate::backend::{Limits, NetBackend};
use crate::frame::Offloads;
use crate::rss::{Hasher, Steering};

pub use kernel::{Kernel, OpenVhostError, open};
pub use queue::{Calls, Queue, RX, TX};

/// The control half: that of the TAP, which the kernel spreads flows over as it likes.
pub struct Backend {
    /// "vhost-net on tap NAME".
    name: String,
    tap: Tap,
}

/// Puts `kernels`, one for each queue, in the place of the lanes of an open TAP. Fails if the host has no descriptor left.
pub fn over<C: Calls>(
    (tap, queues): (Tap, Vec<tap::Queue>),
    kernels: Vec<C>,
) -> io::Result<(Backend, Vec<Queue<C>>)> {
    let queues = queues.into_iter().zip(kernels);
    let queues = queues.map(|(tap, kernel)| Queue::new(tap, kernel)).collect::<io::Result<_>>()?;
    Ok((Backend { name: format!("vhost-net on {}", tap.name()), tap }, queues))
}

impl NetBackend for Backend {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> Limits {
        self.tap.limits()
    }

    fn duty(&self) -> Duty {
        Duty::VhostLane
    }

    fn takes_rings(&self) -> bool {
        true
    }

    fn accept(&mut self, rx: Offloads) -> io::Result<()> {
        self.tap.accept(rx)
    }

    /// No table is ever offered, and nobody here could sort.
    fn steers(&self) -> bool {
        true
    }

    fn steer(&mut self, _: Option<&Hasher>) -> io::Result<Steering> {
        self.tap.steer(None)
    }
}
