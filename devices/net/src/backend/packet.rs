//! Interfaces of the host by packet sockets: one end of a veth pair, a macvtap, a physical interface. Frames are
//! received out of rings that the kernel fills, and sent many in a call, each with a vnet header.
//!
//! The guest is a station beside the host on the interface: the host's own stack sees what comes, too.

mod batch;
mod finish;
mod open;
mod queue;
mod ring;
mod socket;
mod spread;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use device_core::thread::Duty;

use crate::backend::{Limits, NetBackend};
use crate::frame::Offloads;

pub use open::{OpenPacketError, Opened, open_by_name};
pub use queue::Queue;
pub use ring::RING;

/// The control half of an open interface.
pub struct Packet {
    /// "dev NAME".
    name: String,
    limits: Limits,
    /// What the guest takes, for the queues to see.
    accepted: Arc<AtomicU32>,
    /// Any of the queues: what spreads frames belongs to all of them.
    first: Arc<queue::Shared>,
    queues: u16,
    /// How many of them get frames.
    spread: u16,
}

impl NetBackend for Packet {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn duty(&self) -> Duty {
        Duty::PacketLane
    }

    /// Others are done before a frame is handed over.
    fn accept(&mut self, rx: Offloads) -> io::Result<()> {
        self.accepted.store(rx.bits(), Ordering::Relaxed); // frames before and after may come by either
        Ok(())
    }

    fn spread(&mut self, count: u16) -> io::Result<()> {
        if self.queues > 1 && count != self.spread {
            self.first.socket.share_out(&mut spread::program(count))?;
            self.spread = count;
        }
        Ok(())
    }
}
