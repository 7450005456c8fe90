//! The device's queues: packets from the host and to it.

use crate::memory::{Arena, copy, read, write};
use crate::options::Options;
use crate::random::Random;
use crate::targets::Targets;
use crate::virtio::{EVENT_IDX, NEXT, Place, Ring, WRITE};

/// Bytes of a packet's header (5.10.6).
const HEADER: u64 = 44;
/// Bytes of a receive buffer, as Linux has them.
const BUFFER: u64 = 4096;
/// Most bytes of data of a packet to the host, as Linux sends them.
pub const PIECE: u32 = 64 << 10;
/// Buffers that are given back, before they are shown.
const GIVEN: u16 = 64;
/// The host's address, and the only type of socket (5.10.4, 5.10.6.3).
const HOST: u64 = 2;
const STREAM: u16 = 1;

/// What a packet is for (5.10.6).
pub mod op {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RESET: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const DATA: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// A connection's two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub guest: u32,
    pub host: u32,
}

/// What a header says.
#[derive(Clone, Copy)]
pub struct Packet {
    pub ports: Ports,
    pub op: u16,
    /// Directions of a shutdown.
    pub flags: u32,
    /// Bytes that the sender can hold, and those it has passed on.
    pub room: u32,
    pub passed: u32,
    /// Where its data is, and how much; of a packet to the host it stays there until the device has it.
    pub at: u64,
    pub len: u32,
}

impl Packet {
    /// One that ends a connection, or refuses it.
    pub fn reset(ports: Ports) -> Packet {
        Packet { ports, op: op::RESET, flags: 0, room: 0, passed: 0, at: 0, len: 0 }
    }
}

/// The queues, in use.
pub struct Link {
    receive: Ring,
    send: Ring,
    /// The device may tell of what does not happen here; its buffers lie there.
    events: Ring,
    buffers: u64,
    headers: u64,
    pieces: u64,
    cid: u64,
    /// Buffers that were given back and not shown.
    given: u16,
}

impl Link {
    /// Takes the device through the whole handshake.
    pub fn open(place: Place, options: &Options) -> Link {
        let device = place.reset(if options.event_idx { EVENT_IDX } else { 0 }, 0);
        let mut arena = Arena::new();
        let receive = device.ring(0, options.depth, &mut arena);
        let send = device.ring(1, options.depth, &mut arena);
        let mut events = device.ring(2, 16, &mut arena);
        device.done();
        let buffers = arena.take(u64::from(receive.size) * BUFFER);
        // A packet has two descriptors, one for its header and one for its data.
        let headers = arena.take(u64::from(send.size) / 2 * HEADER);
        let pieces = arena.take(u64::from(send.size) / 2 * u64::from(PIECE));
        let told = arena.take_zeroed(u64::from(events.size) * 4);
        for slot in 0..events.size {
            events.describe(u64::from(slot), told + u64::from(slot) * 4, 4 | WRITE);
            events.set_head(events.put, slot);
            events.put = events.put.wrapping_add(1);
        }
        events.show();
        let cid = u64::from(read::<u32>(place.configuration()));
        let mut link = Link { receive, send, events, buffers, headers, pieces, cid, given: 0 };
        for slot in 0..link.receive.size {
            let at = link.buffers + u64::from(slot) * BUFFER;
            link.receive.describe(u64::from(slot), at, BUFFER | WRITE);
            link.give(slot);
        }
        link.show();
        link
    }

    /// How many packets can be put.
    pub fn room(&mut self) -> u16 {
        self.send.back = self.send.back.wrapping_add(self.send.done());
        self.send.size / 2 - self.send.put.wrapping_sub(self.send.back)
    }

    /// Where the next packet's data may be written, up to [`PIECE`] bytes.
    pub fn piece(&self) -> u64 {
        self.pieces + self.slot() * u64::from(PIECE)
    }

    fn slot(&self) -> u64 {
        u64::from(self.send.put % (self.send.size / 2))
    }

