//! Packets from the guest: checked, and done what they say.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use device_core::fault::GuestFault;
use device_core::scatter::Scatter;
use device_core::worker::Interest;

use super::client;
use super::connection::{Connection, Phase, Ports, SHUT_BOTH};
use super::packet::{HEADER_LEN, HOST_CID, Header, Op, SHUT_SEND, STREAM};
use super::queues::Transmit;
use super::switch::Switch;
use super::view::Origin;

/// How long somebody on the host may have no room for the guest's connection: as long as Linux waits for it.
const KNOCKING: Duration = Duration::from_secs(2);
/// Between two tries.
const KNOCK: Duration = Duration::from_millis(5);

/// What a packet says about a connection that there is.
enum Fate {
    /// It goes on.
    Stays,
    /// The guest has done with it.
    Finished,
    /// The guest has done with it, and waits for a reset.
    Answered,
    /// The guest broke the rules.
    Aborted,
}

impl Switch {
    /// Takes the guest's next packet, if there is one; whether there was. `packet` is used for its place in
    /// memory.
    pub fn take_packet(
        &mut self,
        tx: &mut Transmit,
        packet: &mut Scatter,
        now: Instant,
        interest: &mut Interest<'_>,
    ) -> Result<bool, GuestFault> {
        let Some(head) = tx.next(packet)? else { return Ok(false) };
        self.counters.tx_packets.add(1);
        let mut bytes = [0; HEADER_LEN];
        match packet.pull(&mut bytes) {
            true => self.heed(&Header::parse(&bytes), packet, now, interest),
            false => self.counters.malformed_packets.add(1),
        }
        packet.clear();
        tx.complete(head)?;
        Ok(true)
    }

    /// Does what a packet says; `data` is what lies behind its header.
    fn heed(
        &mut self,
        header: &Header,
        data: &mut Scatter,
        now: Instant,
        interest: &mut Interest<'_>,
    ) {
        // An answer would go to somebody else.
        if header.src_cid != self.cid() {
            return self.counters.foreign_packets.add(1);
        }
        let op = Op::of(header.op);
        let here = header.dst_cid == HOST_CID && header.kind == STREAM;
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        let slot = self.table.find(ports).filter(|_| here);
        match (op, slot) {
            (Some(Op::Reset), None) => {}
            (Some(Op::Request), None) if here => self.open(header, ports, now, interest),
            (_, None) => self.answer_reset(header),
            (None, Some(slot)) => self.abort(slot, interest),
            (Some(op), Some(slot)) => {
                let fate = self.act(slot, op, header, data);
                self.settle(slot, fate, now, interest);
            }
        }
    }

    /// Does what a packet says about a connection.
    fn act(&mut self, slot: u16, op: Op, header: &Header, data: &mut Scatter) -> Fate {
        let Some(connection) = self.table.get(slot) else { return Fate::Stays };
        let before = connection.to_guest.free();
        connection.to_guest.heard(header.buf_alloc, header.fwd_cnt);
        if connection.to_guest.free() > before {
            connection.asked_for_credit = false;
        }
        let fate = match (op, connection.phase) {
            (Op::Reset, _) => Fate::Finished,
            (Op::Response, Phase::Asking) if !connection.owed.request => {
                self.welcome(slot);
                Fate::Stays
            }
            (Op::Shutdown, _) => {
                connection.guest_ends(header.flags);
                match connection.guest_shut {
                    SHUT_BOTH => Fate::Answered,
                    _ => Fate::Stays,
                }
            }
            (Op::CreditUpdate, _) => Fate::Stays,
            (Op::CreditRequest, _) => {
                connection.owed.credit_update = true;
                Fate::Stays
            }
            (Op::Data, Phase::Open) if connection.guest_shut & SHUT_SEND == 0 => {
                self.take_data(slot, header, data)
            }
            _ => Fate::Aborted,
        };
        // Credit, or something owed, or the end of what waits.
        self.table.wake(slot);
        fate
    }

    fn settle(&mut self, slot: u16, fate: Fate, now: Instant, interest: &mut Interest<'_>) {
        let answered = matches!(fate, Fate::Answered);
        match fate {
            Fate::Stays => {
                self.watch_room(slot, interest);
            }
            Fate::Aborted => self.abort(slot, interest),
            Fate::Finished | Fate::Answered => {
                if self.table.get(slot).is_some_and(|connection| connection.phase == Phase::Asking)
                {
                    self.counters.connections_refused.add(1);
                }
                if answered {
                    self.owe_reset(slot);
                }
                self.finish(slot, now, interest);
            }
        }
    }

    fn take_data(&mut self, slot: u16, header: &Header, data: &mut Scatter) -> Fate {
        let len = header.len as usize;
        if len > data.len() {
            self.counters.malformed_packets.add(1);
            return Fate::Aborted;
        }
        data.truncate(len);
        let Some(connection) = self.table.get(slot) else { return Fate::Stays };
        if connection.from_guest.received(header.len).is_err() {
            self.counters.overruns.add(1);
            return Fate::Aborted;
        }
        if connection.pass(data) {
            self.counters.stalls.add(1);
        }
        self.counters.tx_bytes.add(header.len.into());
        Fate::Stays
    }

    /// The guest has accepted a client of the socket, who is told so.
    fn welcome(&mut self, slot: u16) {
        self.table.set_deadline(slot, None);
        let Some(connection) = self.table.get(slot) else { return };
        connection.phase = Phase::Open;
        if let (Some(ports), Some(stream)) = (connection.ports, &connection.stream) {
            // It is the first that goes this way, so there is room; one who has gone is found out by the
            // next read.
            let _ = stream.send(client::welcome(ports.host).as_bytes());
        }
        self.opened();
    }

    /// The guest wants a connection to somebody on the host.
    fn open(&mut self, header: &Header, ports: Ports, now: Instant, interest: &mut Interest<'_>) {
        let until = now.checked_add(KNOCKING).unwrap_or(now);
        let window = self.table.window();
        let mut connection =
            Connection::new(Origin::Guest, Phase::Knocking { until }, None, window);
        connection.ports = Some(ports);
        connection.to_guest.heard(header.buf_alloc, header.fwd_cnt);
        match self.table.insert(connection) {
            Some(slot) => self.knock(slot, until, now, interest),
            None => {
                self.counters.connections_refused.add(1);
                self.answer_reset(header);
            }
        }
    }

    /// Tries to connect to whom the guest wants.
    pub fn knock(&mut self, slot: u16, until: Instant, now: Instant, interest: &mut Interest<'_>) {
        let ports = self.table.get(slot).and_then(|connection| connection.ports);
        let Some(Ports { host: port, .. }) = ports else { return };
        let error = match self.host.connect(port) {
            Ok(stream) => {
                if let Some(connection) = self.table.get(slot) {
                    connection.stream = Some(stream);
                    connection.phase = Phase::Open;
                    connection.owed.response = true;
                }
                if self.watch(slot, interest) {
                    self.opened();
                    return self.table.wake(slot);
                }
                std::io::Error::from(ErrorKind::OutOfMemory)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && now < until => {
                return self.table.set_deadline(slot, now.checked_add(KNOCK));
            }
            Err(error) => error,
        };
        let path = self.host.path_of(port);
        // No fault of anybody: guests look whether somebody is there.
        if self.log.admit(now).is_some() {
            tracing::info!("vsock: the guest cannot connect to {}: {error}", path.display());
        }
        self.counters.connections_refused.add(1);
        self.abort(slot, interest);
    }
}
