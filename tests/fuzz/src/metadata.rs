//! The metadata service as a hostile guest meets it: any frames, segments of connections that go wrong, any
//! heads of requests, time that passes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use net::backend::Room;
use net::frame::{MAX_FRAME, RxFrame, TxFrame};
use net::service::metadata::{IPV4_ADDRESS, IPV6_ADDRESS, Metadata, Settings, Version};
use net::service::store::{Store, USUAL_LIMIT};
use net::service::{Service, Shares};
use vm_memory::{Bytes, GuestAddress};

use crate::input::{Input, Output};

const CONTENT: &str = r#"{"a":"b","latest":{"meta-data":{"x":"y","n":5,"list":["z"]}}}"#;
const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// Connections that an input has of each version of IP.
const CONNECTIONS: u8 = 4;

/// What can happen, by its first byte.
const FRAME: u8 = 0;
const SEGMENT: u8 = 1;
const TIME: u8 = 2;
const RECEIVE: u8 = 3;

/// Flags of a segment (RFC 9293, 3.1).
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Adds a whole frame of the guest.
pub fn frame(out: &mut Output, bytes: &[u8]) {
    out.u8(FRAME).u16(bytes.len() as u16).bytes(bytes);
}

/// Adds a segment of a connection: its place in the stream is `ahead` of what was sent before.
pub fn segment(out: &mut Output, connection: u8, flags: u8, ahead: i8, payload: &[u8]) {
    out.u8(SEGMENT)
        .u8(connection)
        .u8(flags)
        .u8(ahead as u8)
        .u16(payload.len() as u16)
        .bytes(payload);
}

/// Lets time pass.
pub fn time(out: &mut Output, ms: u16) {
    out.u8(TIME).u16(ms);
}

/// Lets the guest take all frames that wait for it.
pub fn receive(out: &mut Output) {
    out.u8(RECEIVE);
}

/// One connection, as its guest sees it.
#[derive(Clone, Copy, Default)]
struct Flow {
    seq: u32,
    ack: u32,
}

struct Guest {
    service: Service,
    metadata: Arc<Metadata>,
    now: Instant,
    flows: [Flow; 2 * CONNECTIONS as usize],
    room: Scatter,
    spill: Vec<u8>,
    out: TxFrame,
}

/// Runs an input to its end.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(manners) = input.u8() else { return };
    let mut guest = Guest::new(manners);
    while let Some(step) = input.u8() {
        match step & 3 {
            FRAME => {
                let Some(len) = input.u16() else { break };
                let frame = input.bytes(len.into()).to_vec();
                guest.send(&frame);
            }
            SEGMENT => {
                let Some([connection, flags, ahead]) = input.array() else { break };
                let Some(len) = input.u16() else { break };
                let payload = input.bytes(len.into()).to_vec();
                guest.segment(connection, flags, ahead as i8, &payload);
            }
            TIME => {
                let Some(ms) = input.u16() else { break };
                guest.now += Duration::from_millis(ms.into());
                guest.service.poll(guest.now);
                // What is due by itself is due later, so that no thread does nothing else.
                assert!(guest.service.deadline().is_none_or(|due| due > guest.now));
            }
            _ => guest.receive(),
        }
    }
    guest.receive();
    answered(bytes, &guest.metadata, guest.now);
}

/// An input as the head of a request, too.
fn answered(bytes: &[u8], metadata: &Metadata, now: Instant) {
    use net::service::request::{Read, read};
    if let Read::Whole(request, len) = read(bytes) {
        assert!(len <= bytes.len() && request.path.starts_with('/'));
        let mut text = Vec::new();
        metadata.answer(&request, now).write(request.closes, &mut text);
        let head = text.windows(4).position(|end| end == b"\r\n\r\n").expect("a head has an end");
        let head = std::str::from_utf8(&text[..head]).expect("a head is text");
        assert!(head.lines().count() <= 6, "nobody adds lines to a head: {head}");
    }
}

impl Guest {
    fn new(manners: u8) -> Guest {
        let store = Arc::new(Store::new(USUAL_LIMIT));
        store.put(serde_json::from_str(CONTENT).expect("JSON")).expect("it fits");
        let version = if manners & 1 == 0 { Version::V1 } else { Version::V2 };
        let settings = Settings { version, imds_compat: manners & 2 != 0, ..Settings::default() };
        let metadata = Arc::new(Metadata::new(settings, store, "fuzz", ([1; 64], 1)));
        let shares = Shares::new(&metadata, 1).expect("one lane takes nothing of the host");
        let memory = ram(0x2_0000);
        Guest {
            service: shares.of(0).expect("the first lane has the stack"),
            metadata,
            now: Instant::now(),
            flows: Default::default(),
            room: Scatter::new(memory.clone()),
            spill: vec![0; MAX_FRAME],
            out: TxFrame::new(memory),
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.out.clear();
        let memory = self.out.body.memory().clone();
        memory.write_slice(frame, GuestAddress(0)).expect("it is long enough");
        self.out.body.push(0, frame.len() as u32).expect("it is memory");
        self.out.pull_head();
        self.service.takes(&self.out, self.now);
    }

    fn segment(&mut self, connection: u8, flags: u8, ahead: i8, payload: &[u8]) {
        let nth = usize::from(connection % (2 * CONNECTIONS));
        let flow = self.flows[nth];
        let mut tcp = (1000 + nth as u16).to_be_bytes().to_vec();
        tcp.extend(80u16.to_be_bytes());
        tcp.extend(flow.seq.wrapping_add_signed(ahead.into()).to_be_bytes());
        tcp.extend(flow.ack.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let len = tcp.len() as u16;
        let mut frame = [[2, 0, 0, 0, 0, 1], GUEST].concat();
        if nth < usize::from(CONNECTIONS) {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((len + 20).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 7]);
            frame.extend(IPV4_ADDRESS.octets());
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([6, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
            frame.extend(IPV6_ADDRESS.octets());
        }
        frame.extend(tcp);
        let counted = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.flows[nth].seq = flow.seq.wrapping_add(counted);
        self.send(&frame);
    }

    /// Takes all frames, each of which must be for a guest, and follows what they say of its connections.
    fn receive(&mut self) {
        let mut frame = RxFrame::default();
        for _ in 0..10_000 {
            let room = Room { buffers: &self.room, skip: 0, spill: &mut self.spill };
            if self.service.recv(room, &mut frame, self.now).is_none() {
                assert!(!self.service.has_frames());
                return;
            }
            assert!((14..=1514).contains(&frame.len), "{}", frame.len);
            let head = frame.head.bytes();
            assert!(head[0] & 1 == 0, "a frame for a group");
            let (protocol, tcp) = match head[12..14] {
                [8, 0] => (head[23], &head[34..]),
                [0x86, 0xdd] => (head[20], &head[54..]),
                _ => continue,
            };
            if protocol != 6 {
                continue;
            }
            let word =
                |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
            let nth = u16::from_be_bytes([tcp[2], tcp[3]]).wrapping_sub(1000);
            if let Some(flow) = self.flows.get_mut(usize::from(nth)) {
                let begins = frame.len - (head.len() - tcp.len()) - usize::from(tcp[12] >> 4) * 4;
                let counted = begins as u32 + u32::from(tcp[13] & (SYN | FIN) != 0);
                flow.ack = word(4).wrapping_add(counted);
            }
        }
        panic!("frames without end");
    }
}
