//! All connections, and who they are with: ports of the guest have services, and there are calls to the host.

use super::calls::Calls;
use super::connection::{Connection, Service};
use super::link::{Link, Packet, op};

/// Most connections, which memory has room for.
const MOST: usize = 256;
/// Of calls at one time, fewer than that, as hosts may be called, too.
const CALLS: usize = 16;
/// Packets that are heard before anything is said.
const HEARD: u32 = 64;

/// Services by port; the first three have the numbers that Internet hosts have them at (RFC 862, 863 and 864).
const PORTS: [(u32, Service); 5] = [
    (7, Service::Echo),
    (9, Service::Discard),
    (19, Service::Source),
    (1000, Service::Orders),
    (1001, Service::Stall),
];
/// The port of an echo that there is once all is over that the guest does by itself.
const OVER: u32 = 1002;

/// What the guest does.
pub struct Services {
    connections: [Connection; MOST],
    /// Behind the last of them that is not free.
    end: usize,
    calls: Calls,
    ended: u64,
    is_over: bool,
}

impl Services {
    /// Nobody is connected; `seed` says how restless calls are, and `is_over` that there is nothing to come but those.
    pub fn new(seed: u64, is_over: bool) -> Services {
        let mut connections = [Connection::free(0); MOST];
        for (index, connection) in connections.iter_mut().enumerate() {
            *connection = Connection::free(index as u64);
        }
        Services { connections, end: 0, calls: Calls::new(seed), ended: 0, is_over }
    }

    /// How many connections have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Hears what has come, says what is to be said, and calls; whether there was anything.
    pub fn turn(&mut self, link: &mut Link) -> bool {
        let mut busy = false;
        for _ in 0..HEARD {
            if !link.take(|link, packet| self.hear(link, packet)) {
                break;
            }
            busy = true;
        }
        for connection in &mut self.connections[..self.end] {
            if !connection.is_free() && connection.speak(link) {
                busy = true;
                self.ended += u64::from(connection.is_free());
            }
        }
        while self.end > 0 && self.connections[self.end - 1].is_free() {
            self.end -= 1;
        }
        if self.end < CALLS
            && let Some((ports, service)) = self.calls.next()
            && let Some(place) = self.place()
        {
            place.call(ports, service);
            busy = true;
        }
        link.show();
        busy
    }

    fn service(&self, port: u32) -> Option<Service> {
        let over = (OVER, Service::Echo);
        let mut ports = PORTS.iter().chain(self.is_over.then_some(&over));
        ports.find(|(known, _)| *known == port).map(|(_, service)| *service)
    }

    fn place(&mut self) -> Option<&mut Connection> {
        let index = self.connections.iter().position(Connection::is_free)?;
        self.end = self.end.max(index + 1);
        Some(&mut self.connections[index])
    }

    fn hear(&mut self, link: &mut Link, packet: Packet) {
        let ports = packet.ports;
        let Services { connections, end, calls, ended, .. } = self;
        let mut used = connections[..*end].iter_mut();
        if let Some(known) = used.find(|it| !it.is_free() && it.ports == ports) {
            if known.hear(&packet, |order| calls.order(order)) {
                *ended += 1;
            }
            return;
        }
        if packet.op == op::REQUEST
            && let Some(service) = self.service(ports.guest)
            && let Some(place) = self.place()
        {
            return place.accept(&packet, service);
        }
        // Who asks in vain hears so; where there is no room to say it, he gives up by himself.
        if packet.op != op::RESET && link.room() > 0 {
            link.put(&Packet::reset(ports));
        }
    }
}
