//! One connection: what each side has room for, and what is owed to the host.

use super::link::{Link, PIECE, Packet, Ports, fetch, keep, op};
use crate::memory::BUFFERS;

/// Bytes that are held of a connection at most, as Linux has it.
const WINDOW: u64 = 256 << 10;
/// Directions of a shutdown (5.10.6.6): who says so receives, or sends, no more.
const SHUT_RECEIVE: u32 = 1;
const SHUT_SEND: u32 = 2;
const SHUT_BOTH: u32 = SHUT_RECEIVE | SHUT_SEND;

/// What happens with what comes, and what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// What comes goes back.
    Echo,
    /// What comes is thrown away.
    Discard,
    /// Bytes are sent without end.
    Source,
    /// Nothing that comes is ever read.
    Stall,
    /// What comes are orders to call the host.
    Orders,
    /// Bytes are sent, so many that are left, and then it ends, with a word or without.
    Restless { left: u32, abrupt: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// The host was asked, or is to be.
    Asking,
    Open,
    /// All has been said; the host has the last word.
    Closing,
    /// It ends with a reset that is owed.
    Broken,
}

/// A connection, or the place for one.
#[derive(Clone, Copy)]
pub struct Connection {
    pub ports: Ports,
    service: Service,
    state: State,
    /// The ring of [`WINDOW`] bytes for what is held.
    held: u64,
    /// Bytes that were sent; that the host can hold, and those it has passed on. All wrap.
    sent: u32,
    room: u32,
    passed: u32,
    /// Bytes that came, that were passed on, and those the host was told to be.
    came: u32,
    done: u32,
    told: u32,
    /// The packet that is to go before data, if any.
    owed: Option<u16>,
    /// The host sends no more.
    ended: bool,
}

impl Connection {
    /// The place `index`.
    pub const fn free(index: u64) -> Connection {
        Connection {
            ports: Ports { guest: 0, host: 0 },
            service: Service::Discard,
            state: State::Free,
            held: BUFFERS + index * WINDOW,
            sent: 0,
            room: 0,
            passed: 0,
            came: 0,
            done: 0,
            told: 0,
            owed: None,
            ended: false,
        }
    }

    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    fn begin(&mut self, ports: Ports, service: Service, state: State, owed: u16) {
        let held = self.held;
        *self = Connection { ports, service, state, held, owed: Some(owed), ..Connection::free(0) };
    }

    /// Takes the host's wish.
    pub fn accept(&mut self, wish: &Packet, service: Service) {
        self.begin(wish.ports, service, State::Open, op::RESPONSE);
        (self.room, self.passed) = (wish.room, wish.passed);
    }

    /// Is to ask the host.
    pub fn call(&mut self, ports: Ports, service: Service) {
        self.begin(ports, service, State::Asking, op::REQUEST);
    }

    /// Does what a packet of the host says; the data of orders goes to `order`. Whether the connection has ended.
    pub fn hear(&mut self, packet: &Packet, order: impl FnOnce(&Packet)) -> bool {
        (self.room, self.passed) = (packet.room, packet.passed);
        match packet.op {
            op::RESET => self.state = State::Free,
            op::RESPONSE if self.state == State::Asking => self.state = State::Open,
            op::DATA if self.state == State::Open => {
                // The host has no more credit than that.
                assert!(self.came.wrapping_sub(self.done) + packet.len <= WINDOW as u32);
                match self.service {
                    Service::Echo => keep((self.held, WINDOW), self.came.into(), packet),
                    Service::Orders => order(packet),
                    _ => {}
                }
                self.came = self.came.wrapping_add(packet.len);
                if !matches!(self.service, Service::Echo | Service::Stall) {
                    self.done = self.came;
                }
                if self.done.wrapping_sub(self.told) >= WINDOW as u32 / 2 {
                    self.owe(op::CREDIT_UPDATE);
                }
            }
            op::CREDIT_REQUEST => self.owe(op::CREDIT_UPDATE),
            op::SHUTDOWN if packet.flags & SHUT_BOTH == SHUT_BOTH => self.state = State::Broken,
            op::SHUTDOWN => self.ended |= packet.flags & SHUT_SEND != 0,
            _ => {}
        }
        self.state == State::Free
    }

    fn owe(&mut self, op: u16) {
        self.owed = self.owed.or(Some(op));
    }

    fn packet(&mut self, op: u16) -> Packet {
        self.told = self.done;
        let (room, passed) = (WINDOW as u32, self.done);
        let flags = if op == op::SHUTDOWN { SHUT_BOTH } else { 0 };
        Packet { ports: self.ports, op, flags, room, passed, at: 0, len: 0 }
    }

    /// Puts what it has to say, one packet at most; whether it did.
    pub fn speak(&mut self, link: &mut Link) -> bool {
        if self.state == State::Free || link.room() == 0 {
            return false;
        }
        if self.state == State::Broken {
            link.put(&Packet::reset(self.ports));
            self.state = State::Free;
            return true;
        }
        if let Some(op) = self.owed.take() {
            let packet = self.packet(op);
            link.put(&packet);
            return true;
        }
        if self.state != State::Open {
            return false;
        }
        let free = self.room.saturating_sub(self.sent.wrapping_sub(self.passed)).min(PIECE);
        let len = match &mut self.service {
            Service::Echo => free.min(self.came.wrapping_sub(self.done)),
            Service::Source => free,
            Service::Restless { left, .. } => free.min(*left),
            Service::Discard | Service::Stall | Service::Orders => 0,
        };
        if len > 0 {
            self.send(link, len);
        } else if self.is_done() {
            self.end(link);
        } else {
            return false;
        }
        true
    }

    fn send(&mut self, link: &mut Link, len: u32) {
        let at = link.piece();
        match &mut self.service {
            Service::Echo => {
                fetch((self.held, WINDOW), self.done.into(), at, len.into());
                self.done = self.done.wrapping_add(len);
            }
            Service::Restless { left, .. } => *left -= len,
            _ => {}
        }
        let packet = Packet { at, len, ..self.packet(op::DATA) };
        link.put(&packet);
        self.sent = self.sent.wrapping_add(len);
    }

    /// There is nothing more to say.
    fn is_done(&self) -> bool {
        match self.service {
            Service::Restless { left, .. } => left == 0,
            Service::Echo => self.ended && self.came == self.done,
            Service::Stall => false,
            _ => self.ended,
        }
    }

    fn end(&mut self, link: &mut Link) {
        if let Service::Restless { abrupt: true, .. } = self.service {
            link.put(&Packet::reset(self.ports));
            self.state = State::Free;
            return;
        }
        let packet = self.packet(op::SHUTDOWN);
        link.put(&packet);
        self.state = State::Closing;
    }
}
