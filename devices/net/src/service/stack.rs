//! The TCP/IP stack that a card's guest talks to: frames in, frames out, no thread and no descriptor.
//!
//! Each call does a bounded share of work: one packet in, and out what sockets and the cable have room for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::cable::{Cable, MOST_FRAMES};
use super::connection::{Connection, PORT, WINDOW, socket};
use super::guard::{Concern, sender};
use super::metadata::{IPV6_ADDRESS, Metadata, ServiceCounters};
use crate::backend::Room;
use crate::frame::RxFrame;
use crate::mac::MacAddr;

/// Connections at once.
pub const MOST_CONNECTIONS: usize = 32;
/// Bytes of the largest frame that a guest can have a reason to send: a whole window and its headers.
pub const MOST_FRAME: usize = WINDOW + 256;
/// A stack that is due at once is looked at again after so long, lest it be all that a thread does.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A stack with one service.
pub struct Stack {
    metadata: Arc<Metadata>,
    counters: Arc<ServiceCounters>,
    born: Instant,
    interface: Interface,
    cable: Cable,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    due: Option<Instant>,
}

impl Stack {
    /// One that nobody has talked to.
    pub fn new(metadata: Arc<Metadata>, counters: Arc<ServiceCounters>, now: Instant) -> Stack {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = metadata.seed;
        let mut cable = Cable::new(counters.clone());
        let mut interface = Interface::new(config, &mut cable, Moment::ZERO);
        let address = metadata.settings.address;
        interface.update_ip_addrs(|addresses| {
            // Both fit: it has room for two.
            let _ = addresses.push(IpCidr::new(address.into(), 32));
            let _ = addresses.push(IpCidr::new(IPV6_ADDRESS.into(), 128));
        });
        // Everyone is on the link; a gateway is only to be named.
        let _ = interface.routes_mut().add_default_ipv4_route(address);
        let _ = interface.routes_mut().add_default_ipv6_route(IPV6_ADDRESS);
        Stack {
            metadata,
            counters,
            born: now,
            interface,
            cable,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            due: None,
        }
    }

    /// A frame of the guest that concerns the service.
    pub fn take(&mut self, frame: &[u8], concern: Concern, now: Instant) {
        self.counters.rx_accepted.add(1);
        let source = frame.get(6..).and_then(MacAddr::of_destination);
        let Some(source) = source.filter(|mac| mac.is_valid_for_a_card()) else {
            self.counters.rx_bad_eth.add(1);
            return;
        };
        let packet = |at| frame.get(at..).unwrap_or_default();
        let is_good = match concern {
            Concern::Arp(at) => self.cable.answer_arp(packet(at), source),
            Concern::Solicitation(at) => self.cable.answer_solicitation(packet(at), source),
            Concern::Packet(at) => self.take_packet(packet(at), source, now),
            Concern::None | Concern::Refused => false,
        };
        if !is_good {
            self.counters.rx_accepted_err.add(1);
        }
    }

    fn take_packet(&mut self, packet: &[u8], mac: MacAddr, now: Instant) -> bool {
        let Some(sender) = sender(packet) else { return false };
        if !self.cable.has_room() {
            // Who does not take answers is not heard.
            return false;
        }
        self.make_room(now);
        self.cable.bring(packet, sender, mac);
        let moment = self.moment(now);
        self.interface.poll_ingress_single(moment, &mut self.cable, &mut self.sockets);
        self.turn(now);
        true
    }

    /// Sees to it that a connection can begin, if one may.
    fn make_room(&mut self, now: Instant) {
        let is_listening =
            |it: &Connection| self.sockets.get::<Socket<'_>>(it.socket).is_listening();
        if self.connections.iter().any(is_listening) {
            return;
        }
        let is_free = |it: &&Connection| !self.sockets.get::<Socket<'_>>(it.socket).is_open();
        let free = self.connections.iter().find(is_free).map(|it| it.socket);
        let free = free.or_else(|| {
            let room = self.connections.len() < MOST_CONNECTIONS;
            room.then(|| {
                let handle = self.sockets.add(socket(self.metadata.settings.hop_limit));
                self.connections.push(Connection::new(handle, now));
                handle
            })
        });
        // The one that has been idle for longest makes way.
        let idle = || {
            let all = self.connections.iter();
            let idle = all.filter_map(|it| Some((it.idle_since(now)?, it.socket)));
            idle.min_by_key(|(since, _)| *since).map(|(_, socket)| socket)
        };
        let Some(handle) = free.or_else(idle) else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if socket.is_open() {
            socket.abort();
        }
        // Fails for an open socket alone.
        let _ = socket.listen(PORT);
    }

    /// Does what is due by now.
    pub fn poll(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.turn(now);
        }
    }

    /// Lets connections answer, and sends what can be sent.
    fn turn(&mut self, now: Instant) {
        let moment = self.moment(now);
        // As many rounds as the cable has room for, each of at least one frame.
        for _ in 0..MOST_FRAMES {
            for connection in &mut self.connections {
                let socket = self.sockets.get_mut(connection.socket);
                connection.tend(socket, &self.metadata, &self.counters, now);
            }
            let sent = self.interface.poll_egress(moment, &mut self.cable, &mut self.sockets);
            if sent == PollResult::None {
                break;
            }
        }
        let due = self.interface.poll_at(moment, &self.sockets);
        let due = due.map(|due| u64::try_from(due.total_micros()).unwrap_or_default());
        let due = due.and_then(|due| self.born.checked_add(Duration::from_micros(due)));
        let soonest = now.checked_add(SHORTEST_WAIT).unwrap_or(now);
        self.due = due.map(|due| due.max(soonest));
    }

    /// When it has something to do by itself. While frames wait for the guest that is of no use.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.cable.has_frames())
    }

    /// Whether frames wait for the guest.
    pub fn has_frames(&self) -> bool {
        self.cable.has_frames()
    }

    /// The next frame for the guest; `None` if there is none.
    pub fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame, now: Instant) -> Option<()> {
        let received = self.cable.recv(room, frame);
        if !self.cable.has_frames() {
            // There may have been no room for more.
            self.turn(now);
        }
        received
    }

    fn moment(&self, now: Instant) -> Moment {
        let age = now.saturating_duration_since(self.born).as_micros();
        Moment::from_micros(i64::try_from(age).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
#[path = "stack_test.rs"]
mod tests;
