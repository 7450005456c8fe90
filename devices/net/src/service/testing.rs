//! A guest's TCP client, packet by packet, by an independent builder of packets.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use device_core::scatter::Scatter;
use device_core::testing::ram;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::metadata::{IPV4_ADDRESS, IPV6_ADDRESS, Metadata, Settings};
use super::store::{Store, USUAL_LIMIT};
use crate::backend::Room;
use crate::frame::{MAX_FRAME, RxFrame};

pub const GUEST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x07];
pub const GUEST_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub const GUEST_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);

/// A service that tells this JSON.
pub fn metadata(settings: Settings, content: &str) -> Arc<Metadata> {
    let store = Arc::new(Store::new(USUAL_LIMIT));
    store.put(serde_json::from_str(content).unwrap()).unwrap();
    Arc::new(Metadata::new(settings, store, "test", ([7; 64], 7)))
}

/// What a frame to the guest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub to: [u8; 6],
    pub ttl: u8,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub payload: Vec<u8>,
}

/// One connection.
pub struct Client {
    pub v6: bool,
    pub port: u16,
    pub server_port: u16,
    pub seq: u32,
    pub ack: u32,
    /// Largest segment that it takes.
    pub window: u16,
}

impl Client {
    pub fn new(port: u16) -> Client {
        Client { v6: false, port, server_port: 80, seq: 1000, ack: 0, window: 0xfff0 }
    }

    fn build(&self, syn: bool, fin: bool, payload: &[u8]) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(GUEST_MAC, [2, 0, 0, 0, 0, 1]);
        let ip = match self.v6 {
            false => link.ipv4(GUEST_IPV4.octets(), IPV4_ADDRESS.octets(), 64),
            true => link.ipv6(GUEST_IPV6.octets(), IPV6_ADDRESS.octets(), 64),
        };
        let mut tcp = ip.tcp(self.port, self.server_port, self.seq, self.window);
        tcp = if syn { tcp.syn() } else { tcp.ack(self.ack) };
        if fin {
            tcp = tcp.fin();
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, payload).unwrap();
        frame
    }

    pub fn syn(&mut self) -> Vec<u8> {
        let frame = self.build(true, false, &[]);
        self.seq = self.seq.wrapping_add(1);
        frame
    }

    pub fn ack(&self) -> Vec<u8> {
        self.build(false, false, &[])
    }

    pub fn send(&mut self, payload: &[u8]) -> Vec<u8> {
        let frame = self.build(false, false, payload);
        self.seq = self.seq.wrapping_add(payload.len() as u32);
        frame
    }

    pub fn fin(&mut self) -> Vec<u8> {
        let frame = self.build(false, true, &[]);
        self.seq = self.seq.wrapping_add(1);
        frame
    }

    /// Reads a frame of the service, which must be whole and for this connection, and takes what is in order.
    pub fn hear(&mut self, frame: &[u8]) -> Heard {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let link: [u8; 6] = frame[..6].try_into().unwrap();
        let ttl = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                assert_eq!(header.destination_addr(), GUEST_IPV4);
                header.ttl()
            }
            NetSlice::Ipv6(ip) => {
                assert_eq!(ip.header().destination_addr(), GUEST_IPV6);
                ip.header().hop_limit()
            }
            other => panic!("{other:?}"),
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (self.server_port, self.port));
        let sum = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                tcp.calc_checksum_ipv4(header.source(), header.destination()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                tcp.calc_checksum_ipv6(header.source(), header.destination()).unwrap()
            }
            _ => unreachable!(),
        };
        assert_eq!(tcp.checksum(), sum);
        let payload = tcp.payload().to_vec();
        let len = payload.len() as u32 + u32::from(tcp.syn()) + u32::from(tcp.fin());
        if tcp.syn() || tcp.sequence_number() == self.ack {
            self.ack = tcp.sequence_number().wrapping_add(len);
        }
        let (syn, fin, rst) = (tcp.syn(), tcp.fin(), tcp.rst());
        Heard { to: link, ttl, syn, fin, rst, payload }
    }
}

/// A request for `path` without anything.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// All that comes of the frames that wait for the guest.
pub fn frames(mut recv: impl FnMut(Room<'_>, &mut RxFrame) -> Option<()>) -> Vec<Vec<u8>> {
    let buffers = Scatter::new(ram(0x1000));
    let mut spill = vec![0; MAX_FRAME];
    let mut all = Vec::new();
    let mut frame = RxFrame::default();
    while recv(Room { buffers: &buffers, skip: 0, spill: &mut spill }, &mut frame).is_some() {
        let rest = frame.len - frame.head.bytes().len();
        all.push([frame.head.bytes(), &spill[..rest]].concat());
    }
    all
}
