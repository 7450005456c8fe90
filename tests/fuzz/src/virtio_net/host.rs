//! The host's side of the network card: backends, and the frames they bring.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};

use device_core::GuestRam;
use net::backend::script::WireFrame;
use net::backend::{NetQueue, QueueError, Refused, Room, tap, vnet_hdr};
use net::frame::{Csum, FrameMeta, Gso, GsoKind, MAX_FRAME, RxFrame, TxFrame};
use virtio::testing::nic::MAC;
use vm_memory::{Bytes, GuestAddress};

/// A queue of a backend, during whose calls the guest writes to its memory.
pub struct Meddled {
    pub queue: Box<dyn NetQueue>,
    pub memory: GuestRam,
    pub writes: Arc<Mutex<Writes>>,
}

pub type Writes = VecDeque<(u32, Vec<u8>)>;

impl Meddled {
    fn meddle(&self) {
        if let Some((address, bytes)) = self.writes.lock().unwrap().pop_front() {
            // Outside of RAM a guest's write goes nowhere.
            let _ = self.memory.write_slice(&bytes, GuestAddress(address.into()));
        }
    }
}

impl NetQueue for Meddled {
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        self.meddle();
        self.queue.send(frame)
    }
    fn flush(&mut self) -> Refused {
        self.queue.flush()
    }
    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        self.meddle();
        self.queue.recv(room, frame)
    }
    fn enable(&mut self, on: bool) -> io::Result<()> {
        self.queue.enable(on)
    }
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.poll_fd()
    }
}

/// Both ends of the cable of lane 1.
pub struct Cable {
    host: UnixDatagram,
    card: UnixDatagram,
    /// For a frame of any length.
    room: Vec<u8>,
}

impl Cable {
    pub fn new() -> io::Result<Cable> {
        let (host, card) = UnixDatagram::pair()?;
        host.set_nonblocking(true)?;
        card.set_nonblocking(true)?;
        Ok(Cable { host, card, room: vec![0; vnet_hdr::LEN + MAX_FRAME + 1] })
    }

    /// The card's end as the file of a TAP.
    pub fn queue(&self) -> io::Result<tap::Queue> {
        Ok(tap::Queue::new(File::from(OwnedFd::from(self.card.try_clone()?)), false))
    }

    pub fn bring(&self, frame: &WireFrame) {
        let header = vnet_hdr::encode(&frame.meta, 0);
        // A full cable loses frames.
        let _ = self.host.send(&[&header[..], &frame.bytes].concat());
    }

    /// The next frame at the host's end, with its header.
    pub fn take(&mut self) -> Option<WireFrame> {
        let len = self.host.recv(&mut self.room).ok()?;
        let (header, frame) = self.room[..len].split_first_chunk().expect("a frame has a header");
        let meta = vnet_hdr::decode(header, frame.len()).expect("a header that makes sense");
        Some(WireFrame { meta, bytes: frame.to_vec() })
    }

    pub fn clear(&mut self) {
        for end in [&self.host, &self.card] {
            while end.recv(&mut self.room).is_ok() {}
        }
    }
}

/// A frame as a TAP may bring it.
pub fn frame(kind: u8, len: u16, start: u16, offset: u16, segment: u16) -> WireFrame {
    let csum = match kind & 3 {
        0 => Csum::Unknown,
        1 => Csum::Valid,
        _ => Csum::Needed { start, offset },
    };
    let gso = |kind| Gso { kind, ecn: start & 1 != 0, segment, headers: offset };
    let gso = match kind >> 2 & 7 {
        0 => Some(gso(GsoKind::Tcp4)),
        1 => Some(gso(GsoKind::Tcp6)),
        2 => Some(gso(GsoKind::Udp)),
        _ => None,
    };
    // To a group for some, to the card itself for the others.
    let to = if kind & 0x40 != 0 { [1, 0, 0x5e, 0, 0, 1] } else { MAC.0 };
    let to = if kind & 0x80 != 0 { [0xff; 6] } else { to };
    let mut bytes = vec![0x11; usize::from(len)];
    bytes.iter_mut().zip(to).for_each(|(byte, to)| *byte = to);
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes }
}
