//! What of a vsock outlives its process: nothing of its connections, which end with it.

use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::Vsock;

/// A vsock without its queues. Its CID is the owner's to give: the guest reads it again when it is told that its
/// connections are gone (virtio 1.2, 5.10.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockState {}

/// Once its queues are plugged the guest is told by VIRTIO_VSOCK_EVENT_TRANSPORT_RESET that its connections are gone,
/// and has no new ones until it has heard.
impl Snapshot for Vsock {
    type State = VsockState;
    const KIND: &'static str = "virtio-vsock";
    const VERSION: u16 = 1;

    fn save(&self) -> VsockState {
        VsockState {}
    }

    fn load(&self, _: VsockState) -> Result<(), LoadError> {
        self.post.ask(|engine, interest| engine.reset_connections(interest));
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;
