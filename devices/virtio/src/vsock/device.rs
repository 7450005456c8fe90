//! The device: features, configuration, and the way of its queues to the worker and back.

pub mod saved;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use device_core::bus::Width;
use device_core::device::Kit;
use device_core::files::Dial;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use device_core::thread::Duty;
use device_core::worker::Post;
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::counters::Counters;
use super::host::Host;
use super::spec::OpenVsock;
use super::switch::Switch;
use super::table::MOST_CONNECTIONS;
use super::view::{VsockControl, VsockView};
use super::worker::Engine;
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};

/// What the device is called: there is one.
pub const ID: &str = "vsock";

/// VIRTIO_VSOCK_F_STREAM (virtio 1.2, 5.10.3).
const F_STREAM: u64 = 1;
/// Largest size of each queue: packets to the guest, packets from it, events.
const QUEUE_SIZES: [u16; 3] = [256; 3];

/// Why the device could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the host gave it no thread")]
pub struct BuildError(#[from] io::Error);

/// A virtio-vsock device.
pub struct Vsock {
    counters: Arc<Counters>,
    post: Post<Engine>,
    /// Dropped behind what is on the thread: that may be shut in, and have no path to remove the socket by.
    open: OpenVsock,
}

impl Vsock {
    /// Starts the device's thread; its socket listens already. Fails if the host has no thread or descriptor
    /// left.
    pub fn build(open: &OpenVsock, kit: &Kit<'_>) -> Result<Arc<Vsock>, BuildError> {
        let counters = Arc::new(Counters::default());
        let switch = Switch::new(Host::new(open.clone()), counters.clone());
        let engine = Engine::new(switch, kit.memory.clone(), kit.threads.may_spin());
        let threads = kit.threads.fast(ID, Duty::Vsock, 1)?;
        let thread = threads.first().ok_or_else(|| io::Error::other("no thread was made"))?;
        if open.spec().cid == 0 {
            tracing::warn!("vsock: the guest's CID is 0, which is reserved: take 3 or more");
        }
        Ok(Arc::new(Vsock { open: open.clone(), counters, post: thread.host(engine)? }))
    }

    /// Returns after the worker has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.post.settle();
    }

    /// Has time pass for connections.
    #[cfg(any(test, feature = "testing"))]
    pub fn pass_time(&self, by: std::time::Duration) {
        let now = std::time::Instant::now() + by;
        self.post.ask(move |engine, interest| engine.switch.expire(now, interest));
    }
}

impl VirtioDevice for Vsock {
    fn id(&self) -> &str {
        ID
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_VSOCK as u16
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let config = u64::from(self.open.spec().cid).to_le_bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = config.iter().skip(from).take(width.bytes() as usize);
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        let plugged =
            self.post.ask(move |engine, interest| engine.plug(features, queues, notice, interest));
        plugged.map_err(PlugError)
    }

    fn unplug(&self) -> Vec<LiveQueue> {
        self.post.ask(|engine, interest| engine.unplug(interest))
    }

    fn reset(&self) {
        self.post.ask(|engine, interest| engine.reset(interest));
    }

    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, _: u64, saved: &Saved) -> Result<(), LoadError> {
        self.load_saved(saved)
    }
}

impl VsockControl for Vsock {
    fn view(&self) -> VsockView {
        let (running, connections) =
            self.post.ask(|engine, _| (engine.is_running(), engine.connections()));
        let spec = self.open.spec();
        VsockView {
            guest_cid: spec.cid.into(),
            uds_path: spec.path.clone(),
            socket: self.open.absolute().to_path_buf(),
            running,
            connections,
            most_connections: MOST_CONNECTIONS,
            counters: VsockControl::counters(self),
        }
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counters.values().collect()
    }

    fn on_first_connection(&self, first: Box<dyn FnOnce() + Send>) {
        self.post.tell(move |engine, _| engine.switch.on_first = Some(first));
    }

    fn dial_by(&self, dial: Arc<dyn Dial>) {
        self.post.ask(move |engine, _| engine.switch.host.dial_by(dial));
    }

    fn reset_connections(&self) {
        self.post.ask(|engine, interest| engine.reset_connections(interest));
    }
}
