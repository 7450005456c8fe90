//! The queue in work: requests to flush (virtio 1.2, 5.19.6), of which all that wait share one.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use block::image::Image;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::limiter::{Limiter, Limits};
use device_core::worker::Again;
use device_core::{GuestRam, counters, guest_warn};

use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::port::Service;
use crate::request::{Next, ReplyTo, RequestReader};

/// Requests that share a flush at most.
const SHARING: usize = 256;
/// VIRTIO_PMEM_REQ_TYPE_FLUSH.
const FLUSH: u32 = 0;
/// VIRTIO_PMEM_RESP_TYPE_OK and VIRTIO_PMEM_RESP_TYPE_EIO.
const OK: u32 = 0;
const EIO: u32 = 1;
const WORD: usize = size_of::<u32>();

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

/// The queue in work.
pub(super) struct Requests {
    queue: PluggedQueue,
    requests: RequestReader<WORD>,
    /// Those that wait for a flush.
    waiting: Vec<ReplyTo>,
    shared: Arc<Shared>,
    log: LogLimit,
}

impl Requests {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        features: u64,
        shared: Arc<Shared>,
    ) -> Result<Requests, GuestFault> {
        Ok(Requests {
            queue: PluggedQueue::new(queue, &memory, features)?,
            requests: RequestReader::new(memory, WORD as u32..=WORD as u32, NO_REQUEST),
            waiting: Vec::new(),
            shared,
            log: LogLimit::default(),
        })
    }

    /// Takes the requests that are there, but not too many; whether there may be more. Those that make no sense
    /// are answered.
    fn take_all(&mut self) -> Result<bool, GuestFault> {
        for _ in 0..SHARING {
            match self.requests.next(&mut self.queue.ring)? {
                Next::Nothing => return Ok(false),
                Next::Request(kind, reply_to) if u32::from_le_bytes(kind) == FLUSH => {
                    self.waiting.push(reply_to);
                }
                Next::Request(_, reply_to) => {
                    self.shared.counters.refused.add(1);
                    self.answer(reply_to, EIO)?;
                }
                Next::Refused(fault) => {
                    guest_warn!(self.log, "persistent memory refuses a request: {fault}");
                    self.shared.counters.refused.add(1);
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
        for reply_to in &waiting {
            self.answer(*reply_to, answer)?;
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    fn answer(&mut self, to: ReplyTo, answer: u32) -> Result<(), GuestFault> {
        self.requests.answer(&mut self.queue.ring, to, &answer.to_le_bytes())
    }
}

impl Service for Requests {
    const NAME: &'static str = "a queue of persistent memory";

    fn queues(&self) -> impl Iterator<Item = &PluggedQueue> {
        [&self.queue].into_iter()
    }

    fn turn(&mut self, now: Instant) -> Result<Again, GuestFault> {
        if let Err(wait) = self.shared.limiter.ask(now) {
            self.shared.counters.throttled.add(1);
            return Ok(Again::At(wait.until));
        }
        let taken = self.take_all();
        if !self.waiting.is_empty() {
            self.flush(now)?;
        }
        if self.queue.publish()? {
            self.shared.counters.interrupts.add(1);
        }
        match taken? {
            true => Ok(Again::Now),
            false => Ok(if self.queue.ring.arm()? { Again::WhenReady } else { Again::Now }),
        }
    }

    fn count_fault(&self) {
        self.shared.counters.guest_faults.add(1);
    }

    fn into_queues(self) -> Vec<LiveQueue> {
        vec![self.queue.into_queue()]
    }
}
