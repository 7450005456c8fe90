//! A client of the metadata service, who asks at a steady pace beside what else is done with a card.

use crate::clock::now;
use crate::memory::{copy, read, write};
use crate::nic::{ADDRESS, Pair};
use crate::options::Options;

/// The service's address on the link, and on the Internet.
const SERVICE: [u8; 6] = [0x06, 0x01, 0x23, 0x45, 0x67, 0x01];
const ITS_IP: [u8; 4] = [169, 254, 169, 254];
const OUR_IP: [u8; 4] = [198, 18, 0, 1];
const PORT: [u8; 2] = [0, 80];
const FIRST_PORT: u16 = 10_000;
/// Bytes before the payload: Ethernet, IPv4, TCP.
const HEADERS: u64 = 54;
/// Flags of TCP (RFC 9293, 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const REQUEST: &[u8] = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n";
/// The same on a connection of its own.
const LAST_REQUEST: &[u8] =
    b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// Turns without an answer, after which it begins anew.
const PATIENCE: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// The service was asked for a connection.
    Begun,
    /// It has answered that.
    Ready,
    /// It has been asked something.
    Waiting,
    /// It has said its last.
    Ended,
}

/// Who asks.
pub struct Asker {
    /// Ticks from one request to the next; 0 if there are none.
    every: u64,
    fresh: bool,
    next: u64,
    state: State,
    port: u16,
    /// What we have sent, and what has come.
    sent: u32,
    come: u32,
    /// Turns that it waits.
    waited: u32,
}

impl Asker {
    /// As the options say.
    pub fn new(options: &Options) -> Asker {
        Asker {
            every: options.ask,
            fresh: options.fresh,
            next: now(),
            state: State::Closed,
            port: FIRST_PORT,
            sent: 1,
            come: 0,
            waited: 0,
        }
    }

    /// Whether anything is asked.
    pub fn is_on(&self) -> bool {
        self.every > 0
    }

    /// Says what is to be said now; whether a frame was put.
    pub fn turn(&mut self, nic: &mut impl Pair) -> bool {
        if !self.is_on() || nic.room() == 0 {
            return false;
        }
        // Connections of their own are not waited for.
        let is_due = now().wrapping_sub(self.next) < u64::MAX / 2;
        match self.state {
            State::Ended => {
                self.put(nic, FIN | ACK, &[]);
                self.state = State::Closed;
                nic.show();
                return true;
            }
            State::Ready if self.fresh => self.ask(nic),
            _ if !is_due => return false,
            State::Closed => {
                self.port = self.port.wrapping_add(1).max(FIRST_PORT);
                self.put(nic, SYN, &[]);
                self.sent = self.sent.wrapping_add(1);
                self.state = State::Begun;
            }
            State::Ready => self.ask(nic),
            State::Begun | State::Waiting => {
                self.waited += 1;
                if self.waited > PATIENCE {
                    self.state = State::Closed;
                }
                self.next = now() + self.every;
                return false;
            }
        }
        if is_due {
            self.next += self.every;
        }
        self.waited = 0;
        nic.show();
        true
    }

    fn ask(&mut self, nic: &mut impl Pair) {
        let request = if self.fresh { LAST_REQUEST } else { REQUEST };
        self.put(nic, ACK, request);
        self.sent = self.sent.wrapping_add(request.len() as u32);
        self.state = State::Waiting;
    }

    fn put(&self, nic: &mut impl Pair, flags: u8, payload: &[u8]) {
        let (at, _) = nic.next();
        let total = (HEADERS as usize - 14 + payload.len()) as u16;
        let [t0, t1] = total.to_be_bytes();
        // Sums are left to the card, which is the end of the way.
        let ip = [0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, 6, 0, 0];
        write(at, SERVICE);
        write(at + 6, ADDRESS);
        write(at + 12, [8u8, 0]);
        write(at + 14, ip);
        write(at + 26, OUR_IP);
        write(at + 30, ITS_IP);
        write(at + 34, self.port.to_be_bytes());
        write(at + 36, PORT);
        write(at + 38, self.sent.to_be_bytes());
        write(at + 42, self.come.to_be_bytes());
        write(at + 46, [0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        copy(at + HEADERS, payload.as_ptr() as u64, payload.len() as u64);
        nic.put((HEADERS as usize + payload.len()) as u32);
    }

    /// Hears a frame that came; whether it was of the service.
    pub fn hear(&mut self, at: u64, len: u32) -> bool {
        if !self.is_on() || u64::from(len) < HEADERS || read::<[u8; 6]>(at + 6) != SERVICE {
            return false;
        }
        if read::<[u8; 2]>(at + 36) != self.port.to_be_bytes() {
            return true;
        }
        let total = u32::from(u16::from_be_bytes(read(at + 16)));
        let payload = total.saturating_sub(20 + u32::from(read::<u8>(at + 46) >> 4) * 4);
        let (flags, sequence) = (read::<u8>(at + 47), u32::from_be_bytes(read(at + 38)));
        let more = payload + u32::from(flags & FIN != 0);
        if flags & SYN != 0 {
            self.come = sequence.wrapping_add(1);
        } else if sequence == self.come {
            self.come = self.come.wrapping_add(more);
        }
        self.state = match self.state {
            _ if flags & RST != 0 => State::Closed,
            State::Begun if flags & SYN != 0 => State::Ready,
            State::Waiting if flags & FIN != 0 => State::Ended,
            State::Waiting if payload > 0 && !self.fresh => State::Ready,
            state => state,
        };
        true
    }
}
