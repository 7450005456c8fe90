//! virtio-vsock (virtio 1.2, 5.10): stream sockets between the guest and Unix sockets of the host.
//!
//! ```text
//!              transmit ─► from_guest ─►              ─► sockets at PATH_PORT
//! guest queues                          switch, table
//!              receive  ◄─  to_guest  ◄─              ◄─ clients of the socket at PATH
//! ```
//! The host's side speaks Firecracker's protocol: who connects to the socket at PATH says `CONNECT PORT` and
//! hears `OK HOST_PORT` once the guest has accepted; what the guest connects to, at port N of the host, is
//! who listens at `PATH_N`. One worker on a thread of its own does all of it. Bytes to the guest wait in
//! their socket until the guest has room and buffers for them; bytes to the host wait in a bounded buffer of
//! their own connection while its reader is slow. So nobody waits for another, and no memory grows.

mod backlog;
mod client;
mod connection;
mod counters;
mod credit;
mod device;
mod from_guest;
mod host;
mod packet;
mod queues;
mod spec;
mod switch;
mod table;
mod to_guest;
mod view;
mod worker;

pub use counters::Counters;
pub use device::{BuildError, ID, Vsock};
pub use packet::{HEADER_LEN, HOST_CID, Header, Op, SHUT_RECEIVE, SHUT_SEND, STREAM};
pub use spec::{Key, OpenError, OpenVsock, ParseSpecError, SpecError, VsockSpec};
pub use table::MOST_CONNECTIONS;
pub use view::{ConnectionView, Origin, VsockControl, VsockView};

#[cfg(test)]
mod clients_test;
#[cfg(test)]
mod flow_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod life_test;
#[cfg(test)]
mod streams_test;
