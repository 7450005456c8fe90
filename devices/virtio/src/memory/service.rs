//! The worker of the queue.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::kick::borrow;
use device_core::scatter::Scatter;
use device_core::worker::{Again, EventSet, Interest, Source, Worker};
use vm_memory::{Bytes, GuestAddress};

use super::requests::{ANSWER_LEN, Answer, REQUEST_LEN, Request};
use super::state::State;
use super::work::Work;
use crate::device::{LiveQueue, Notice};
use crate::live::Rest;
use crate::ring::{Buffer, SplitRing};

/// Requests of one turn that need no more than an answer.
const REQUESTS: usize = 64;

const OUTSIDE_RAM: GuestFault = GuestFault("a request is not in guest memory");
const NO_REQUEST: GuestFault =
    GuestFault("a request is not 24 readable bytes and then 10 writable ones");

/// The queue in work.
pub(super) struct Service {
    rest: Rest,
    ring: SplitRing,
    memory: GuestRam,
    request: Scatter,
    working: Option<Working>,
    faulted: bool,
    state: Arc<State>,
    notice: Arc<dyn Notice>,
    log: LogLimit,
}

/// What is in work, and where its answer goes.
struct Working {
    work: Work,
    head: u16,
    answer_at: u64,
}

impl Service {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        features: u64,
        state: Arc<State>,
        notice: Arc<dyn Notice>,
    ) -> Result<Service, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        Ok(Service {
            rest,
            ring: SplitRing::new(ring, memory.clone(), features)?,
            request: Scatter::growing(memory.clone()),
            memory,
            working: None,
            faulted: false,
            state,
            notice,
            log: LogLimit::default(),
        })
    }

    /// Last words on the worker's own thread: what is begun is ended, as half of it could not be begun again.
    pub fn farewell(&mut self, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(borrow(&self.rest.kick)) {
            tracing::error!("cannot stop watching the queue of memory: {error}");
        }
        // An answer that cannot be written is nobody's now.
        while self.working.is_some() && self.go_on().is_ok() {}
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }

    fn turn(&mut self) -> Result<Again, GuestFault> {
        let more = self.work();
        // Whatever comes of it, what is done is shown.
        if self.rest.interrupt(self.ring.publish()?) {
            self.state.counters.interrupts.add(1);
        }
        Ok(if more? || !self.ring.arm()? { Again::Now } else { Again::WhenReady })
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
        let (head, answer_at) = (working.head, working.answer_at);
        self.working = None;
        self.answer(head, answer_at, answer)
    }

    /// Takes the next request; whether there was one. It is answered, or in work.
    fn take(&mut self) -> Result<bool, GuestFault> {
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
        let mut bytes = [0; REQUEST_LEN];
        let is_whole = self.request.len() == REQUEST_LEN && self.request.pull(&mut bytes);
        let answer = answer.filter(|answer| answer.len as usize >= ANSWER_LEN);
        let Some(answer) = answer.filter(|_| is_whole && popped.fault.is_none()) else {
            // It cannot be told what is wrong; but it has its buffers back.
            let fault = popped.fault.unwrap_or(NO_REQUEST);
            guest_warn!(self.log, "memory refuses a request: {fault}");
            self.state.counters.refused.add(1);
            self.ring.push(popped.head, 0)?;
            return Ok(true);
        };
        let (head, answer_at) = (popped.head, answer.addr);
        let Some(request) = Request::read(&bytes) else {
            self.state.counters.refused.add(1);
            self.answer(head, answer_at, Answer::Error)?;
            return Ok(true);
        };
        match Work::begin(request, &self.state) {
            Ok(work) => self.working = Some(Working { work, head, answer_at }),
            Err(answer) => {
                self.count(request, answer);
                self.answer(head, answer_at, answer)?;
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

    fn answer(&mut self, head: u16, at: u64, answer: Answer) -> Result<(), GuestFault> {
        let written = self.memory.write_slice(&answer.bytes(), GuestAddress(at));
        self.ring.push(head, written.map_or(0, |()| ANSWER_LEN as u32))
    }
}

impl Worker for Service {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        interest.watch(borrow(&self.rest.kick), 0, set)
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        if self.faulted {
            return Again::WhenReady;
        }
        self.turn().unwrap_or_else(|fault| {
            guest_warn!(self.log, "the queue of memory is given up: {fault}");
            self.faulted = true;
            self.state.counters.guest_faults.add(1);
            self.notice.needs_reset();
            Again::WhenReady
        })
    }
}
