//! Frames to the driver: each over as many buffers as it takes, a completion for every buffer
//! (specification 7.9 to 7.11).

pub mod saved;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::Span;
use device_core::scatter::{Scatter, ScatterError};
use net::frame::RxFrame;
use net::ring::{PutOff, RxRing};
use net::stage::finish::{Findings, TransportCheck};
use net::wire::layers::{L3, L4};
use serde::{Deserialize, Serialize};

use super::completion::{Completions, CqConfig};
use super::descriptor::{FIRST, L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, LAST, LEN, RxDescriptor, read};
use super::interrupt::Vector;
use super::shared::{BadRing, Direction, FaultSink, MAX_BUFFERS, check_ring};
use crate::quiet::{Naps, RxDoorbell};

const WILD_TAIL: GuestFault = GuestFault("the doorbell is further than the ring is long");
const NO_MEMORY: GuestFault = GuestFault("a part of the ring is not in memory");
const OUTSIDE_RAM: GuestFault = GuestFault("a receive buffer is outside of RAM");
const TOO_LITTLE: GuestFault = GuestFault("a frame is larger than its buffers");

/// Bits of a completion's first word besides phase, first and last, which are where descriptors
/// have them (specification 7.10).
const VLAN_TAGS: u32 = 5;
const L4_CODE: u32 = 8;
const L3_ERROR: u32 = 1 << 13;
const L4_ERROR: u32 = 1 << 14;
const FRAGMENT: u32 = 1 << 15;
const L4_CHECKED: u32 = 1 << 16;
/// The buffer was used.
const BUFFER: u32 = 1 << 30;

/// What a receive queue is made of. Its descriptors are in RAM always.
pub struct RxConfig {
    /// The queue's index among receive queues, for messages.
    pub index: u16,
    /// Entries, a power of two.
    pub depth: u16,
    /// Guest-physical address of the descriptors, aligned to 8.
    pub base: u64,
    /// Its completion ring: entries of 4 or 8 words.
    pub completions: CqConfig,
    /// The guest's RAM.
    pub memory: GuestRam,
    /// At 0; it wakes the lane.
    pub doorbell: Arc<RxDoorbell>,
    /// `None`: the driver polls.
    pub vector: Option<Arc<Vector>>,
    /// Hears if the ring has to be given up.
    pub faults: Arc<dyn FaultSink>,
}

/// A receive queue in work.
pub struct Rx {
    index: u16,
    depth: u16,
    ring: Span,
    completions: Completions,
    doorbell: Arc<RxDoorbell>,
    faults: Arc<dyn FaultSink>,
    /// Counter of the next descriptor to read, and the checked tail up to which there are some.
    head: u16,
    tail: u16,
    /// The doorbell as read last.
    seen: u32,
    /// There were too few buffers then.
    starved: bool,
    naps: Naps,
    /// The buffers of `buffers`, in order, for frames to come.
    room: Scatter,
    buffers: VecDeque<Buffer>,
}

/// A buffer that was taken from the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Opaque; it comes back in the completion.
    pub id: u16,
    /// Bytes, 1 to 65536.
    pub len: u32,
    /// Guest-physical address.
    pub address: u64,
}

impl Rx {
    /// A queue with nothing posted. Fails if a depth, an address or the entries of the completion ring
    /// cannot be.
    pub fn new(config: RxConfig) -> Result<Rx, BadRing> {
        let RxConfig { index, depth, base, completions, memory, doorbell, vector, faults } = config;
        check_ring(&memory, base, depth, LEN)?;
        Ok(Rx {
            index,
            depth,
            ring: Span::new(memory.clone(), base, usize::from(depth).saturating_mul(LEN)),
            completions: Completions::new(completions, Direction::Rx, memory.clone(), vector)?,
            room: Scatter::new(memory),
            doorbell,
            faults,
            head: 0,
            tail: 0,
            seen: 0,
            starved: false,
            naps: Naps::default(),
            buffers: VecDeque::with_capacity(MAX_BUFFERS.into()),
        })
    }

    /// Reads the doorbell; whether there are descriptors.
    fn look(&mut self) -> Result<bool, GuestFault> {
        self.seen = self.doorbell.tail();
        let tail = self.seen as u16; // a counter of 16 bits
        let ahead = tail.wrapping_sub(self.head);
        if ahead > self.depth {
            return Err(WILD_TAIL);
        }
        self.tail = tail;
        if ahead > 0 {
            self.starved = false;
            self.naps.end();
        }
        Ok(ahead > 0)
    }

