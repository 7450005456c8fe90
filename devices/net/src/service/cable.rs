//! The cable between guest and stack: the stack's packets in frames, and who of the guest has which
//! address of the link.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use super::metadata::ServiceCounters;
use crate::backend::Room;
use crate::frame::{Csum, FrameMeta, HEAD, RxFrame};
use crate::mac::MacAddr;
use crate::wire::checksum::pseudo_header;
use crate::wire::{ethernet, icmpv6, ipv6, put_be16};

/// The service's address on the link, as in Firecracker.
pub const MAC: MacAddr = MacAddr([0x06, 0x01, 0x23, 0x45, 0x67, 0x01]);
/// Largest packet to the guest; a guest that takes less says so in its SYN.
const MTU: usize = 1500;
/// Frames on their way to the guest; then the stack waits.
pub const MOST_FRAMES: usize = 64;
/// Addresses of the guest that are remembered; the oldest is forgotten first.
const MOST_NEIGHBOURS: usize = 64;

/// Frames on their way, both ways.
pub struct Cable {
    /// The packet that the stack is to read next, if there is one.
    incoming: Vec<u8>,
    to_guest: ToGuest,
}

/// Those to the guest, and where it is.
struct ToGuest {
    counters: Arc<ServiceCounters>,
    /// Whole frames for the guest, in order.
    outgoing: VecDeque<Vec<u8>>,
    /// Buffers of frames that are gone, for those to come.
    spare: Vec<Vec<u8>>,
    neighbours: VecDeque<(IpAddr, MacAddr)>,
}

impl Cable {
    /// One with nothing on it.
    pub fn new(counters: Arc<ServiceCounters>) -> Cable {
        let (outgoing, neighbours) = (VecDeque::new(), VecDeque::new());
        let to_guest = ToGuest { counters, outgoing, spare: Vec::new(), neighbours };
        Cable { incoming: Vec::new(), to_guest }
    }

    /// The packet is for the stack to read next, and its sender is reached at `mac`.
    pub fn bring(&mut self, packet: &[u8], sender: IpAddr, mac: MacAddr) {
        self.to_guest.learn(sender, mac);
        self.incoming.clear();
        self.incoming.extend_from_slice(packet);
    }

    /// Answers an ARP request of `mac` (RFC 826). Whether it was one, and there was room.
    pub fn answer_arp(&mut self, request: &[u8], mac: MacAddr) -> bool {
        const ETHERNET_IPV4_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
        let (sender, target) = (request.get(8..18), request.get(24..28));
        let (Some(sender), Some(target)) = (sender, target) else { return false };
        if !request.starts_with(&ETHERNET_IPV4_REQUEST) || !self.has_room() {
            return false;
        }
        let mut reply = [0, 1, 8, 0, 6, 4, 0, 2].to_vec();
        reply.extend(MAC.0);
        reply.extend_from_slice(target);
        reply.extend_from_slice(sender);
        self.to_guest.send(mac, ethernet::ARP, &reply);
        true
    }

    /// Answers a neighbour solicitation of `mac` (RFC 4861, 7.2.4). Whether it was one, and there was
    /// room.
    pub fn answer_solicitation(&mut self, packet: &[u8], mac: MacAddr) -> bool {
        let message = packet.get(ipv6::HEADER..).unwrap_or_default();
        let source = packet.get(8..24).and_then(|source| source.first_chunk::<16>());
        let target = message.get(icmpv6::TARGET);
        // Solicitations from beyond the link are no good.
        let near = packet.get(7) == Some(&255);
        let (Some(source), Some(target), true, true) = (source, target, near, self.has_room())
        else {
            return false;
        };
        let source = Ipv6Addr::from(*source);
        // Who only looks whether an address is taken has none yet.
        let asks_for_itself = source.is_unspecified();
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let to = if asks_for_itself { all_nodes } else { source };
        // Override, and solicited if it was.
        let flags = if asks_for_itself { 0x20 } else { 0x60 };
        let mut advertisement = vec![icmpv6::ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
        advertisement.extend_from_slice(target);
        advertisement.extend([2, 1]);
        advertisement.extend(MAC.0);
        let len = advertisement.len();
        let mut reply = vec![0x60, 0, 0, 0, 0, len as u8, icmpv6::PROTOCOL, 255];
        reply.extend_from_slice(target);
        reply.extend(to.octets());
        let mut sum = pseudo_header(
            reply.get(ipv6::ADDRESSES.start..).unwrap_or_default(),
            icmpv6::PROTOCOL,
            len as u32,
        );
        sum.add(&advertisement);
        put_be16(&mut advertisement, icmpv6::CHECKSUM_AT, sum.checksum());
        reply.append(&mut advertisement);
        self.to_guest.send(mac, ethernet::IPV6, &reply);
        true
    }

    /// Whether one more frame can be on its way to the guest.
    pub fn has_room(&self) -> bool {
        self.to_guest.has_room()
    }

    /// Whether frames wait for the guest.
    pub fn has_frames(&self) -> bool {
        !self.to_guest.outgoing.is_empty()
    }

    /// Takes the next frame for the guest, as a backend's queue would bring it; `None` if there is none.
    pub fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Option<()> {
        let bytes = self.to_guest.outgoing.pop_front()?;
        // Its checksums are right, and between here and the guest is no wire.
        frame.meta = FrameMeta { csum: Csum::Valid, ..FrameMeta::default() };
        frame.len = bytes.len();
        let (head, body) = bytes.split_at(bytes.len().min(HEAD));
        frame.head.set(head);
        let fits = room.buffers.len().saturating_sub(room.skip).min(body.len());
        let (body, rest) = body.split_at(fits);
        room.buffers.write_at(room.skip, body);
        room.spill.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.to_guest.spare.push(bytes);
        Some(())
    }
}

impl ToGuest {
    fn has_room(&self) -> bool {
        self.outgoing.len() < MOST_FRAMES
    }

