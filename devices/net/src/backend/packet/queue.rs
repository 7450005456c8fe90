//! One queue of an interface: frames received out of the kernel's ring, and sent in batches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use device_core::scatter::MAX_PIECES;
use device_core::worker::EventSet;
use libc::{c_int, iovec};

use super::batch::{self, Batch};
use super::finish::{Whole, complete, shifted, split};
use super::ring::{Ring, Slot};
use super::socket::{HEADER, Presence, Socket};
use crate::backend::collect::{piece, piece_mut};
use crate::backend::interface::is_gone;
use crate::backend::{NetQueue, QueueError, Refused, Room, vnet_hdr};
use crate::frame::{FrameMeta, HEAD, Offloads, RxFrame, TxFrame};
use crate::wire::ethernet::TAG;

/// Header, head in two parts, and spill besides the guest's pieces.
const MAX_IOVECS: usize = MAX_PIECES + 4;
/// Bytes of an Ethernet header before its tags.
const ADDRESSES: usize = 12;

/// What all handles on a queue share.
pub struct Shared {
    /// Closed before the ring is unmapped.
    pub socket: Socket,
    pub ring: Ring,
    /// Number of the interface.
    pub index: c_int,
    /// What the guest takes in received frames; all queues' of an interface.
    pub accepted: Arc<AtomicU32>,
}

/// One queue of an interface.
pub struct Queue {
    /// A shared handle's own descriptor of the socket: one thread may watch it beside the queue's. Closed before
    /// the ring is unmapped.
    watched: Option<OwnedFd>,
    shared: Arc<Shared>,
    /// Whether the interface has several queues.
    steered: bool,
    /// Built anew for each call; its pointers are never used after.
    iovecs: Vec<iovec>,
    batch: Batch,
    /// Frames that were not sent since the last flush.
    refused: Refused,
    /// A frame that is being cut, or has no other place.
    whole: Whole,
    /// The socket has an error to tell.
    suspect: bool,
    /// The interface was down when it was looked at.
    down: bool,
    /// The ring has been full.
    losing: bool,
}

// SAFETY: the pointers in `iovecs` are rubbish outside of a call on one thread.
unsafe impl Send for Queue {}

/// What becomes of a frame in the ring.
enum Taken {
    /// It is where it belongs.
    Done,
    /// It is in pieces from now on.
    Cut,
}

impl Queue {
    /// A handle on a queue; `down` if its interface is.
    pub fn new(shared: Arc<Shared>, steered: bool, down: bool) -> Queue {
        Queue {
            watched: None,
            shared,
            steered,
            iovecs: Vec::with_capacity(MAX_IOVECS),
            batch: Batch::new(),
            refused: Refused::default(),
            whole: Whole::new(),
            suspect: false,
            down,
            losing: false,
        }
    }

    fn send_collected(&mut self) {
        let refused = &mut self.refused;
        self.batch.send(&self.shared.socket, |len, error| refused.add(len, send_error(error)));
    }

    /// Sends a frame by itself.
    fn send_alone(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        let header = vnet_hdr::encode(&frame.meta, 0);
        self.iovecs.clear();
        self.iovecs.push(piece(header.get(..HEADER).unwrap_or_default()));
        self.iovecs.push(piece(frame.head.bytes()));
        self.iovecs.extend(frame.body.iovecs(0));
        // SAFETY: the first two pieces are borrowed slices, the others checked guest memory that `frame` keeps
        // mapped.
        unsafe { batch::send(&self.shared.socket, &mut self.iovecs) }.map_err(send_error)
    }

    /// Looks where the interface is. Fails if it is gone.
    fn look(&mut self) -> Result<(), QueueError> {
        self.suspect = false;
        let Shared { socket, index, .. } = &*self.shared;
        // What is now says more than what has been.
        socket.take_error().map_err(QueueError::Transient)?;
        match socket.presence(*index).map_err(QueueError::Transient)? {
            Presence::Up => self.down = false,
            Presence::Down => self.down = true,
            Presence::Gone => {
                return Err(QueueError::Gone(io::Error::from_raw_os_error(libc::ENODEV)));
            }
        }
        Ok(())
    }

