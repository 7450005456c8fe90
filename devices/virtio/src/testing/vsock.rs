//! A small virtio-vsock driver: plugs the queues, sends packets of any kind, and looks at what it got.

use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use device_core::GuestRam;
use device_core::interrupt::{MsiSet, Route};
use device_core::testing::{TestMachine, TestMsiSet, ram};
use device_core::worker::Threads;
use vm_memory::{Bytes, GuestAddress};

use super::nic::TestNotice;
use super::ring::{DriverRing, readable, writable};
use crate::device::{LiveQueue, VirtioDevice};
use crate::ring::Buffer;
use crate::vsock::{
    HEADER_LEN, HOST_CID, Header, Op, OpenVsock, STREAM, Vsock, VsockControl, VsockSpec,
};

/// The guest's address.
pub const CID: u32 = 3;
/// Size of the rings, as the device's.
pub const RING: u16 = 256;
const RING_BYTES: u64 = DriverRing::bytes(RING);
const RINGS_AT: u64 = 0x1_0000;
const BUFFERS_AT: u64 = 0x40_0000;
const SENT_AT: u64 = 0x200_0000;
const MEMORY: usize = 0x400_0000;
/// Bytes of a receive buffer, as Linux has them.
pub const BUFFER: u32 = 4096;
/// Data that fits into one.
pub const ROOM: usize = BUFFER as usize - HEADER_LEN;
/// What the driver says it can hold of each connection.
pub const HOLDS: u32 = 256 << 10;

/// A packet that the guest got: its header, and the data behind it.
pub type Packet = (Header, Vec<u8>);

/// A vsock and its driver.
pub struct TestVsock {
    /// What the device was built with.
    pub machine: TestMachine,
    /// The guest's memory.
    pub memory: GuestRam,
    /// The device, without a transport.
    pub device: Arc<Vsock>,
    /// The device's socket.
    pub path: PathBuf,
    /// What the device has told.
    pub notice: Arc<TestNotice>,
    /// One for each queue.
    pub vectors: Arc<TestMsiSet>,
    /// Packets to the guest.
    pub rx: DriverRing,
    /// Packets from it.
    pub tx: DriverRing,
    /// Events.
    pub events: DriverRing,
    event_idx: bool,
    /// Receive buffers on offer, by head.
    offered: BTreeMap<u16, Buffer>,
    next_buffer: u64,
    next_sent: u64,
}

impl TestVsock {
    /// A device whose socket is `v.sock` in `folder`, its driver loaded, with 64 receive buffers.
    pub fn new(folder: &Path) -> TestVsock {
        let mut vsock = TestVsock::unplugged(folder, false);
        vsock.start(64);
        vsock
    }

    /// A device whose socket is `v.sock` in `folder`; rings with or without EVENT_IDX.
    pub fn unplugged(folder: &Path, event_idx: bool) -> TestVsock {
        let path = folder.join("v.sock");
        let mut machine = TestMachine::new(ram(MEMORY));
        machine.threads = Threads::by_hand().unwrap();
        let spec = VsockSpec { cid: CID, path: path.clone() };
        let device = Vsock::build(&OpenVsock::open(spec).unwrap(), &machine.kit()).unwrap();
        let vectors = TestMsiSet::new(3);
        let open = |index| Route { index, to: Some(Default::default()) };
        vectors.route(&[open(0), open(1), open(2)]).unwrap();
        let memory = machine.memory.clone();
        let ring = |nth| DriverRing::new(&memory, RINGS_AT + nth * RING_BYTES, RING, event_idx);
        TestVsock {
            rx: ring(0),
            tx: ring(1),
            events: ring(2),
            machine,
            memory,
            device,
            path,
            notice: Arc::default(),
            vectors,
            event_idx,
            offered: BTreeMap::new(),
            next_buffer: BUFFERS_AT,
            next_sent: SENT_AT,
        }
    }

    /// Loads the driver, with fresh rings, so many receive buffers and eight for events.
    pub fn start(&mut self, buffers: u16) {
        self.memory.write_slice(&vec![0; 3 * RING_BYTES as usize], GuestAddress(RINGS_AT)).unwrap();
        let ring =
            |nth| DriverRing::new(&self.memory, RINGS_AT + nth * RING_BYTES, RING, self.event_idx);
        (self.rx, self.tx, self.events) = (ring(0), ring(1), ring(2));
        (self.offered, self.next_buffer) = (BTreeMap::new(), BUFFERS_AT);
        self.post(buffers);
        (0..8).for_each(|_| self.post_event());
        self.plug(self.live());
        self.settle();
    }

    /// Gives the device these queues.
    pub fn plug(&self, queues: Vec<LiveQueue>) {
        self.device.plug(0, queues, self.notice.clone()).unwrap();
    }

    /// The device's halves of all rings, from their beginning.
    pub fn live(&self) -> Vec<LiveQueue> {
        let rings = [&self.rx, &self.tx, &self.events];
        let queues = (0u16..).zip(rings);
        queues.map(|(index, ring)| ring.live(index, self.vectors.vector(index))).collect()
    }

    /// Guest memory not used before.
    pub fn buffer(&mut self, len: u32) -> u64 {
        let at = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(64);
        assert!(self.next_buffer <= SENT_AT, "the test uses too much memory");
        at
    }

    /// Puts receive buffers on offer.
    pub fn post(&mut self, count: u16) {
        for _ in 0..count {
            let at = self.buffer(BUFFER);
            self.post_buffer(writable(at, BUFFER));
        }
        self.rx.kick();
    }

