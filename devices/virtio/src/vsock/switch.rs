//! What all parts of the device's work share: the connections, the host's side, resets that are owed.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::guest_log::LogLimit;
use device_core::worker::{EventSet, Interest, Source};

use super::connection::{Connection, Phase};
use super::counters::Counters;
use super::host::Host;
use super::packet::{HOST_CID, Header, Op, STREAM};
use super::table::Table;

/// Resets that are owed to the guest before its packets have to wait (virtio 1.2, 5.10.6.1): those that it
/// causes are bounded by this, and those that the host causes by the number of connections.
const MOST_RESETS: usize = 256;

/// How long the guest's reader has to take what it was sent, and the host's what waits for him, once there
/// is nothing more to come.
const DRAIN_TIME: Duration = Duration::from_secs(60);

/// Names of descriptors: those of queues and of the socket, and from here on those of connections.
pub(super) const FIRST_CONNECTION: Source = 8;

/// The device without its queues.
pub(super) struct Switch {
    pub host: Host,
    pub table: Table,
    /// Resets that are owed.
    pub resets: VecDeque<Header>,
    pub counters: Arc<Counters>,
    /// The first connection has been told of, or there is nobody to tell.
    pub on_first: Option<Box<dyn FnOnce() + Send>>,
    /// Lines that clients and guests can cause.
    pub log: LogLimit,
}

impl Switch {
    /// Without connections.
    pub fn new(host: Host, counters: Arc<Counters>) -> Switch {
        Switch {
            host,
            table: Table::new(),
            resets: VecDeque::new(),
            counters,
            on_first: None,
            log: LogLimit::new(),
        }
    }

    /// The guest's address.
    pub fn cid(&self) -> u64 {
        self.host.open().spec().cid.into()
    }

    /// Nothing that may cause a reset is taken on.
    pub fn is_clogged(&self) -> bool {
        self.resets.len() >= MOST_RESETS
    }

    /// Answers a packet of the guest by a reset.
    pub fn answer_reset(&mut self, to: &Header) {
        self.resets.push_back(to.reset());
    }

    /// Watches a connection's stream from now on; false if the host refuses. For room in it only while
    /// something waits for that: else each read of a peer would wake the worker.
    pub fn watch(&mut self, slot: u16, interest: &mut Interest<'_>) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        let set = watched(connection);
        let Some(stream) = &connection.stream else { return false };
        interest.watch(stream.as_fd(), slot.saturating_add(FIRST_CONNECTION), set).is_ok()
    }

    /// The same once that has changed; false if the connection is gone, since the host refuses.
    pub fn watch_room(&mut self, slot: u16, interest: &mut Interest<'_>) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        if connection.stream.is_none() || connection.watches_room != connection.backlog.is_empty() {
            return true;
        }
        let (set, source) = (watched(connection), slot.saturating_add(FIRST_CONNECTION));
        let Some(stream) = &connection.stream else { return true };
        if interest.change(stream.as_fd(), source, set).is_ok() {
            return true;
        }
        self.abort(slot, interest);
        false
    }

    /// Takes a connection out of the table and closes the host's end; the guest is told nothing.
    pub fn close(&mut self, slot: u16, interest: &mut Interest<'_>) {
        if let Some(Connection { stream: Some(stream), .. }) = self.table.remove(slot) {
            // It is gone from there with its last descriptor in any case.
            let _ = interest.forget(stream.as_fd());
        }
    }

    /// Ends a connection by force: the guest gets a reset, if it knows of it, the host the end of its stream.
    pub fn abort(&mut self, slot: u16, interest: &mut Interest<'_>) {
        self.owe_reset(slot);
        self.close(slot, interest);
    }

    /// The guest has done with a connection: it may use its ports again. What it sent still goes to the host.
    pub fn finish(&mut self, slot: u16, now: Instant, interest: &mut Interest<'_>) {
        self.table.unname(slot);
        let Some(connection) = self.table.get(slot) else { return };
        if connection.backlog.is_empty() {
            return self.close(slot, interest);
        }
        connection.phase = Phase::Draining;
        connection.owed = Default::default();
        self.table.set_deadline(slot, now.checked_add(DRAIN_TIME));
    }

    /// Owes the guest a reset of this connection, unless it has never heard of it.
    pub fn owe_reset(&mut self, slot: u16) {
        let Some(header) = self.header(slot, Op::Reset) else { return };
        if self.table.get(slot).is_some_and(|connection| !connection.owed.request) {
            self.resets.push_back(header);
        }
    }

    /// The header of a packet of this connection; `None` if it has no name.
    pub fn header(&mut self, slot: u16, op: Op) -> Option<Header> {
        let dst_cid = self.cid();
        let connection = self.table.get(slot)?;
        let ports = connection.ports?;
        let (buf_alloc, fwd_cnt) = match op {
            // The last word on a connection: there is no room for it any more.
            Op::Reset => (0, 0),
            _ => connection.from_guest.tell(),
        };
        let flags = if op == Op::Shutdown { connection.host_shut } else { 0 };
        Some(Header {
            src_cid: HOST_CID,
            dst_cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len: 0,
            kind: STREAM,
            op: op as u16,
            flags,
            buf_alloc,
            fwd_cnt,
        })
    }

    /// Both sides have accepted.
    pub fn opened(&mut self) {
        self.counters.connections_opened.add(1);
        if let Some(tell) = self.on_first.take() {
            tell();
        }
    }

    /// Closes all connections; the guest is told nothing, and is owed nothing any more.
    pub fn close_all(&mut self, interest: &mut Interest<'_>) {
        for slot in self.table.slots() {
            self.close(slot, interest);
        }
        self.resets.clear();
    }
}

/// What a connection's stream is watched for from now on.
fn watched(connection: &mut Connection) -> EventSet {
    connection.watches_room = !connection.backlog.is_empty();
    let room = if connection.watches_room { EventSet::OUT } else { EventSet::empty() };
    EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED | room
}