    /// When to look for buffers that were too few, if nobody will tell of more.
    fn look_for_buffers(&mut self, now: Instant) -> Option<Instant> {
        let found = self.starved && !matches!(self.look(), Ok(false));
        if self.starved && !found && self.doorbell.must_look() {
            return self.naps.next(now);
        }
        self.naps.end();
        // The lane finds the same in its next turn, be it buffers or a fault.
        self.starved &= !found;
        found.then_some(now)
    }

    /// Takes one more buffer into the reservation; false if the guest has posted none.
    fn take_buffer(&mut self) -> Result<bool, GuestFault> {
        if self.head == self.tail && !self.look()? {
            return Ok(false);
        }
        let index = self.head & self.depth.wrapping_sub(1);
        let descriptor = RxDescriptor(read(&self.ring, index).ok_or(NO_MEMORY)?);
        let (id, len, address) = (descriptor.id(), descriptor.len(), descriptor.address());
        match self.room.push(address, len) {
            Ok(()) => {}
            // So few buffers go beside each other in any list.
            Err(ScatterError::OutsideRam | ScatterError::TooManyPieces) => return Err(OUTSIDE_RAM),
        }
        self.buffers.push_back(Buffer { id, len, address });
        self.head = self.head.wrapping_add(1);
        Ok(true)
    }

    /// Buffers from the front that `bytes` bytes take; `None` if there are too few.
    fn buffers_for(&self, bytes: usize) -> Option<usize> {
        let mut left = bytes;
        for (count, buffer) in (1..).zip(&self.buffers) {
            left = left.saturating_sub(buffer.len as usize);
            if left == 0 {
                return Some(count);
            }
        }
        None
    }
}

/// The first word of a completion, but for phase, first and last (specification 7.11).
fn describe(findings: &Findings) -> u32 {
    let layers = findings.layers;
    let l3 = match layers.l3 {
        Some(L3::Ipv4) => L3_IPV4,
        Some(L3::Ipv6) => L3_IPV6,
        None => 0,
    };
    let l4 = match layers.l4 {
        Some(L4::Tcp) => L4_TCP,
        Some(L4::Udp) => L4_UDP,
        None => 0,
    };
    let transport = match findings.transport {
        TransportCheck::NotDone => 0,
        TransportCheck::Right => L4_CHECKED,
        TransportCheck::Wrong => L4_CHECKED | L4_ERROR,
    };
    let header = if findings.header_sum_wrong { L3_ERROR } else { 0 };
    // Only of IPv4: fragments of IPv6 have no bit.
    let fragment = layers.fragment && layers.l3 == Some(L3::Ipv4);
    let fragment = if fragment { FRAGMENT } else { 0 };
    l3 | u32::from(layers.tags) << VLAN_TAGS
        | l4 << L4_CODE
        | transport
        | header
        | fragment
        | BUFFER
}

impl RxRing for Rx {
    const FINISHED: bool = true;

    fn headroom(&self) -> usize {
        0
    }

    fn reserve(&mut self, want: usize) -> Result<&mut Scatter, GuestFault> {
        while self.room.len() < want && self.can_grow() {
            if !self.take_buffer()? {
                break;
            }
        }
        Ok(&mut self.room)
    }

    fn can_grow(&self) -> bool {
        self.buffers.len() < usize::from(MAX_BUFFERS.min(self.depth))
    }

    fn deliver(&mut self, frame: &RxFrame) -> Result<(), GuestFault> {
        let count = self.buffers_for(frame.len).ok_or(TOO_LITTLE)?;
        let what = describe(&frame.findings);
        let hash = frame.meta.hash.map_or(0, |hash| hash.value);
        let (mut left, mut first) = (frame.len, FIRST);
        for buffer in self.buffers.drain(..count) {
            let written = left.min(buffer.len as usize);
            left = left.saturating_sub(written);
            self.room.advance(buffer.len as usize);
            let last = if left == 0 { LAST } else { 0 };
            // A length of 65536 reads as 0, as in the descriptor.
            let lengths = written as u32 & 0xffff | u32::from(buffer.id) << 16;
            let words = [what | first | last, lengths, hash, 0];
            self.completions.push_rx(words, buffer.address)?;
            first = 0;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.completions.publish())
    }

    fn put_off(&mut self, now: Instant) -> PutOff {
        let PutOff { fired, until } = self.completions.put_off(now);
        PutOff { fired, until: until.into_iter().chain(self.look_for_buffers(now)).min() }
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.starved = self.doorbell.may_sleep(self.seen);
        Ok(self.starved)
    }

    fn broken(&mut self, fault: GuestFault) {
        self.faults.ring_broken(Direction::Rx, self.index, fault);
    }

    fn kick(&self) -> BorrowedFd<'_> {
        self.doorbell.kick()
    }
}

#[cfg(test)]
#[path = "rx_test.rs"]
mod tests;
