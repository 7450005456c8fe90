//! The queue in work: requests to flush (virtio 1.2, 5.19.6), of which all that wait share one.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use block::image::Image;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::kick::borrow;
use device_core::limiter::{Limiter, Limits};
use device_core::scatter::Scatter;
use device_core::worker::{Again, EventSet, Interest, Source, Worker};
use device_core::{GuestRam, counters, guest_warn};
use vm_memory::{Bytes, GuestAddress};

use crate::device::{LiveQueue, Notice};
use crate::live::Rest;
use crate::ring::{Buffer, SplitRing};

const KICK: Source = 0;
/// Requests that share a flush at most.
const SHARING: usize = 256;
/// VIRTIO_PMEM_REQ_TYPE_FLUSH.
const FLUSH: u32 = 0;
/// VIRTIO_PMEM_RESP_TYPE_OK and VIRTIO_PMEM_RESP_TYPE_EIO.
const OK: u32 = 0;
const EIO: u32 = 1;
const WORD: usize = size_of::<u32>();

const OUTSIDE_RAM: GuestFault = GuestFault("a request is not in guest memory");
const NO_REQUEST: GuestFault =
    GuestFault("a request is not four readable bytes and then four writable ones");

counters! {
    /// What persistent memory has done since its machine was built.
    pub struct PmemCounters {
        /// Requests to flush that succeeded.
        flushes,
        /// Calls of the host that they came to.
        syncs,
        /// Requests that the host failed.
        failures,
        /// Requests that are none, or are not in memory.
        refused,
        /// Times that they had to wait for a limit.
        throttled,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// What the device and its queue share.
pub(super) struct Shared {
    pub image: Image,
    /// Bytes of the image.
    pub size: u64,
    pub limiter: Limiter,
    /// As they are set.
    pub limits: Mutex<Limits>,
    pub counters: PmemCounters,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    head: u16,
    /// Guest-physical address of its answer.
    answer_at: u64,
}

/// The queue in work.
pub(super) struct Requests {
    rest: Rest,
    ring: SplitRing,
    memory: GuestRam,
    request: Scatter,
    waiting: Vec<Waiting>,
    faulted: bool,
    shared: Arc<Shared>,
    notice: Arc<dyn Notice>,
    log: LogLimit,
}

impl Requests {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        features: u64,
        shared: Arc<Shared>,
        notice: Arc<dyn Notice>,
    ) -> Result<Requests, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        Ok(Requests {
            rest,
            ring: SplitRing::new(ring, memory.clone(), features)?,
            request: Scatter::growing(memory.clone()),
            memory,
            waiting: Vec::new(),
            faulted: false,
            shared,
            notice,
            log: LogLimit::default(),
        })
    }

    /// Last words on the worker's own thread.
    pub fn farewell(&mut self, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(borrow(&self.rest.kick)) {
            tracing::error!("cannot stop watching a queue of persistent memory: {error}");
        }
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }

    fn pump(&mut self, now: Instant) -> Result<Again, GuestFault> {
        if let Err(wait) = self.shared.limiter.ask(now) {
            self.shared.counters.throttled.add(1);
            return Ok(Again::At(wait.until));
        }
        let taken = self.take_all();
        if !self.waiting.is_empty() {
            self.flush(now)?;
        }
        if self.rest.interrupt(self.ring.publish()?) {
            self.shared.counters.interrupts.add(1);
        }
        match taken? {
            true => Ok(Again::Now),
            false => Ok(if self.ring.arm()? { Again::WhenReady } else { Again::Now }),
        }
    }

    /// Takes the requests that are there, but not too many; whether there may be more. Those that make no sense
    /// are answered.
    fn take_all(&mut self) -> Result<bool, GuestFault> {
        for _ in 0..SHARING {
            let (request, mut answer) = (&mut self.request, None::<Buffer>);
            request.clear();
            let popped = self.ring.pop_any(|buffer| {
                match (buffer.writable, answer) {
                    (true, None) => answer = Some(buffer),
                    (false, None) => {
                        request.push(buffer.addr, buffer.len).map_err(|_| OUTSIDE_RAM)?;
                    }
                    _ => return Err(NO_REQUEST),
                }
                Ok(())
            })?;
            let Some(popped) = popped else { return Ok(false) };
            let mut kind = [0; WORD];
            let answer = answer.filter(|answer| answer.len as usize == WORD);
            let fits = self.request.len() == WORD && self.request.pull(&mut kind);
            match answer {
                Some(answer) if fits && popped.fault.is_none() => {
                    let (head, answer_at) = (popped.head, answer.addr);
                    if u32::from_le_bytes(kind) == FLUSH {
                        self.waiting.push(Waiting { head, answer_at });
                    } else {
                        self.shared.counters.refused.add(1);
                        self.answer(Waiting { head, answer_at }, EIO)?;
                    }
                }
                // It cannot be told what is wrong; but it has its buffers back.
                _ => {
                    let fault = popped.fault.unwrap_or(NO_REQUEST);
                    guest_warn!(self.log, "persistent memory refuses a request: {fault}");
                    self.shared.counters.refused.add(1);
                    self.ring.push(popped.head, 0)?;
                }
            }
        }
        Ok(true)
    }

    /// Makes what was written last, and says so to all who wait for it.
    fn flush(&mut self, now: Instant) -> Result<(), GuestFault> {
        let counters = &self.shared.counters;
        let count = self.waiting.len() as u64;
        let image = &self.shared.image;
        if !image.mode().read_only && !image.is_lost() {
            counters.syncs.add(1);
            if let Err(error) = image.file().sync_data() {
                // The host says so but once.
                image.lose(&error);
            }
        }
        self.shared.limiter.charge(self.shared.size, now);
        let (counter, answer) = match image.is_lost() {
            false => (&counters.flushes, OK),
            true => (&counters.failures, EIO),
        };
        counter.add(count);
        let waiting = std::mem::take(&mut self.waiting);
        for request in &waiting {
            self.answer(*request, answer)?;
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    fn answer(&mut self, request: Waiting, answer: u32) -> Result<(), GuestFault> {
        let at = GuestAddress(request.answer_at);
        let written =
            self.memory.write_slice(&answer.to_le_bytes(), at).map_or(0, |()| WORD as u32);
        self.ring.push(request.head, written)
    }
}

impl Worker for Requests {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        interest.watch(borrow(&self.rest.kick), KICK, set)
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, now: Instant, _: &mut Interest<'_>) -> Again {
        if self.faulted {
            return Again::WhenReady;
        }
        self.pump(now).unwrap_or_else(|fault| {
            guest_warn!(self.log, "a queue of persistent memory is given up: {fault}");
            self.faulted = true;
            self.shared.counters.guest_faults.add(1);
            self.notice.needs_reset();
            Again::WhenReady
        })
    }
}