    /// Takes a frame out of its slot, or from beside the ring. Not finished for the guest, it goes by `whole`.
    fn take(
        slot: &mut Slot<'_>,
        shared: &Shared,
        (whole, iovecs): (&mut Whole, &mut Vec<iovec>),
        room: &mut Room<'_>,
        frame: &mut RxFrame,
    ) -> Result<Taken, QueueError> {
        let (tag, len) = (slot.tag(), slot.len());
        let Some((header, _)) = slot.parts() else { return Err(refused("it is not in its slot")) };
        let mut meta = described(header, len);
        if tag.is_some() {
            meta = meta.map(|meta| shifted(meta, TAG as u16));
        }
        let accepted = Offloads::from_bits_truncate(shared.accepted.load(Ordering::Relaxed));
        let finished = meta.as_ref().is_ok_and(|meta| accepted.contains(meta.needs()));
        if slot.is_whole() {
            frame.meta = meta?;
            let bytes = match tag {
                None => slot.parts().map(|(_, bytes)| bytes),
                Some(tag) => slot.tagged(tag),
            };
            let Some(bytes) = bytes else { return Err(refused("it is not in its slot")) };
            if !finished && frame.meta.gso.is_some() {
                frame.len = bytes.len();
                whole.bytes_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                return cut(whole, frame);
            }
            if !finished {
                complete(&mut frame.meta, bytes);
            }
            put(bytes, &[], room, frame);
            return Ok(Taken::Done);
        }
        if !slot.is_beside() {
            return Err(refused("too much waits beside the ring for so long a frame"));
        }
        if finished {
            receive_beside(shared, tag, iovecs, room, frame)?;
            frame.meta = meta?;
            return Ok(Taken::Done);
        }
        receive_whole(shared, tag, iovecs, whole, frame)?;
        frame.meta = meta?;
        if frame.meta.gso.is_some() {
            return cut(whole, frame);
        }
        let bytes = whole.bytes_mut().get_mut(..frame.len).unwrap_or_default();
        complete(&mut frame.meta, bytes);
        put(bytes, &[], room, frame);
        Ok(Taken::Done)
    }

    /// The next piece of a frame that is being cut.
    fn next_piece(&mut self, room: &mut Room<'_>, frame: &mut RxFrame) -> bool {
        let Some(rest) = self.whole.next(frame) else { return false };
        let headers = frame.head.clone();
        put(headers.bytes(), self.whole.range(rest), room, frame);
        true
    }

    /// Frames that wait are forgotten.
    fn drain(&mut self) {
        self.whole.forget();
        // No more than there can be, as others may come meanwhile.
        for _ in 0..self.shared.ring.slots() {
            let Some(slot) = self.shared.ring.next() else { return };
            if !slot.is_whole() && slot.is_beside() {
                let mut header = [0; HEADER];
                // SAFETY: the piece is a slice that lives during the call.
                let _ = unsafe { self.shared.socket.receive(&mut [piece_mut(&mut header)]) };
            }
        }
    }
}

/// From now on the frame in `whole` comes in pieces.
fn cut(whole: &mut Whole, frame: &RxFrame) -> Result<Taken, QueueError> {
    whole.cut(frame).map_err(|why| QueueError::Refused(io::Error::other(why)))?;
    Ok(Taken::Cut)
}

/// Receives a frame that is beside the ring to where it belongs.
fn receive_beside(
    shared: &Shared,
    tag: Option<[u8; TAG]>,
    iovecs: &mut Vec<iovec>,
    room: &mut Room<'_>,
    frame: &mut RxFrame,
) -> Result<(), QueueError> {
    let mut header = [0; HEADER];
    iovecs.clear();
    iovecs.push(piece_mut(&mut header));
    push_around(tag, frame.head.room(), iovecs);
    iovecs.extend(room.buffers.iovecs(room.skip));
    iovecs.push(piece_mut(room.spill));
    // SAFETY: pieces of the header, the head and the spill are slices borrowed mutably, the others checked guest
    // memory that `room.buffers` keeps mapped; all live during the call.
    frame.len = received(unsafe { shared.socket.receive(iovecs) }, tag)?;
    frame.head.set_len(frame.len.min(HEAD));
    room.buffers.wrote(room.skip, frame.len.saturating_sub(HEAD));
    Ok(())
}

/// Receives a frame that is beside the ring to one place.
fn receive_whole(
    shared: &Shared,
    tag: Option<[u8; TAG]>,
    iovecs: &mut Vec<iovec>,
    whole: &mut Whole,
    frame: &mut RxFrame,
) -> Result<(), QueueError> {
    let mut header = [0; HEADER];
    iovecs.clear();
    iovecs.push(piece_mut(&mut header));
    push_around(tag, whole.bytes_mut(), iovecs);
    // SAFETY: all pieces are of slices that are borrowed mutably and live during the call.
    frame.len = received(unsafe { shared.socket.receive(iovecs) }, tag)?;
    Ok(())
}

/// Pieces of a frame's begin, around its tag, which is put in.
fn push_around(tag: Option<[u8; TAG]>, begin: &mut [u8], iovecs: &mut Vec<iovec>) {
    let Some(tag) = tag else { return iovecs.push(piece_mut(begin)) };
    if let Some((addresses, rest)) = begin.split_at_mut_checked(ADDRESSES)
        && let Some((place, rest)) = rest.split_first_chunk_mut()
    {
        *place = tag;
        iovecs.extend([piece_mut(addresses), piece_mut(rest)]);
    }
}

/// Bytes of the frame that came.
fn received(
    result: io::Result<Option<usize>>,
    tag: Option<[u8; TAG]>,
) -> Result<usize, QueueError> {
    match result {
        Ok(Some(len)) => {
            let tag = if tag.is_some() { TAG } else { 0 };
            Ok(len.saturating_sub(HEADER).saturating_add(tag))
        }
        Ok(None) => Err(refused("it is longer than any frame may be")),
        Err(error) => Err(recv_error(error)),
    }
}

