//! One connection: what is known of it, and what its guest is owed.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Instant;

use device_core::scatter::Scatter;
use device_core::stream::Stream;

use super::backlog::Backlog;
use super::credit::{FromGuest, ToGuest};
use super::packet::{Op, SHUT_RECEIVE, SHUT_SEND};
use super::view::{ConnectionView, Origin};

/// Both directions of a shutdown.
pub(super) const SHUT_BOTH: u32 = SHUT_RECEIVE | SHUT_SEND;

/// What names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    /// On the host.
    pub host: u32,
    /// In the guest.
    pub guest: u32,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A client of the socket has not said where to.
    Greeting,
    /// The guest is asked whether it accepts him.
    Asking,
    /// The guest wants somebody who has no room for one more; it is tried again.
    Knocking {
        /// When that is given up.
        until: Instant,
    },
    /// Both have accepted.
    Open,
    /// The guest has done with it; what it sent is still on its way.
    Draining,
}

/// Packets that the guest is owed. Each kind once: a queue of them cannot grow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owed {
    pub request: bool,
    pub response: bool,
    pub credit_request: bool,
    pub credit_update: bool,
    pub shutdown: bool,
}

impl Owed {
    /// The packet that goes first.
    pub fn first(&self) -> Option<Op> {
        let in_order = [
            (self.request, Op::Request),
            (self.response, Op::Response),
            (self.credit_request, Op::CreditRequest),
            (self.credit_update, Op::CreditUpdate),
            (self.shutdown, Op::Shutdown),
        ];
        in_order.into_iter().find_map(|(owed, op)| owed.then_some(op))
    }

    /// It went.
    pub fn paid(&mut self, op: Op) {
        match op {
            Op::Request => self.request = false,
            Op::Response => self.response = false,
            Op::CreditRequest => self.credit_request = false,
            Op::CreditUpdate => self.credit_update = false,
            Op::Shutdown => self.shutdown = false,
            Op::Data | Op::Reset => {}
        }
    }
}

/// One connection.
pub(super) struct Connection {
    pub origin: Origin,
    pub phase: Phase,
    /// None while its client has not said where to, and none any more once the guest has done with it.
    pub ports: Option<Ports>,
    /// The host's end; none yet while it is knocked.
    pub stream: Option<Stream>,
    pub to_guest: ToGuest,
    pub from_guest: FromGuest,
    /// What the host's reader had no room for.
    pub backlog: Backlog,
    pub owed: Owed,
    /// The stream may have something to read, may take something, has no other end any more: edges of it.
    pub readable: bool,
    pub writable: bool,
    pub hung_up: bool,
    /// It is watched for room.
    pub watches_room: bool,
    /// Directions that the guest has ended.
    pub guest_shut: u32,
    /// Directions that the host has ended.
    pub host_shut: u32,
    /// The stream has been told that the guest sends no more.
    end_told: bool,
    /// The last read filled all that there was: a stream is on its way.
    pub streams: bool,
    /// The guest has been asked for credit since it gave some.
    pub asked_for_credit: bool,
    /// Bytes of data in all.
    pub bytes_to_guest: u64,
    pub bytes_from_guest: u64,
}

impl Connection {
    /// A client that has come, or a guest's wish; `window` bytes of the guest are held for it at most.
    pub fn new(origin: Origin, phase: Phase, stream: Option<Stream>, window: u32) -> Connection {
        Connection {
            origin,
            phase,
            ports: None,
            stream,
            to_guest: ToGuest::default(),
            from_guest: FromGuest::new(window),
            backlog: Backlog::default(),
            owed: Owed::default(),
            readable: true,
            writable: true,
            hung_up: false,
            watches_room: false,
            guest_shut: 0,
            host_shut: 0,
            end_told: false,
            streams: false,
            asked_for_credit: false,
            bytes_to_guest: 0,
            bytes_from_guest: 0,
        }
    }

    /// Bytes of the guest, all of `data`, which it had room for. They go into the stream as they are; what it
    /// does not take waits. Whether it had to.
    pub fn pass(&mut self, data: &Scatter) -> bool {
        self.bytes_from_guest = self.bytes_from_guest.saturating_add(data.len() as u64);
        let mut gone = 0;
        while self.backlog.is_empty() && self.writable && gone < data.len() {
            let Some(stream) = &self.stream else { break };
            match stream.send_from(data, gone) {
                Ok(bytes) => gone = gone.saturating_add(bytes),
                Err(error) => self.write_failed(&error),
            }
        }
        if self.host_shut & SHUT_RECEIVE != 0 {
            gone = data.len();
        }
        let stalled = gone < data.len();
        if stalled {
            self.backlog.push(data, gone);
        }
        self.passed_on(gone);
        stalled
    }

    /// Gives the stream what waits for it, and then the end, if the guest has ended its direction.
    pub fn pass_backlog(&mut self) {
        while self.writable && !self.backlog.is_empty() {
            let Some(stream) = &self.stream else { break };
            match stream.send(self.backlog.front()) {
                Ok(bytes) => {
                    self.backlog.advance(bytes);
                    self.passed_on(bytes);
                }
                Err(error) => self.write_failed(&error),
            }
        }
        if self.backlog.is_empty() && self.guest_shut & SHUT_SEND != 0 && !self.end_told {
            self.end_told = true;
            if let Some(stream) = &self.stream {
                stream.shut(Shutdown::Write);
            }
        }
    }

    /// Bytes went to the host, or nowhere.
    fn passed_on(&mut self, bytes: usize) {
        // No more than a window at a time.
        self.from_guest.passed_on(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.from_guest.is_news() {
            self.owed.credit_update = true;
        }
    }

    fn write_failed(&mut self, error: &io::Error) {
        self.writable = false;
        if error.kind() != ErrorKind::WouldBlock {
            // Nobody will read what waits.
            let lost = self.backlog.discard();
            self.passed_on(lost);
            self.host_ends(SHUT_RECEIVE);
        }
    }

    /// The host has ended these directions, of which its guest is told once.
    pub fn host_ends(&mut self, directions: u32) {
        let now = self.host_shut | directions;
        if now != self.host_shut {
            self.host_shut = now;
            self.owed.shutdown = true;
        }
    }

    /// The guest has ended these directions; it cannot take that back.
    pub fn guest_ends(&mut self, directions: u32) {
        let before = self.guest_shut;
        self.guest_shut |= directions & SHUT_BOTH;
        if before & SHUT_RECEIVE == 0
            && self.guest_shut & SHUT_RECEIVE != 0
            && let Some(stream) = &self.stream
        {
            stream.shut(Shutdown::Read);
        }
    }

    /// Something may be read for the guest.
    pub fn is_read(&self) -> bool {
        self.phase == Phase::Open
            && self.readable
            && self.host_shut & SHUT_SEND == 0
            && self.guest_shut & SHUT_RECEIVE == 0
    }

    /// As it is shown.
    pub fn view(&self) -> ConnectionView {
        ConnectionView {
            origin: self.origin,
            host_port: self.ports.map(|ports| ports.host),
            guest_port: self.ports.map(|ports| ports.guest),
            state: match self.phase {
                Phase::Greeting => "greeting",
                Phase::Asking => "asking",
                Phase::Knocking { .. } => "knocking",
                Phase::Open if (self.guest_shut | self.host_shut) != 0 => "closing",
                Phase::Open => "open",
                Phase::Draining => "draining",
            },
            to_guest: self.bytes_to_guest,
            from_guest: self.bytes_from_guest,
            waiting: self.backlog.len() as u64,
            guest_room: self.to_guest.free(),
        }
    }
}
