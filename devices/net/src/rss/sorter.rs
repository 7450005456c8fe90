//! Exact steering where the kernel's program may not be loaded: one thread reads all frames and
//! hands each to its lane.
//!
//! ```text
//!                        ┌─► bounded queue ─► Sorted ─► lane 0
//! queue 0 ─► Sorter ─ hash ─► bounded queue ─► Sorted ─► lane 1
//!                        └─► ...
//! ```
//! All frames come from one queue of the backend, in its order, and each lane's queue keeps the
//! order: so no flow is ever reordered. The price is one copy and one wake more. A lane that does
//! not keep up loses frames by itself, counted, and does not hold up the others.
//!
//! While sorting is off, each [`Sorted`] passes everything on to the queue it wraps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Instant;

use device_core::doorbell::{Doorbell, Wake};
use device_core::worker::{Again, EventSet, Interest, Source, Worker};
use device_core::{GuestRam, counters};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Hasher;
use crate::backend::{NetQueue, QueueError, Refused, Room};
use crate::frame::{FrameMeta, HEAD, MAX_FRAME, RxFrame, TxFrame};
use device_core::scatter::Scatter;

/// Frames that may wait for one lane; of the largest, 32 MiB.
const PARCELS: usize = 512;
/// Buffers of at most this size are used again; larger ones are given back to the system.
const KEPT: usize = 4096;
/// Frames per turn.
const BUDGET: usize = 64;
const QUEUE: Source = 0;

counters! {
    /// What the sorter has done since its machine was built.
    pub struct SorterCounters {
        /// Frames handed to a lane.
        rx_sorted,
        /// Frames lost since their lane, or all lanes' one reader, did not keep up.
        rx_sort_overflow,
        /// Frames that could not be read.
        rx_sort_errors,
    }
}

/// A frame on its way from the sorter to a lane.
#[derive(Default)]
struct Parcel {
    meta: FrameMeta,
    bytes: Vec<u8>,
}

struct Bell(EventFd);

impl Wake for Bell {
    fn wake(&self) {
        // Cannot fail but by overflow, and then it is ready already.
        let _ = self.0.write(1);
    }
}

/// The sorter's side of one lane.
struct Outbox {
    parcels: SyncSender<Parcel>,
    /// Buffers that came back.
    empty: Receiver<Vec<u8>>,
    /// Rung with the number of parcels put.
    bell: Arc<Doorbell<Bell>>,
    put: u32,
}

/// The queue of one lane: its own of the backend, or what the sorter has for it.
pub struct Sorted {
    own: Box<dyn NetQueue>,
    /// The queue that is read by the sorter, for sending: the backend's others are off meanwhile.
    shared: Box<dyn NetQueue>,
    sorted: bool,
    /// The sorter rests, but what it left here comes first.
    leftover: bool,
    /// Whether the queue shall be on, once sorting ends.
    enabled: bool,
    parcels: Receiver<Parcel>,
    empty: SyncSender<Vec<u8>>,
    bell: Arc<Doorbell<Bell>>,
    /// The first lane's queue stays on: it is what the sorter reads.
    first: bool,
}

/// Reads frames and hands them out; a worker of its own.
pub struct Sorter {
    queue: Box<dyn NetQueue>,
    hasher: Option<Arc<Hasher>>,
    lanes: Vec<Outbox>,
    counters: Arc<SorterCounters>,
    frame: RxFrame,
    spill: Box<[u8]>,
    /// No guest buffers: all goes to the private head and to the spill.
    no_room: Scatter,
    readable: bool,
}

