//! Frames from the driver: an optional meta descriptor and then the buffers of one packet
//! (specification 7.3).

pub mod saved;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use net::frame::{MAX_FRAME, MIN_FRAME, Offloads, TxFrame};
use net::ring::{Next, PutOff, TxRing, TxToken};
use net::stage::offload::{self, BadOffload, L3, L4, Request, TransportSum};

use super::completion::{Completions, CqConfig};
use super::descriptor::{Control, L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, Meta, MetaUse};
use super::interrupt::Vector;
use super::shared::{BadRing, Direction, FaultSink, SqDoorbell};
use super::source::{Placement, Source};
use crate::page::Page;
use crate::stamp::Stamp;

const WILD_TAIL: GuestFault = GuestFault("the doorbell is further than the ring is long");
const NO_FIRST: GuestFault = GuestFault("a packet does not begin with its first descriptor");
const SECOND_FIRST: GuestFault = GuestFault("a first descriptor is inside a packet");
const STRAY_META: GuestFault = GuestFault("a meta descriptor is inside a packet or ends it");
const TOO_LONG: GuestFault = GuestFault("a packet has too many descriptors");

/// Most descriptors of one packet.
const MAX_CHAIN: u16 = 64;
/// Ethernet header and two tags beyond the MTU.
const LINK_HEADERS: usize = 14 + 8;

/// What a completion says of a packet that could not be sent.
const SENT: u8 = 0;
const MALFORMED: u8 = 1;

/// What a transmit queue is made of.
pub struct TxConfig {
    /// The queue's index among transmit queues, for messages.
    pub index: u16,
    /// Entries, a power of two; ring entries and not descriptors in low-latency mode.
    pub depth: u16,
    /// Where the driver puts its descriptors.
    pub placement: Placement,
    /// Its completion ring: entries of 2 or 4 words.
    pub completions: CqConfig,
    /// The guest's RAM.
    pub memory: GuestRam,
    /// At 0; it wakes the lane.
    pub doorbell: Arc<SqDoorbell>,
    /// Where the doorbell may be memory, to be looked at.
    pub page: Option<Arc<Page>>,
    /// When the doorbell was rung.
    pub stamp: Arc<Stamp>,
    /// `None`: the driver polls.
    pub vector: Option<Arc<Vector>>,
    /// Hears if the ring has to be given up.
    pub faults: Arc<dyn FaultSink>,
    /// What the driver may leave to the device, as announced by feature 11 and able by the backend.
    pub offloads: Offloads,
    /// Largest MTU announced, in bytes without the Ethernet header.
    pub max_mtu: u16,
}

/// A transmit queue in work.
pub struct Tx {
    index: u16,
    depth: u16,
    source: Source,
    completions: Completions,
    doorbell: Arc<SqDoorbell>,
    page: Option<Arc<Page>>,
    stamp: Arc<Stamp>,
    /// When the first entry of those known was offered.
    offered: Option<Instant>,
    faults: Arc<dyn FaultSink>,
    offloads: Offloads,
    max_mtu: u16,
    /// Counter of the next entry to read, and the checked tail up to which there are some.
    head: u16,
    tail: u16,
    /// The doorbell as read last.
    seen: u32,
    /// The packet at the head had no last descriptor when it was read.
    partial: bool,
    /// What packets without a meta descriptor use.
    meta: Meta,
    /// Packets out on their way, in order.
    taken: VecDeque<Taken>,
}

/// What is to be known of a packet until it is completed or put back.
struct Taken {
    id: u16,
    completion: bool,
    status: u8,
    head_before: u16,
    head_after: u16,
    meta_before: Meta,
}

/// A packet whose descriptors have been read to the last.
struct Packet {
    control: Control,
    meta: Meta,
    /// Counter behind it.
    head: u16,
    /// A buffer was not in RAM.
    broken: bool,
}

impl Tx {
    /// A queue with nothing posted. Fails if a depth, an address, the completion ring's entries or the
    /// low-latency policy cannot be.
    pub fn new(config: TxConfig) -> Result<Tx, BadRing> {
        let TxConfig { index, depth, placement, completions, memory, doorbell, .. } = config;
        Ok(Tx {
            index,
            depth,
            source: Source::new(placement, memory.clone(), depth)?,
            completions: Completions::new(completions, Direction::Tx, memory, config.vector)?,
            doorbell,
            page: config.page,
            stamp: config.stamp,
            offered: None,
            faults: config.faults,
            offloads: config.offloads,
            max_mtu: config.max_mtu,
            head: 0,
            tail: 0,
            seen: 0,
            partial: false,
            meta: Meta::default(),
            taken: VecDeque::with_capacity(depth.into()),
        })
    }

    /// Reads the doorbell; whether there are entries.
    fn look(&mut self) -> Result<bool, GuestFault> {
        if let Some(page) = &self.page {
            page.look();
        }
        self.seen = self.doorbell.tail();
        let tail = self.seen as u16; // a counter of 16 bits
        let ahead = tail.wrapping_sub(self.head);
        if ahead > self.depth {
            return Err(WILD_TAIL);
        }
        self.tail = tail;
        if let Some(rung) = self.stamp.take() {
            self.offered = Some(rung);
        }
        Ok(ahead > 0)
    }