    fn learn(&mut self, ip: IpAddr, mac: MacAddr) {
        if let Some(known) = self.neighbours.iter_mut().find(|known| known.0 == ip) {
            known.1 = mac;
            return;
        }
        if self.neighbours.len() >= MOST_NEIGHBOURS {
            self.neighbours.pop_front();
        }
        self.neighbours.push_back((ip, mac));
    }

    fn send(&mut self, to: MacAddr, kind: u16, packet: &[u8]) {
        let mut frame = self.spare.pop().unwrap_or_default();
        begin(&mut frame, packet.len());
        if let Some(rest) = frame.get_mut(ethernet::HEADER..) {
            rest.copy_from_slice(packet);
        }
        self.put(frame, to, kind);
    }

    fn put(&mut self, mut frame: Vec<u8>, to: MacAddr, kind: u16) {
        let header = to.0.into_iter().chain(MAC.0).chain(kind.to_be_bytes());
        frame.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        self.counters.tx_frames.add(1);
        self.counters.tx_bytes.add(frame.len() as u64);
        self.outgoing.push_back(frame);
    }
}

/// Room for a packet of `len` bytes behind a header.
fn begin(frame: &mut Vec<u8>, len: usize) {
    frame.clear();
    frame.resize(ethernet::HEADER.saturating_add(len), 0);
}

/// Who a packet of the stack is for, and its type on the link.
fn destination(packet: &[u8]) -> Option<(IpAddr, u16)> {
    match packet.first()? >> 4 {
        4 => {
            let to: &[u8; 4] = packet.get(16..20)?.first_chunk()?;
            Some((IpAddr::from(*to), ethernet::IPV4))
        }
        _ => {
            let to: &[u8; 16] = packet.get(24..40)?.first_chunk()?;
            Some((IpAddr::from(*to), ethernet::IPV6))
        }
    }
}

/// The packet that was brought; it is gone once it is read.
pub struct Incoming<'a>(&'a mut Vec<u8>);

/// Room for one packet to the guest.
pub struct Outgoing<'a>(&'a mut ToGuest);

impl phy::Device for Cable {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        if self.incoming.is_empty() || !self.has_room() {
            return None;
        }
        Some((Incoming(&mut self.incoming), Outgoing(&mut self.to_guest)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        self.has_room().then_some(Outgoing(&mut self.to_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // What the guest sends has crossed no wire either, and its sums may be left to its card.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.icmpv4 = Checksum::Tx;
        capabilities.checksum.icmpv6 = Checksum::Tx;
        capabilities
    }
}

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let done = read(self.0);
        self.0.clear();
        done
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let Outgoing(to_guest) = self;
        let mut frame = to_guest.spare.pop().unwrap_or_default();
        begin(&mut frame, len);
        let packet = frame.get_mut(ethernet::HEADER..).unwrap_or_default();
        let written = write(packet);
        let neighbour = destination(packet).and_then(|(to, kind)| {
            let mut neighbours = to_guest.neighbours.iter();
            neighbours.find(|known| known.0 == to).map(|known| (known.1, kind))
        });
        match neighbour {
            Some((mac, kind)) => to_guest.put(frame, mac, kind),
            // Forgotten since: it is lost, as on a wire.
            None => {
                to_guest.counters.tx_errors.add(1);
                to_guest.spare.push(frame);
            }
        }
        written
    }
}