/// Wraps the queues of one backend; those of one that cannot be shared are given back as they are.
pub fn wrap(
    queues: Vec<Box<dyn NetQueue>>,
    memory: GuestRam,
) -> (Option<Sorter>, Vec<Box<dyn NetQueue>>) {
    let shares = queues.first().map(|first| {
        let count = queues.len().saturating_add(1);
        (0..count).map(|_| first.share()).collect::<io::Result<Vec<_>>>()
    });
    let bells = queues.iter().map(|_| Ok(Bell(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?)));
    let bells = bells.collect::<io::Result<Vec<_>>>();
    let (Some(Ok(mut shares)), Ok(bells)) = (shares, bells) else { return (None, queues) };
    let Some(queue) = shares.pop() else { return (None, queues) };
    let mut lanes = Vec::with_capacity(queues.len());
    let mut wrapped: Vec<Box<dyn NetQueue>> = Vec::with_capacity(queues.len());
    for (own, (shared, bell)) in queues.into_iter().zip(shares.into_iter().zip(bells)) {
        let (to_lane, parcels) = sync_channel(PARCELS);
        let (empty, from_lane) = sync_channel(PARCELS);
        let bell = Arc::new(Doorbell::new(bell));
        lanes.push(Outbox { parcels: to_lane, empty: from_lane, bell: bell.clone(), put: 0 });
        let first = wrapped.is_empty();
        wrapped.push(Box::new(Sorted {
            own,
            shared,
            sorted: false,
            leftover: false,
            enabled: true,
            parcels,
            empty,
            bell,
            first,
        }));
    }
    let sorter = Sorter {
        queue,
        hasher: None,
        lanes,
        counters: Arc::default(),
        frame: RxFrame::default(),
        spill: vec![0; MAX_FRAME].into(),
        no_room: Scatter::new(memory),
        readable: true,
    };
    (Some(sorter), wrapped)
}

impl Sorter {
    /// What it has done, to be read by anyone.
    pub fn counters(&self) -> Arc<SorterCounters> {
        self.counters.clone()
    }

    /// Sorts by these rules from now on, or rests. The lanes must have been told before it begins. Fails
    /// if the host refuses to watch the queue.
    pub fn sort(
        &mut self,
        hasher: Option<Arc<Hasher>>,
        interest: &mut Interest<'_>,
    ) -> io::Result<()> {
        match (&self.hasher, &hasher, self.queue.poll_fd()) {
            (None, Some(_), Some(fd)) => {
                interest.watch(fd, QUEUE, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
            }
            (Some(_), None, Some(fd)) => interest.forget(fd)?,
            _ => {}
        }
        self.readable = true;
        self.hasher = hasher;
        Ok(())
    }

    fn pump(&mut self) -> Again {
        let Some(hasher) = self.hasher.clone().filter(|_| self.readable) else {
            return Again::WhenReady;
        };
        for _ in 0..BUDGET {
            let room = Room { buffers: &self.no_room, skip: HEAD, spill: &mut self.spill };
            match self.queue.recv(room, &mut self.frame) {
                Ok(()) => self.hand_over(&hasher),
                Err(QueueError::NotReady) => {
                    self.counters.rx_sort_overflow.add(self.queue.lost());
                    self.readable = false;
                    return Again::WhenReady;
                }
                Err(QueueError::Refused(_)) => self.counters.rx_sort_errors.add(1),
                Err(QueueError::Transient(_)) => {
                    // Tried again when more comes.
                    self.counters.rx_sort_errors.add(1);
                    self.readable = false;
                    return Again::WhenReady;
                }
                Err(QueueError::Gone(_)) => {
                    self.counters.rx_sort_errors.add(1);
                    self.give_up();
                    return Again::WhenReady;
                }
            }
        }
        Again::Now
    }

    /// The backend is gone: every lane finds that nobody sends to it any more.
    fn give_up(&mut self) {
        self.readable = false;
        for Outbox { parcels, bell, put, .. } in self.lanes.drain(..) {
            drop(parcels);
            bell.ring(put.wrapping_add(1));
        }
    }

    fn hand_over(&mut self, hasher: &Hasher) {
        let head = self.frame.head.bytes();
        let lane = hasher.lane(hasher.hash(head));
        let Some(lane) = self.lanes.get_mut(usize::from(lane)) else {
            self.counters.rx_sort_overflow.add(1);
            return;
        };
        let mut bytes = lane.empty.try_recv().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(head);
        let rest = self.frame.len.saturating_sub(head.len());
        bytes.extend_from_slice(self.spill.get(..rest).unwrap_or_default());
        match lane.parcels.try_send(Parcel { meta: self.frame.meta, bytes }) {
            Ok(()) => {
                lane.put = lane.put.wrapping_add(1);
                lane.bell.ring(lane.put);
                self.counters.rx_sorted.add(1);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.rx_sort_overflow.add(1);
            }
        }
    }
}

impl Worker for Sorter {
    fn begin(&mut self, _: &mut Interest<'_>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&mut self, _: Source, readiness: EventSet) {
        if readiness.intersects(EventSet::ERROR | EventSet::HANG_UP) {
            self.queue.suspect();
        }
        self.readable = true;
    }

    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        self.pump()
    }
}

