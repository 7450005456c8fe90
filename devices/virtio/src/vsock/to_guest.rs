//! Packets to the guest: what clients of the socket and listeners of the host send, and what the guest is
//! owed besides.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use device_core::fault::GuestFault;
use device_core::guest_warn;
use device_core::worker::Interest;

use super::client::{self, Greeting};
use super::connection::{Connection, Phase, SHUT_BOTH};
use super::packet::{Op, SHUT_RECEIVE, SHUT_SEND};
use super::queues::Receive;
use super::switch::Switch;
use super::view::Origin;

/// How long a client may take to say where to.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// How long the guest may take to accept him.
pub(super) const ASKING: Duration = Duration::from_secs(2);
/// How long the guest may take to answer the end of both directions by a reset.
pub(super) const CLOSING: Duration = Duration::from_secs(2);
/// Bytes of one connection, before others have their turn.
const SHARE: u32 = 64 << 10;

/// Bytes that the guest is shown at once, as it can work on them meanwhile.
const BULK: usize = 32 << 10;

/// Clients that are taken in between two looks at all else.
const CLIENTS: usize = 64;

/// Clients that are left to be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    /// There are none.
    None,
    /// There may be some.
    More,
    /// There are some, and the host has no descriptor for the next.
    NoDescriptor,
}

/// What came of serving one connection.
enum Served {
    /// There is nothing more to do for now.
    Done,
    /// There may be more, after others.
    More,
    /// The guest has no buffer.
    Starved,
}

/// What came of serving all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Nothing is left to do.
    Done,
    /// Something is left.
    More,
    /// Something is left, and the guest has no buffer for it.
    Starved,
}

impl Switch {
    /// Takes new clients in, some at a time; what there is left.
    pub fn accept(&mut self, now: Instant, interest: &mut Interest<'_>) -> Clients {
        for _ in 0..CLIENTS {
            if self.is_clogged() {
                break;
            }
            let stream = match self.host.accept() {
                Ok(Some(stream)) => stream,
                Ok(None) => return Clients::None,
                Err(error) => {
                    guest_warn!(self.log, "vsock: a client cannot be taken in: {error}");
                    return Clients::NoDescriptor;
                }
            };
            let window = self.table.window();
            let client = Connection::new(Origin::Host, Phase::Greeting, Some(stream), window);
            let Some(slot) = self.table.insert(client) else {
                // His stream has ended with that.
                self.counters.connections_refused.add(1);
                continue;
            };
            if !self.watch(slot, interest) {
                self.close(slot, interest);
                continue;
            }
            self.table.set_deadline(slot, now.checked_add(GREETING));
            self.table.wake(slot);
        }
        Clients::More
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant, interest: &mut Interest<'_>) {
        while let Some(slot) = self.table.due(now) {
            let Some(connection) = self.table.get(slot) else { continue };
            match connection.phase {
                Phase::Greeting => {
                    self.counters.bad_greetings.add(1);
                    self.close(slot, interest);
                }
                Phase::Asking => {
                    self.counters.connections_refused.add(1);
                    self.abort(slot, interest);
                }
                Phase::Knocking { until } => self.knock(slot, until, now, interest),
                Phase::Open => self.abort(slot, interest),
                Phase::Draining => self.close(slot, interest),
            }
        }
    }

    /// Puts what is owed before the guest, for up to `budget` turns of connections.
    pub fn serve(
        &mut self,
        rx: &mut Receive,
        budget: usize,
        now: Instant,
        interest: &mut Interest<'_>,
    ) -> Result<Round, GuestFault> {
        let mut starved = !self.put_resets(rx)?;
        // Each has its turn even if the guest has no buffers: what comes from it goes on.
        for _ in 0..budget.min(self.table.woken()) {
            let Some(slot) = self.table.next_woken() else { break };
            if !self.advance(slot, interest) {
                continue;
            }
            let served = match starved {
                true => Served::Starved,
                false => self.serve_one(slot, rx, now)?,
            };
            match served {
                Served::Done => continue,
                Served::More => {}
                Served::Starved => starved = true,
            }
            self.table.wake(slot);
        }
        Ok(match (self.table.woken(), self.resets.is_empty()) {
            (0, true) => Round::Done,
            _ if starved => Round::Starved,
            _ => Round::More,
        })
    }

    /// Puts the resets that are owed before the guest; false if it has no buffer for one. They go before all
    /// else: a connection that has the ports of one that was reset comes behind its reset.
    fn put_resets(&mut self, rx: &mut Receive) -> Result<bool, GuestFault> {
        while let Some(reset) = self.resets.front() {
            if !rx.put(reset)? {
                return Ok(false);
            }
            self.resets.pop_front();
            self.counters.rx_packets.add(1);
            self.counters.resets_sent.add(1);
        }
        Ok(true)
    }

    fn serve_one(
        &mut self,
        slot: u16,
        rx: &mut Receive,
        now: Instant,
    ) -> Result<Served, GuestFault> {
        if !self.pay(slot, rx, now)? {
            return Ok(Served::Starved);
        }
        let served = self.read_for(slot, rx)?;
        // What the read has brought about: the end of the stream, the wish for credit.
        if !self.pay(slot, rx, now)? {
            return Ok(Served::Starved);
        }
        Ok(served)
    }

