//! The queue in work.

use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::worker::Again;

use super::requests::{ANSWER_LEN, Answer, REQUEST_LEN, Request};
use super::state::State;
use super::work::Work;
use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::port;
use crate::request::{Next, ReplyTo, RequestReader};

/// Requests of one turn that need no more than an answer.
const REQUESTS: usize = 64;

const NO_REQUEST: GuestFault =
    GuestFault("a request is not 24 readable bytes and then 10 writable ones");

/// The queue in work.
pub(super) struct Service {
    queue: PluggedQueue,
    requests: RequestReader<REQUEST_LEN>,
    working: Option<Working>,
    state: Arc<State>,
    log: LogLimit,
}

/// What is in work, and where its answer goes.
struct Working {
    work: Work,
    reply_to: ReplyTo,
}

impl Service {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        features: u64,
        state: Arc<State>,
    ) -> Result<Service, GuestFault> {
        Ok(Service {
            queue: PluggedQueue::new(queue, &memory, features)?,
            requests: RequestReader::new(memory, ANSWER_LEN as u32..=u32::MAX, NO_REQUEST),
            working: None,
            state,
            log: LogLimit::default(),
        })
    }

    /// Does a share of work; whether there is more.
    fn work(&mut self) -> Result<bool, GuestFault> {
        for _ in 0..REQUESTS {
            if self.working.is_some() {
                self.go_on()?;
                return Ok(true);
            }
            if !self.take()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does a step of what is in work.
    fn go_on(&mut self) -> Result<(), GuestFault> {
        let Some(working) = &mut self.working else { return Ok(()) };
        let Some(answer) = working.work.step(&self.state, &self.log) else { return Ok(()) };
        let reply_to = working.reply_to;
        self.working = None;
        self.answer(reply_to, answer)
    }

    /// Takes the next request; whether there was one. It is answered, or in work.
    fn take(&mut self) -> Result<bool, GuestFault> {
        let (bytes, reply_to) = match self.requests.next(&mut self.queue.ring)? {
            Next::Nothing => return Ok(false),
            Next::Request(bytes, reply_to) => (bytes, reply_to),
            Next::Refused(fault) => {
                guest_warn!(self.log, "memory refuses a request: {fault}");
                self.state.counters.refused.add(1);
                return Ok(true);
            }
        };
        let Some(request) = Request::read(&bytes) else {
            self.state.counters.refused.add(1);
            self.answer(reply_to, Answer::Error)?;
            return Ok(true);
        };
        match Work::begin(request, &self.state) {
            Ok(work) => self.working = Some(Working { work, reply_to }),
            Err(answer) => {
                self.count(request, answer);
                self.answer(reply_to, answer)?;
            }
        }
        Ok(true)
    }

    /// Counts what was answered without work.
    fn count(&self, request: Request, answer: Answer) {
        let counters = &self.state.counters;
        match (request, answer) {
            (Request::State(_), Answer::Ack(_)) => counters.states.add(1),
            (Request::State(_), _) => counters.state_failures.add(1),
            (Request::Plug(_), _) => counters.plug_failures.add(1),
            (Request::Unplug(_) | Request::UnplugAll, _) => counters.unplug_failures.add(1),
        }
    }

    fn answer(&mut self, to: ReplyTo, answer: Answer) -> Result<(), GuestFault> {
        self.requests.answer(&mut self.queue.ring, to, &answer.bytes())
    }
}

impl port::Service for Service {
    const NAME: &'static str = "the queue of memory";

    fn queues(&self) -> impl Iterator<Item = &PluggedQueue> {
        [&self.queue].into_iter()
    }

    fn turn(&mut self, _: Instant) -> Result<Again, GuestFault> {
        let more = self.work();
        // Whatever comes of it, what is done is shown.
        if self.queue.publish()? {
            self.state.counters.interrupts.add(1);
        }
        Ok(if more? || !self.queue.ring.arm()? { Again::Now } else { Again::WhenReady })
    }

    fn count_fault(&self) {
        self.state.counters.guest_faults.add(1);
    }

    /// What is begun is ended, as half of it could not be begun again.
    fn wind_up(&mut self) {
        // An answer that cannot be written is nobody's now.
        while self.working.is_some() && self.go_on().is_ok() {}
    }

    fn into_queues(self) -> Vec<LiveQueue> {
        vec![self.queue.into_queue()]
    }
}