    /// Puts a packet to the host; there is room.
    pub fn put(&mut self, packet: &Packet) {
        let (slot, Packet { ports, .. }) = (self.slot(), *packet);
        let at = self.headers + slot * HEADER;
        write(at, self.cid);
        write(at + 8, HOST);
        write(at + 16, ports.guest);
        write(at + 20, ports.host);
        write(at + 24, packet.len);
        write(at + 28, STREAM);
        write(at + 30, packet.op);
        write(at + 32, packet.flags);
        write(at + 36, packet.room);
        write(at + 40, packet.passed);
        let head = slot * 2;
        if packet.len > 0 {
            self.send.describe(head, at, HEADER | NEXT | (head + 1) << 48);
            self.send.describe(head + 1, packet.at, u64::from(packet.len));
        } else {
            self.send.describe(head, at, HEADER);
        }
        self.send.set_head(self.send.put, head as u16);
        self.send.put = self.send.put.wrapping_add(1);
    }

    /// Hands the next packet from the host to `hear`, if there is one; whether there was. One that is not for us ends
    /// the machine.
    pub fn take(&mut self, hear: impl FnOnce(&mut Link, Packet)) -> bool {
        if self.receive.done() == 0 {
            return false;
        }
        let (slot, len) = self.receive.take();
        let at = self.buffers + u64::from(slot) * BUFFER;
        let ports = Ports { guest: read(at + 20), host: read(at + 16) };
        let packet = Packet {
            ports,
            op: read(at + 30),
            flags: read(at + 32),
            room: read(at + 36),
            passed: read(at + 40),
            at: at + HEADER,
            len: read(at + 24),
        };
        assert!(u64::from(packet.len) + HEADER == u64::from(len));
        assert!(read::<u64>(at) == HOST && read::<u64>(at + 8) == self.cid);
        hear(self, packet);
        self.give(slot as u16);
        self.given += 1;
        if self.given >= GIVEN {
            self.show_given();
        }
        true
    }

    fn give(&mut self, slot: u16) {
        self.receive.set_head(self.receive.put, slot);
        self.receive.put = self.receive.put.wrapping_add(1);
    }

    fn show_given(&mut self) {
        self.receive.show();
        self.given = 0;
    }

    /// Shows the device all that it was not shown.
    pub fn show(&mut self) {
        self.show_given();
        self.send.show();
    }

    /// Puts packets of all kinds, from and to anybody, as far as there is room.
    pub fn sow(&mut self, random: &mut Random) {
        while self.room() > 0 {
            let ports =
                Ports { guest: random.of_any_size(8) as u32, host: random.of_any_size(8) as u32 };
            let packet = Packet {
                ports,
                op: random.below(9) as u16,
                flags: random.below(5) as u32,
                room: random.of_any_size(32) as u32,
                passed: random.of_any_size(20) as u32,
                at: self.piece(),
                len: random.of_any_size(16) as u32,
            };
            self.put(&packet);
        }
        self.show();
    }

    /// Where it may be hit.
    pub fn targets(&self, place: Place) -> Targets {
        let ([a, b, c], [d, e, _]) = (self.receive.tables(), self.send.tables());
        let [f, ..] = self.events.tables();
        Targets {
            tables: [a, b, c, d, e, f],
            bells: [self.receive.bell.at, self.send.bell.at],
            bell_len: self.send.bell.len,
            address_registers: place.address_registers(),
        }
    }
}

/// Copies data to and from a ring of `len` bytes at `ring`, from its byte `from` on.
pub fn copy_around(ring: (u64, u64), from: u64, mut each: impl FnMut(u64, u64), count: u64) {
    let (at, len) = ring;
    let begin = from % len;
    let first = count.min(len - begin);
    each(at + begin, first);
    if count > first {
        each(at, count - first);
    }
}

/// Appends what a packet brought to such a ring.
pub fn keep(ring: (u64, u64), from: u64, packet: &Packet) {
    let mut at = packet.at;
    let each = |to, len| {
        copy(to, at, len);
        at += len;
    };
    copy_around(ring, from, each, packet.len.into());
}

/// Copies `count` bytes out of such a ring.
pub fn fetch(ring: (u64, u64), from: u64, to: u64, count: u64) {
    let mut at = to;
    let each = |from, len| {
        copy(at, from, len);
        at += len;
    };
    copy_around(ring, from, each, count);
}