    /// Does what needs no buffer of the guest; false if the connection is gone, or not so far yet.
    fn advance(&mut self, slot: u16, interest: &mut Interest<'_>) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        connection.pass_backlog();
        if !self.watch_room(slot, interest) {
            return false;
        }
        let Some(connection) = self.table.get(slot) else { return false };
        match connection.phase {
            Phase::Greeting => self.greet(slot, interest),
            Phase::Asking if connection.hung_up => {
                self.counters.connections_refused.add(1);
                self.abort(slot, interest);
                false
            }
            Phase::Asking => true,
            Phase::Knocking { .. } => false,
            Phase::Open => {
                // There is nobody, and nothing more for the guest or nothing that it would take.
                let no_more = connection.host_shut & SHUT_SEND != 0;
                if connection.hung_up && (no_more || connection.guest_shut & SHUT_RECEIVE != 0) {
                    connection.host_ends(SHUT_BOTH);
                }
                true
            }
            Phase::Draining => {
                if connection.backlog.is_empty() {
                    self.close(slot, interest);
                }
                false
            }
        }
    }

    /// Hears a client out; whether the guest is to be asked.
    fn greet(&mut self, slot: u16, interest: &mut Interest<'_>) -> bool {
        let Some(Connection { stream: Some(stream), hung_up, .. }) = self.table.get(slot) else {
            return false;
        };
        let gone = *hung_up;
        match client::read(stream) {
            Greeting::NotYet if !gone => return false,
            Greeting::Port(port) => {
                let named = self.table.name(slot, port).is_some();
                if let Some(connection) = self.table.get(slot).filter(|_| named) {
                    connection.phase = Phase::Asking;
                    connection.owed.request = true;
                    // The guest's time runs from when it is asked.
                    self.table.set_deadline(slot, None);
                    return true;
                }
            }
            Greeting::NotYet | Greeting::Bad => self.counters.bad_greetings.add(1),
        }
        self.close(slot, interest);
        false
    }

    /// Puts the packets that are owed before the guest; false if it has no buffer for one.
    fn pay(&mut self, slot: u16, rx: &mut Receive, now: Instant) -> Result<bool, GuestFault> {
        loop {
            let owed = self.table.get(slot).and_then(|connection| connection.owed.first());
            let Some(op) = owed else { return Ok(true) };
            let Some(header) = self.header(slot, op) else { return Ok(true) };
            if !rx.put(&header)? {
                return Ok(false);
            }
            self.counters.rx_packets.add(1);
            let Some(connection) = self.table.get(slot) else { return Ok(true) };
            connection.owed.paid(op);
            let (phase, shut) = (connection.phase, connection.host_shut);
            if op == Op::Request && phase == Phase::Asking {
                self.table.set_deadline(slot, now.checked_add(ASKING));
            }
            if op == Op::Shutdown && shut == SHUT_BOTH {
                self.table.set_deadline(slot, now.checked_add(CLOSING));
            }
        }
    }

    /// Reads into the guest's buffers as much as it has room for.
    fn read_for(&mut self, slot: u16, rx: &mut Receive) -> Result<Served, GuestFault> {
        let Some(connection) = self.table.get(slot) else { return Ok(Served::Done) };
        if !connection.is_read() {
            return Ok(Served::Done);
        }
        let want = connection.to_guest.free().min(SHARE);
        if want == 0 {
            if !std::mem::replace(&mut connection.asked_for_credit, true) {
                connection.owed.credit_request = true;
            }
            return Ok(Served::Done);
        }
        let Some(room) = rx.reserve(want as usize, connection.streams)? else {
            return Ok(Served::Starved);
        };
        let Some(stream) = &connection.stream else { return Ok(Served::Done) };
        let (received, room) = (stream.receive_into(room), room.len());
        let bytes = match received {
            Ok(bytes @ 1..) => bytes,
            Ok(_) => {
                rx.release();
                // One that has hung up would not read either.
                let gone = connection.hung_up;
                connection.host_ends(if gone { SHUT_BOTH } else { SHUT_SEND });
                return Ok(Served::Done);
            }
            Err(error) => {
                rx.release();
                connection.readable = false;
                if error.kind() != ErrorKind::WouldBlock {
                    connection.host_ends(SHUT_BOTH);
                }
                return Ok(Served::Done);
            }
        };
        connection.streams = bytes == room;
        // No more than the credit.
        connection.to_guest.sent(u32::try_from(bytes).unwrap_or(u32::MAX));
        connection.bytes_to_guest = connection.bytes_to_guest.saturating_add(bytes as u64);
        let Some(header) = self.header(slot, Op::Data) else {
            rx.release();
            return Ok(Served::Done);
        };
        let packets = rx.deliver(&header, bytes)?;
        self.counters.rx_packets.add(packets.into());
        self.counters.rx_bytes.add(bytes as u64);
        if bytes >= BULK {
            self.counters.interrupts.add(rx.publish()?.into());
        }
        Ok(Served::More)
    }
}
