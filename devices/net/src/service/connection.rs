//! One connection of a client: requests out of its socket, answers into it, one after the other.

use std::time::{Duration, Instant};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::answer::{Answer, TokenUse};
use super::metadata::{Metadata, ServiceCounters};
use super::request::{self, MOST_HEAD, Read};

/// The only port that there is.
pub const PORT: u16 = 80;
/// Bytes that a guest may send before they are read, which are all read at once.
pub const WINDOW: usize = 4096;
/// Bytes that are sent before the guest has acknowledged them.
const SENT: usize = 16 << 10;
/// After so long without a sign of life a connection may make way for another.
const IDLE: Duration = Duration::from_secs(10);
/// A guest that acknowledges nothing for so long is gone.
const PATIENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(20);

/// A connection, or room for one.
pub struct Connection {
    /// Its socket.
    pub socket: SocketHandle,
    /// It has begun and not ended.
    open: bool,
    /// What has come and is not answered yet, of which so many bytes were looked at and are no whole head.
    head: Vec<u8>,
    partial: usize,
    /// What is being answered, of which so many bytes are in the socket.
    answer: Vec<u8>,
    written: usize,
    /// Nothing comes after the answer.
    last: bool,
    /// When something came or went.
    alive: Instant,
}

/// A socket for a connection, which answers by packets that pass `hop_limit` less one routers.
pub fn socket(hop_limit: u8) -> Socket<'static> {
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut socket = Socket::new(buffer(WINDOW), buffer(SENT));
    socket.set_hop_limit(Some(hop_limit.max(1)));
    socket.set_timeout(Some(PATIENCE));
    // Answers are whole when they are sent, and acknowledge what they answer.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

impl Connection {
    /// Room for one, at a socket.
    pub fn new(socket: SocketHandle, now: Instant) -> Connection {
        Connection {
            socket,
            open: false,
            head: Vec::new(),
            partial: 0,
            answer: Vec::new(),
            written: 0,
            last: false,
            alive: now,
        }
    }

    /// Since when it may make way for another, if it may.
    pub fn idle_since(&self, now: Instant) -> Option<Instant> {
        let idle = now.saturating_duration_since(self.alive) >= IDLE;
        (self.open && idle).then_some(self.alive)
    }

    /// Does what can be done: reads, answers, writes, ends.
    pub fn tend(
        &mut self,
        socket: &mut Socket<'_>,
        metadata: &Metadata,
        counters: &ServiceCounters,
        now: Instant,
    ) {
        let open = socket.is_active() && socket.state() != State::SynReceived;
        if open != self.open {
            let count =
                if open { &counters.connections_created } else { &counters.connections_destroyed };
            count.add(1);
            let Connection { socket, .. } = *self;
            let (head, answer) = (std::mem::take(&mut self.head), std::mem::take(&mut self.answer));
            *self = Connection { open, head, answer, ..Connection::new(socket, now) };
            self.head.clear();
            self.answer.clear();
        }
        // Each turn answers a request, of which the window holds a few hundred.
        while self.open && self.write(socket, now) {
            self.read(socket, now);
            let read = match self.head.len() == self.partial {
                true => Read::Partial,
                false => request::read(&self.head),
            };
            let (answer, len) = match read {
                Read::Whole(request, len) => {
                    self.last = request.closes;
                    (metadata.answer(&request, now), len)
                }
                Read::Partial => {
                    self.partial = self.head.len();
                    // Who has said his last will not end what he began.
                    if !socket.may_recv() {
                        socket.close();
                    }
                    return;
                }
                Read::Bad => (self.give_up(Answer::bad_request()), self.head.len()),
                Read::BadVersion => (self.give_up(Answer::bad_version()), self.head.len()),
            };
            self.head.drain(..len.min(self.head.len()));
            self.partial = 0;
            counters.rx_count.add(1);
            match answer.token {
                TokenUse::Fine => {}
                TokenUse::Missing => counters.rx_no_token.add(1),
                TokenUse::Bad => counters.rx_invalid_token.add(1),
            }
            counters.tx_count.add(1);
            answer.write(self.last, &mut self.answer);
        }
    }

    /// Nobody knows where the next request would begin.
    fn give_up(&mut self, answer: Answer) -> Answer {
        self.last = true;
        answer
    }

    /// Writes what is to be written; whether all of it is, and more may come.
    fn write(&mut self, socket: &mut Socket<'_>, now: Instant) -> bool {
        let rest = self.answer.get(self.written..).unwrap_or_default();
        if !rest.is_empty() {
            // A socket that takes nothing any more has ended.
            let written = socket.send_slice(rest).unwrap_or_default();
            if written > 0 {
                self.alive = now;
            }
            self.written = self.written.saturating_add(written);
            if self.written < self.answer.len() {
                return false;
            }
            self.answer.clear();
            self.written = 0;
        }
        if self.last {
            socket.close();
        }
        !self.last
    }

    /// Reads what has come, as far as a head may be long.
    fn read(&mut self, socket: &mut Socket<'_>, now: Instant) {
        while self.head.len() < MOST_HEAD && socket.can_recv() {
            let most = MOST_HEAD.saturating_sub(self.head.len());
            let head = &mut self.head;
            let taken = socket.recv(|bytes| {
                let taken = bytes.get(..bytes.len().min(most)).unwrap_or_default();
                head.extend_from_slice(taken);
                (taken.len(), taken.len())
            });
            if !taken.is_ok_and(|taken| taken > 0) {
                return;
            }
            self.alive = now;
        }
    }
}
