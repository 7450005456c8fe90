//! What the device shows to the one who runs the machine, and what it tells him.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use device_core::files::Dial;
use serde::Serialize;

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A client of the socket.
    Host,
    /// A program in the guest.
    Guest,
}

/// One connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Who began it.
    pub origin: Origin,
    /// Port on the host; `None` while its client has not said where to.
    pub host_port: Option<u32>,
    /// Port in the guest.
    pub guest_port: Option<u32>,
    /// `greeting`, `asking`, `knocking`, `open`, `closing` or `draining`.
    pub state: &'static str,
    /// Bytes of data that the guest was given.
    pub to_guest: u64,
    /// Bytes of data that the guest sent.
    pub from_guest: u64,
    /// Bytes of them that wait for the reader on the host.
    pub waiting: u64,
    /// Bytes that the guest has room for.
    pub guest_room: u32,
}

/// The device at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VsockView {
    /// The guest's address.
    pub guest_cid: u64,
    /// The socket, as it was given.
    pub uds_path: PathBuf,
    /// The same for whoever has another working directory.
    pub socket: PathBuf,
    /// A driver has its queues at work.
    pub running: bool,
    /// Connections that there are, those that are on their way included.
    pub connections: Vec<ConnectionView>,
    /// Most that there can be.
    pub most_connections: usize,
    /// Counters by name, since the machine was built.
    pub counters: BTreeMap<&'static str, u64>,
}

/// What can be asked of the device while its machine lives.
pub trait VsockControl: Send + Sync {
    /// All about it.
    fn view(&self) -> VsockView;

    /// Counters by name; waits for nobody.
    fn counters(&self) -> BTreeMap<&'static str, u64>;

    /// Has `first` called once, on the device's thread, when the guest and the host have a connection for the
    /// first time; `first` must not wait.
    fn on_first_connection(&self, first: Box<dyn FnOnce() + Send>);

    /// From now on `dial` connects the guest with the host, and not this process.
    fn dial_by(&self, dial: Arc<dyn Dial>);

    /// Ends all connections, and tells the guest that they are gone (virtio 1.2, 5.10.6.7): as is due where
    /// it goes on elsewhere. New ones wait until the guest has taken note.
    fn reset_connections(&self);
}