impl Sorted {
    /// The next parcel; [`QueueError::NotReady`] once it is safe to wait for the bell.
    fn next(&self) -> Result<Parcel, QueueError> {
        loop {
            let seen = self.bell.tail();
            match self.parcels.try_recv() {
                Ok(parcel) => return Ok(parcel),
                Err(TryRecvError::Disconnected) => {
                    return Err(QueueError::Gone(io::Error::other("it can no longer be read")));
                }
                Err(TryRecvError::Empty) if self.bell.may_sleep(seen) => {
                    return Err(QueueError::NotReady);
                }
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn unpack(&self, mut parcel: Parcel, room: Room<'_>, frame: &mut RxFrame) {
        let bytes = &parcel.bytes;
        frame.meta = parcel.meta;
        frame.len = bytes.len();
        frame.head.set_len(bytes.len().min(HEAD));
        let (head, body) = bytes.split_at_checked(HEAD).unwrap_or((bytes, &[]));
        frame.head.room().iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        let fits = room.buffers.len().saturating_sub(room.skip).min(body.len());
        let (body, rest) = body.split_at_checked(fits).unwrap_or((body, &[]));
        room.buffers.write_at(room.skip, body);
        if let Some(spill) = room.spill.get_mut(..rest.len()) {
            spill.copy_from_slice(rest);
        }
        if parcel.bytes.capacity() <= KEPT {
            // As many places as parcels, so it is never full.
            let _ = self.empty.try_send(std::mem::take(&mut parcel.bytes));
        }
    }
}

impl NetQueue for Sorted {
    fn begin(&mut self) {
        self.own.begin();
        self.shared.begin();
    }

    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        if self.sorted { self.shared.send(frame) } else { self.own.send(frame) }
    }

    fn flush(&mut self) -> Refused {
        if self.sorted { self.shared.flush() } else { self.own.flush() }
    }

    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        if self.sorted {
            let parcel = self.next()?;
            self.unpack(parcel, room, frame);
            return Ok(());
        }
        if self.leftover {
            if let Ok(parcel) = self.parcels.try_recv() {
                self.unpack(parcel, room, frame);
                return Ok(());
            }
            self.leftover = false;
        }
        self.own.recv(room, frame)
    }

    fn suspect(&mut self) {
        self.own.suspect();
    }

    fn lost(&mut self) -> u64 {
        if self.sorted { 0 } else { self.own.lost() }
    }

    fn enable(&mut self, on: bool) -> io::Result<()> {
        self.enabled = on;
        if self.sorted { Ok(()) } else { self.own.enable(on) }
    }

    fn sort(&mut self, on: bool) -> io::Result<()> {
        if !self.first && self.enabled && self.sorted != on {
            // Frames that wait in a queue that is turned off are lost, as at any such turn.
            self.own.enable(!on)?;
        }
        self.sorted = on;
        self.leftover = !on;
        Ok(())
    }

    fn share(&self) -> io::Result<Box<dyn NetQueue>> {
        self.own.share()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.own.poll_fd()
    }

    fn watches(&self) -> Vec<(BorrowedFd<'_>, EventSet)> {
        let mut watches = self.own.watches();
        watches.push((device_core::kick::borrow(&self.bell.waker().0), EventSet::IN));
        // Of the shared queue only room matters here; the sorter reads it.
        let others = self.shared.watches().into_iter().filter(|(fd, set)| {
            set.contains(EventSet::OUT)
                && !self.first
                && self.own.poll_fd().is_none_or(|own| own.as_raw_fd() != fd.as_raw_fd())
        });
        watches.extend(others.map(|(fd, _)| (fd, EventSet::OUT)));
        watches
    }
}

#[cfg(test)]
#[path = "sorter_test.rs"]
mod tests;
