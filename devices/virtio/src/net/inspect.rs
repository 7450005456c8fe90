//! What the card shows to the one who runs the machine, and what it lets him ask.

use std::sync::Arc;

use net::control::inspect::{
    Completions, Condition, Driver, Inspection, ManagementRing, Pair, Place, Ring,
};
use net::control::{ExplainError, Fault, NicControl, NoSuchFault, NoSuchRequest};
use net::port::PortControl;
use net::rss::{Explained, FlowKey};
use net::spec::Model;

use super::Net;
use super::features;
use crate::device::VirtioDevice;
use crate::transport::common::{Look, QueueLook, Transport};

/// Bytes of a descriptor, and of an entry of the used ring.
const DESCRIPTOR: u16 = 16;
const USED: u16 = 8;

/// A network card as its parts see it together: the device knows frames, the transport registers.
pub struct Nic {
    net: Arc<Net>,
    transport: Arc<Transport>,
}

impl Nic {
    /// Of a device and what it stands on.
    pub fn new(net: Arc<Net>, transport: Arc<Transport>) -> Nic {
        Nic { net, transport }
    }
}

/// The queue of that number as a ring for frames.
fn ring(look: &Look, index: u16) -> Option<Ring> {
    let queue = find(look, index)?;
    Some(Ring {
        entries: queue.entries,
        entry_bytes: DESCRIPTOR,
        place: Place::Ram,
        offered: queue.offered,
        completions: Completions { index, entries: queue.entries, entry_bytes: USED },
        vector: queue.vector,
    })
}

fn find(look: &Look, index: u16) -> Option<&QueueLook> {
    look.queues.iter().find(|queue| queue.index == index)
}

fn condition(look: &Look) -> Condition {
    match (look.needs_reset, look.is_running) {
        (true, _) => Condition::Failed,
        (false, true) => Condition::Running,
        (false, false) => Condition::Idle,
    }
}

impl NicControl for Nic {
    fn id(&self) -> &str {
        self.net.id()
    }

    fn port(&self) -> &dyn PortControl {
        self.net.port()
    }

    fn inspect(&self) -> Inspection {
        let (look, port, net) = (self.transport.look(), self.port(), &self.net);
        let control = net.control_index(look.features);
        let pairs = (0..).zip(port.lane_counters()).map(|(index, counters): (u16, _)| {
            let (rx, tx) = (index.wrapping_mul(2), index.wrapping_mul(2).wrapping_add(1));
            let of_pair = |queue: u16| (queue < control).then(|| ring(&look, queue)).flatten();
            Pair { index, tx: of_pair(tx), rx: of_pair(rx), counters }
        });
        let (resets, last_reset) = net.resets();
        Inspection {
            id: net.id().to_string(),
            model: Model::Virtio,
            backend: port.backend().to_string(),
            mac: net.mac(),
            condition: condition(&look),
            link_up: port.is_link_up(),
            mtu: None,
            max_mtu: net.port().limits().mtu,
            driver: Driver { about: None, features: features::names(look.features) },
            management: find(&look, control)
                .map(|queue| ManagementRing {
                    name: "control",
                    entries: queue.entries,
                    vector: queue.vector,
                })
                .into_iter()
                .collect(),
            pairs: pairs.collect(),
            steering: port.steering(),
            totals: port.total_counters(),
            allowed: port.allowed(),
            allowances: port.allowances(),
            resets,
            last_reset,
            faults: Vec::new(),
            capture: port.capture(),
            measures_latency: port.measures_latency(),
        }
    }

    fn explain(&self, flow: &FlowKey) -> Result<Explained, ExplainError> {
        let look = self.transport.look();
        let vector = |lane: u16| find(&look, lane.checked_mul(2)?)?.vector;
        Ok(self.net.port().explain(flow, vector).ok_or(ExplainError::NoTable)??)
    }

    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    fn inject(&self, _: Fault) -> Result<(), NoSuchFault> {
        Err(NoSuchFault)
    }

    fn ask_for_reset(&self) -> Result<(), NoSuchRequest> {
        Err(NoSuchRequest)
    }

    fn clear_faults(&self) {}
}

#[cfg(test)]
#[path = "inspect_test.rs"]
mod tests;