    /// Reads the packet at the head: its buffers into the body, what was pushed into the head.
    /// `None` if its last descriptor is not there yet.
    fn read(&mut self, frame: &mut TxFrame) -> Result<Option<Packet>, GuestFault> {
        let mut cursor = self.source.begin(self.head, self.tail);
        let mut packet =
            Packet { control: Control::default(), meta: self.meta, head: 0, broken: false };
        let (mut opened, mut given) = (false, None);
        for count in 0..MAX_CHAIN {
            let Some(descriptor) = self.source.next(&mut cursor)? else { return Ok(None) };
            if descriptor.is_first() != (count == 0) {
                return Err(if count == 0 { NO_FIRST } else { SECOND_FIRST });
            }
            if descriptor.is_meta() {
                if count != 0 || descriptor.is_last() {
                    return Err(STRAY_META);
                }
                given = Some(MetaUse::of(descriptor));
                continue;
            }
            if !opened {
                opened = true;
                packet.control = Control::of(descriptor);
                frame.head.set(self.source.header(packet.control.header_len)?);
            }
            let pushed = frame.body.push(descriptor.address(), descriptor.len());
            packet.broken |= pushed.is_err();
            if descriptor.is_last() {
                if let Some(MetaUse::Given { meta, store }) = given {
                    packet.meta = meta;
                    if store {
                        self.meta = meta;
                    }
                }
                packet.head = cursor.head;
                return Ok(Some(packet));
            }
        }
        Err(TOO_LONG)
    }

    /// Does what the driver left to the device, or says that it cannot be done.
    fn prepare(&self, packet: &Packet, frame: &mut TxFrame) -> Result<(), BadOffload> {
        let (control, meta) = (packet.control, packet.meta);
        frame.pull_head();
        let longest = match control.segmentation() {
            true => MAX_FRAME,
            false => LINK_HEADERS.saturating_add(self.max_mtu.into()),
        };
        if packet.broken || !(MIN_FRAME..=longest).contains(&frame.len()) {
            return Err(BadOffload::Length);
        }
        if !control.has_offload() {
            return Ok(());
        }
        let request = Request {
            l3: match control.l3() {
                L3_IPV4 => Some(L3::Ipv4),
                L3_IPV6 => Some(L3::Ipv6),
                _ => None,
            },
            l4: match control.l4() {
                L4_TCP => Some(L4::Tcp),
                L4_UDP => Some(L4::Udp),
                _ => None,
            },
            l3_at: meta.l3_at.into(),
            l3_len: meta.l3_len.into(),
            header_sum: control.l3_checksum(),
            transport_sum: match (control.l4_checksum(), control.l4_partial()) {
                (false, _) => TransportSum::Nothing,
                (true, true) => TransportSum::Seeded,
                (true, false) => TransportSum::Whole,
            },
            segment: control.segmentation().then_some(offload::Segment {
                payload: meta.mss,
                l4_len: usize::from(meta.l4_words).saturating_mul(4),
                max_mtu: self.max_mtu,
            }),
        };
        offload::apply(&request, frame)?;
        if self.offloads.contains(frame.meta.needs()) {
            Ok(())
        } else {
            Err(BadOffload::NotOffered)
        }
    }
}

impl TxRing for Tx {
    fn next(&mut self, frame: &mut TxFrame) -> Result<Next, GuestFault> {
        frame.clear();
        if (self.head == self.tail || self.partial) && !self.look()? {
            return Ok(Next::Empty);
        }
        let (head_before, meta_before) = (self.head, self.meta);
        let packet = self.read(frame)?;
        self.partial = packet.is_none();
        let Some(packet) = packet else {
            frame.clear();
            return Ok(Next::Empty);
        };
        let prepared = self.prepare(&packet, frame);
        self.head = packet.head;
        let Control { id, completion, .. } = packet.control;
        let status = if prepared.is_ok() { SENT } else { MALFORMED };
        let head_after = self.head;
        self.taken.push_back(Taken {
            id,
            completion,
            status,
            head_before,
            head_after,
            meta_before,
        });
        let token = TxToken(id);
        Ok(if prepared.is_ok() { Next::Frame(token) } else { Next::Malformed(token) })
    }

    fn put_back(&mut self, _: TxToken) {
        if let Some(taken) = self.taken.pop_back() {
            (self.head, self.meta) = (taken.head_before, taken.meta_before);
        }
    }

    fn complete(&mut self, _: TxToken) -> Result<(), GuestFault> {
        match self.taken.pop_front() {
            Some(Taken { id, status, head_after, completion: true, .. }) => {
                match self.faults.completed(id) {
                    Some(id) => self.completions.push_tx(id, status, head_after),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.completions.publish())
    }

    fn put_off(&mut self, now: Instant) -> PutOff {
        let again = self.page.as_ref().and_then(|page| page.turn(now));
        let PutOff { fired, until } = self.completions.put_off(now);
        PutOff { fired, until: until.into_iter().chain(again).min() }
    }

    fn offered_at(&self) -> Option<Instant> {
        self.offered
    }

    fn stamp_offers(&mut self, on: bool) {
        self.stamp.want(on);
        self.offered = None;
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        if let Some(page) = &self.page {
            page.look();
        }
        Ok(self.doorbell.may_sleep(self.seen))
    }

    fn stay_quiet(&mut self) {
        self.doorbell.stay_awake();
    }

    fn broken(&mut self, fault: GuestFault) {
        self.faults.ring_broken(Direction::Tx, self.index, fault);
    }

    fn kick(&self) -> BorrowedFd<'_> {
        borrow(self.doorbell.waker())
    }
}

#[cfg(test)]
#[path = "tx_test.rs"]
mod tests;