    fn post_buffer(&mut self, buffer: Buffer) {
        let head = self.rx.offer(&[buffer]);
        self.offered.insert(head, buffer);
    }

    /// Puts an event buffer on offer.
    pub fn post_event(&mut self) {
        let at = self.buffer(4);
        self.memory.write_slice(&[0xff; 4], GuestAddress(at)).unwrap();
        self.events.offer(&[writable(at, 4)]);
        self.events.kick();
    }

    /// Returns after turns of the device that follow all that was ready.
    pub fn settle(&self) {
        (0..8).for_each(|_| self.device.settle());
    }

    /// A header from the guest's port `guest` to the host's port `host`, with all the credit there is.
    pub fn header(&self, op: Op, guest: u32, host: u32) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: guest,
            dst_port: host,
            len: 0,
            kind: STREAM,
            op: op as u16,
            flags: 0,
            buf_alloc: HOLDS,
            fwd_cnt: 0,
        }
    }

    /// Sends a packet; its `len` is that of the data unless it says otherwise. Panics if it does not come back.
    pub fn send(&mut self, header: &Header, data: &[u8]) {
        self.offer(header, data);
        self.tx.kick();
        self.settle();
        assert_eq!(self.tx.take_all().len(), 1, "a packet that comes back");
    }

    /// Puts a packet on offer, header and data apart, as Linux 6.1 does.
    pub fn offer(&mut self, header: &Header, data: &[u8]) {
        let len = if header.len == 0 { data.len() as u32 } else { header.len };
        if self.next_sent + 0x2_0000 > MEMORY as u64 {
            self.next_sent = SENT_AT;
        }
        let at = self.next_sent;
        self.next_sent += (HEADER_LEN + data.len()).next_multiple_of(64) as u64;
        let behind = at + HEADER_LEN as u64;
        let bytes = Header { len, ..*header }.bytes();
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
        self.memory.write_slice(data, GuestAddress(behind)).unwrap();
        let chain = [readable(at, HEADER_LEN as u32), readable(behind, data.len() as u32)];
        self.tx.offer(if data.is_empty() { &chain[..1] } else { &chain });
    }

    /// All packets that the guest got, whose buffers it has on offer again.
    pub fn received(&mut self) -> Vec<Packet> {
        let packets = self.taken();
        self.settle();
        packets
    }

    /// The same without a turn of the device.
    pub fn taken(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        let filled: Vec<(Buffer, u32)> = (self.rx.take_all().into_iter())
            .map(|(head, len)| (self.offered.remove(&head).expect("a buffer on offer"), len))
            .collect();
        for (buffer, len) in filled {
            let mut bytes = vec![0; len as usize];
            self.memory.read_slice(&mut bytes, GuestAddress(buffer.addr)).unwrap();
            let (header, data) = bytes.split_first_chunk().expect("a header");
            let header = Header::parse(header);
            assert_eq!(header.len as usize, data.len(), "the length that it says");
            packets.push((header, data.to_vec()));
            self.post_buffer(buffer);
        }
        self.rx.kick();
        packets
    }

    /// The one packet that the guest got. Panics if it got another number of them.
    pub fn one(&mut self) -> Packet {
        let mut packets = self.received();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    /// The operations of all packets that the guest got.
    pub fn ops(&mut self) -> Vec<Op> {
        self.received().iter().map(|(header, _)| Op::of(header.op).expect("an operation")).collect()
    }

    /// A client that has connected and has said where to.
    pub fn client(&self, greeting: &str) -> UnixStream {
        use std::io::Write;
        let mut client = UnixStream::connect(&self.path).unwrap();
        client.write_all(greeting.as_bytes()).unwrap();
        client.set_nonblocking(true).unwrap();
        self.settle();
        client
    }

    /// A client's connection to the guest's port `guest`, accepted by both; and the host's port.
    pub fn connected(&mut self, guest: u32) -> (UnixStream, u32) {
        let client = self.client(&format!("CONNECT {guest}\n"));
        let (request, _) = self.one();
        assert_eq!((request.op, request.dst_port), (Op::Request as u16, guest));
        let host = request.src_port;
        self.send(&self.header(Op::Response, guest, host), &[]);
        assert_eq!(heard(&client), format!("OK {host}\n").as_bytes());
        (client, host)
    }

    /// Somebody who listens for the guest's connections to `port`.
    pub fn listener(&self, port: u32) -> UnixListener {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{port}"));
        UnixListener::bind(path).unwrap()
    }

    /// The guest's connection from `guest` to `host`, accepted by both.
    pub fn accepted(&mut self, guest: u32, host: u32) -> UnixStream {
        let listener = self.listener(host);
        self.send(&self.header(Op::Request, guest, host), &[]);
        let (response, _) = self.one();
        assert_eq!(response.op, Op::Response as u16);
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let path = listener.local_addr().unwrap().as_pathname().unwrap().to_path_buf();
        std::fs::remove_file(path).unwrap();
        stream
    }

    /// The device's counter `name`. Panics if it has none of that name.
    pub fn count(&self, name: &str) -> u64 {
        VsockControl::counters(&*self.device)[name]
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.device.view().connections.len()
    }
}

/// All that has come for a stream that does not wait.
pub fn heard(mut stream: &UnixStream) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    // It ends with an error where there is no end.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Whether the other end of a stream that does not wait is closed, and there is nothing left to read.
pub fn has_ended(mut stream: &UnixStream) -> bool {
    use std::io::{ErrorKind, Read};
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        // It has not read all that it was sent.
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
