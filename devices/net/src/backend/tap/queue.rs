//! One queue of a TAP: frames sent by io_uring in batches where the kernel lets us, else a frame per writev;
//! a frame per readv.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{c_int, iovec};

use super::batch::{self, Batch};
use super::ioctl;
use crate::backend::collect::{piece, piece_mut};
use crate::backend::interface::is_gone;
use crate::backend::{NetQueue, QueueError, Refused, Room, vnet_hdr};
use crate::frame::{HEAD, RxFrame, TxFrame};
use device_core::scatter::MAX_PIECES;
use device_core::thread;

/// Header, head and spill besides the guest's pieces.
const MAX_IOVECS: usize = MAX_PIECES + 3;

/// One queue of a TAP, by a descriptor of its own.
pub struct Queue {
    file: File,
    /// Whether the TAP has several queues, so that this one can be switched.
    steered: bool,
    /// Built anew for each call; its pointers are never used after.
    iovecs: Vec<iovec>,
    batching: Batching,
    /// Collected frames that the TAP refused since the last flush.
    refused: Refused,
}

/// Whether frames are collected.
enum Batching {
    /// The kernel would not, or has room for a few frames only, so that one may be refused and the next not. Or
    /// the queue has not begun: a ring belongs to the thread that made it.
    Off,
    On(Box<Batch>),
}

// SAFETY: the pointers in `iovecs` are rubbish outside of a call on one thread.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue over `file`: a TAP's, or for tests a socket that keeps frames apart. It does not
    /// block.
    pub fn new(file: File, steered: bool) -> Queue {
        let iovecs = Vec::with_capacity(MAX_IOVECS);
        Queue { file, steered, iovecs, batching: Batching::Off, refused: Refused::default() }
    }

    /// The frames that are collected, if they are.
    fn batch(&mut self) -> Option<&mut Batch> {
        match &mut self.batching {
            Batching::On(batch) => Some(batch),
            Batching::Off => None,
        }
    }

    fn try_batching(&self) -> Batching {
        // A thread that is shut in makes no ring: one that can make one could make it for anything.
        if thread::stays() || !ioctl::has_room_always(&self.file) {
            return Batching::Off;
        }
        match Batch::new() {
            Ok(batch) => Batching::On(Box::new(batch)),
            Err(error) => {
                tracing::info!("frames are sent one by one, which is slower: no io_uring: {error}");
                Batching::Off
            }
        }
    }

    fn send_collected(&mut self) {
        let Batching::On(batch) = &mut self.batching else { return };
        if batch.is_empty() {
            return;
        }
        let refused = &mut self.refused;
        batch.send(&self.file, |len, error| refused.add(len, send_error(error)));
        if batch.is_broken() {
            self.batching = Batching::Off;
        }
    }

    /// Writes a frame by itself.
    fn write(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        let header = vnet_hdr::encode(&frame.meta, 0);
        self.iovecs.clear();
        self.iovecs.push(piece(&header));
        self.iovecs.push(piece(frame.head.bytes()));
        self.iovecs.extend(frame.body.iovecs(0));
        // SAFETY: the first two pieces are borrowed slices, the others checked guest memory that `frame` keeps
        // mapped.
        unsafe { batch::write(&self.file, &self.iovecs) }.map_err(send_error)
    }

    fn count(&self) -> c_int {
        self.iovecs.len() as c_int // at most MAX_IOVECS
    }
}

impl NetQueue for Queue {
    fn begin(&mut self) {
        self.batching = self.try_batching();
    }

    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        match self.batch().map(|batch| (batch.push(frame), batch.is_full())) {
            Some((true, false)) => {}
            Some((true, true)) => self.send_collected(),
            // It goes by itself, behind those before it.
            Some((false, _)) | None => {
                self.send_collected();
                return self.write(frame);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Refused {
        self.send_collected();
        std::mem::take(&mut self.refused)
    }

    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        let mut header = [0; vnet_hdr::LEN];
        self.iovecs.clear();
        self.iovecs.push(piece_mut(&mut header));
        self.iovecs.push(piece_mut(frame.head.room()));
        self.iovecs.extend(room.buffers.iovecs(room.skip));
        self.iovecs.push(piece_mut(room.spill));
        let received = loop {
            let fd = self.file.as_raw_fd();
            // SAFETY: the first two pieces and the last are slices borrowed mutably, the others
            // checked guest memory that `room.buffers` keeps mapped; all live during the call.
            let received = unsafe { libc::readv(fd, self.iovecs.as_ptr(), self.count()) };
            if let Ok(received) = usize::try_from(received) {
                break received;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(recv_error(error));
            }
        };
        frame.len = received.saturating_sub(vnet_hdr::LEN);
        frame.head.set_len(frame.len.min(HEAD));
        room.buffers.wrote(room.skip, frame.len.saturating_sub(HEAD));
        frame.meta = vnet_hdr::decode(&header, frame.len)
            .map_err(|bad| QueueError::Refused(io::Error::other(bad)))?;
        Ok(())
    }

    fn enable(&mut self, on: bool) -> io::Result<()> {
        if !self.steered {
            return Ok(());
        }
        match ioctl::set_queue(&self.file, on) {
            // It is as it shall be.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn share(&self) -> io::Result<Box<dyn NetQueue>> {
        Ok(Box::new(Queue::new(self.file.try_clone()?, self.steered)))
    }
}

fn send_error(error: io::Error) -> QueueError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => QueueError::NotReady,
        Some(errno) if is_gone(errno) => QueueError::Gone(error),
        // The interface is down (EIO), memory is short, or the kernel found the frame or its
        // header wanting: the frame is lost, as on a wire.
        _ => QueueError::Refused(error),
    }
}

fn recv_error(error: io::Error) -> QueueError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => QueueError::NotReady,
        Some(errno) if is_gone(errno) => QueueError::Gone(error),
        _ => QueueError::Transient(error),
    }
}