/// Puts a frame, which is in two pieces, where it belongs.
#[inline]
fn put(first: &[u8], second: &[u8], room: &mut Room<'_>, frame: &mut RxFrame) {
    let [[front, top], body] = split(first, second);
    let head = frame.head.room();
    if let Some((to_front, to_top)) = head.split_at_mut_checked(front.len())
        && let Some(to_top) = to_top.get_mut(..top.len())
    {
        to_front.copy_from_slice(front);
        to_top.copy_from_slice(top);
    }
    let len = |pieces: [&[u8]; 2]| pieces.map(<[u8]>::len).iter().sum::<usize>();
    frame.head.set_len(len([front, top]));
    frame.len = len([front, top]).saturating_add(len(body));
    let fits = room.buffers.len().saturating_sub(room.skip);
    let mut at = 0usize;
    for piece in body {
        let (near, far) = piece.split_at_checked(fits.saturating_sub(at)).unwrap_or((piece, &[]));
        if !near.is_empty() {
            room.buffers.write_at(room.skip.saturating_add(at), near);
        }
        at = at.saturating_add(near.len());
        if !far.is_empty() {
            // Large enough for any frame.
            let spill = room.spill.get_mut(at.saturating_sub(fits)..).unwrap_or_default();
            spill.iter_mut().zip(far).for_each(|(to, from)| *to = *from);
            at = at.saturating_add(far.len());
        }
    }
}

/// What a vnet header says of a frame of `len` bytes.
fn described(header: &[u8; HEADER], len: usize) -> Result<FrameMeta, QueueError> {
    let mut longer = [0; vnet_hdr::LEN];
    longer.iter_mut().zip(header).for_each(|(to, from)| *to = *from);
    vnet_hdr::decode(&longer, len).map_err(|bad| QueueError::Refused(io::Error::other(bad)))
}

fn refused(why: &'static str) -> QueueError {
    QueueError::Refused(io::Error::other(why))
}

impl NetQueue for Queue {
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        if !self.batch.push(frame) {
            // It goes by itself, behind those before it.
            self.send_collected();
            return self.send_alone(frame);
        }
        if self.batch.is_full() {
            self.send_collected();
        }
        Ok(())
    }

    fn flush(&mut self) -> Refused {
        self.send_collected();
        std::mem::take(&mut self.refused)
    }

    fn recv(&mut self, mut room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        if self.suspect || self.down {
            self.look()?;
        }
        if self.next_piece(&mut room, frame) {
            return Ok(());
        }
        let shared = &*self.shared;
        let Some(mut slot) = shared.ring.next() else {
            return Err(match self.down {
                true => QueueError::Transient(io::Error::from_raw_os_error(libc::ENETDOWN)),
                false => QueueError::NotReady,
            });
        };
        self.losing |= slot.is_after_loss();
        let places = (&mut self.whole, &mut self.iovecs);
        let taken = Queue::take(&mut slot, shared, places, &mut room, frame)?;
        drop(slot);
        match taken {
            Taken::Cut if !self.next_piece(&mut room, frame) => Err(refused("it has no payload")),
            Taken::Cut | Taken::Done => Ok(()),
        }
    }

    fn suspect(&mut self) {
        self.suspect = true;
    }

    fn lost(&mut self) -> u64 {
        if !std::mem::take(&mut self.losing) {
            return 0;
        }
        // They are counted once, whoever of us asks.
        self.shared.socket.take_losses().unwrap_or_default().into()
    }

    /// The interface spreads frames over its queues as the backend is told; what has come before is not for
    /// whoever reads next.
    fn enable(&mut self, _: bool) -> io::Result<()> {
        if self.steered {
            self.drain();
        }
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watched.as_ref().map_or(self.shared.socket.as_fd(), AsFd::as_fd))
    }

    /// Only for what comes: frames are sent or refused at once, as on a wire.
    fn watches(&self) -> Vec<(BorrowedFd<'_>, EventSet)> {
        self.poll_fd().map(|fd| (fd, EventSet::IN)).into_iter().collect()
    }

    fn share(&self) -> io::Result<Box<dyn NetQueue>> {
        let watched = Some(self.shared.socket.as_fd().try_clone_to_owned()?);
        let queue = Queue::new(self.shared.clone(), self.steered, self.down);
        Ok(Box::new(Queue { watched, ..queue }))
    }
}

fn send_error(error: io::Error) -> QueueError {
    match error.raw_os_error() {
        Some(errno) if is_gone(errno) => QueueError::Gone(error),
        // The interface is down, memory or room on the way out is short, or the kernel found the frame or its
        // header wanting: the frame is lost, as on a wire.
        _ => QueueError::Refused(error),
    }
}

fn recv_error(error: io::Error) -> QueueError {
    match error.raw_os_error() {
        // It was in the ring, but is not beside it: so it is lost, and others are there.
        Some(libc::EAGAIN) => refused("it is no longer beside the ring"),
        Some(errno) if is_gone(errno) => QueueError::Gone(error),
        _ => QueueError::Transient(error),
    }
}
