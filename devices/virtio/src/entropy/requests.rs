//! The queue in work: each chain is a buffer to be filled (virtio 1.2, 5.4.6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::limiter::Limiter;
use device_core::scatter::{Scatter, ScatterError};
use device_core::worker::Again;
use device_core::{GuestRam, counters, guest_warn, random};

use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::port::Service;

/// Most bytes given for one buffer, which a device may leave short.
pub const MAX_FILL: usize = 64 << 10;
/// Bytes of a turn: the thread has others to serve.
const TURN: usize = 256 << 10;
/// Chains of a turn.
const BUDGET: usize = 64;
/// When to ask a host again that had no random bytes.
const RETRY: Duration = Duration::from_millis(100);

const OUTSIDE_RAM: GuestFault = GuestFault("a buffer is not in guest memory");
const READABLE: GuestFault = GuestFault("a buffer that is to be filled is for reading only");

counters! {
    /// What the entropy device has done since its machine was built.
    pub struct EntropyCounters {
        /// Buffers that were filled.
        requests,
        /// Bytes given.
        bytes,
        /// Buffers that are none, or are not in memory.
        refused,
        /// Times that it had to wait for a limit.
        throttled,
        /// Times that the host had no random bytes.
        host_failures,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// What the device and its queue share.
pub(super) struct Shared {
    pub limiter: Limiter,
    pub counters: EntropyCounters,
}

/// The queue in work.
pub(super) struct Requests {
    queue: PluggedQueue,
    buffers: Scatter,
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
            buffers: Scatter::growing(memory),
            shared,
            log: LogLimit::default(),
        })
    }

    /// Fills as many buffers as a turn has; [`Again::WhenReady`] if there are no more.
    fn fill_some(&mut self, now: Instant) -> Result<Again, GuestFault> {
        let mut left = TURN;
        for _ in 0..BUDGET {
            if left == 0 {
                break;
            }
            if let Err(wait) = self.shared.limiter.ask(now) {
                self.shared.counters.throttled.add(1);
                return Ok(Again::At(wait.until));
            }
            let Some(head) = self.take()? else { return Ok(Again::WhenReady) };
            let filled = match random::fill(&self.buffers, MAX_FILL) {
                Ok(filled) => filled,
                Err(error) => {
                    // One byte at least is to be given (virtio 1.2, 5.4.6.2): it waits.
                    self.queue.ring.unpop(1);
                    self.shared.counters.host_failures.add(1);
                    guest_warn!(self.log, "the host has no random bytes: {error}");
                    return Ok(now.checked_add(RETRY).map_or(Again::Now, Again::At));
                }
            };
            self.queue.ring.push(head, u32::try_from(filled).unwrap_or(u32::MAX))?;
            if filled > 0 {
                self.shared.counters.requests.add(1);
                self.shared.counters.bytes.add(filled as u64);
            }
            self.shared.limiter.charge(filled as u64, now);
            left = left.saturating_sub(filled);
        }
        Ok(Again::Now)
    }

    /// The next chain, its buffers in the list: none of a chain that cannot be filled.
    fn take(&mut self) -> Result<Option<u16>, GuestFault> {
        let buffers = &mut self.buffers;
        buffers.clear();
        let popped = self.queue.ring.pop_any(|buffer| {
            if !buffer.writable {
                return Err(READABLE);
            }
            if buffers.len() >= MAX_FILL {
                return Ok(());
            }
            match buffers.push(buffer.addr, buffer.len) {
                Err(ScatterError::OutsideRam) => Err(OUTSIDE_RAM),
                // What is in too many pieces is left short.
                Ok(()) | Err(ScatterError::TooManyPieces) => Ok(()),
            }
        })?;
        let Some(popped) = popped else { return Ok(None) };
        if let Some(fault) = popped.fault {
            self.buffers.clear();
            guest_warn!(self.log, "a request for entropy is refused: {fault}");
        }
        if self.buffers.is_empty() {
            self.shared.counters.refused.add(1);
        }
        Ok(Some(popped.head))
    }
}

impl Service for Requests {
    const NAME: &'static str = "the entropy queue";

    fn queues(&self) -> impl Iterator<Item = &PluggedQueue> {
        [&self.queue].into_iter()
    }

    fn turn(&mut self, now: Instant) -> Result<Again, GuestFault> {
        let again = self.fill_some(now);
        // Whatever comes of it, what is done is shown.
        if self.queue.publish()? {
            self.shared.counters.interrupts.add(1);
        }
        match again? {
            Again::WhenReady if !self.queue.ring.arm()? => Ok(Again::Now),
            again => Ok(again),
        }
    }

    fn count_fault(&self) {
        self.shared.counters.guest_faults.add(1);
    }

    fn into_queues(self) -> Vec<LiveQueue> {
        vec![self.queue.into_queue()]
    }
}
