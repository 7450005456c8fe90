//! All queues of a balloon in work.

use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::scatter::Scatter;
use device_core::worker::Again;

use super::features::{Role, roles};
use super::lane::Lane;
use super::state::State;
use super::statistics::{MAX_REPORT, Statistics};
use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::port;

/// Reports taken in one turn; a driver has one buffer for them.
const REPORTS: usize = 16;

const BAD_REPORT: GuestFault =
    GuestFault("a report is not readable, not in guest memory, or too long");

/// The queues in work.
pub(super) struct Service {
    lanes: Vec<Lane>,
    reports: Option<Reports>,
    /// Queues that the driver enabled for nothing that was negotiated.
    idle: Vec<LiveQueue>,
    state: Arc<State>,
}

impl Service {
    /// Takes the queues over. Fails if the ring of one is not in memory.
    pub fn new(
        queues: Vec<LiveQueue>,
        memory: &GuestRam,
        features: u64,
        state: Arc<State>,
    ) -> Result<Service, GuestFault> {
        let mut service = Service { lanes: Vec::new(), reports: None, idle: Vec::new(), state };
        for queue in queues {
            match roles(features).nth(queue.index.into()) {
                Some(Role::Statistics) => {
                    service.reports = Some(Reports::new(queue, memory, features)?);
                }
                Some(role) => service.lanes.push(Lane::new(role, queue, memory, features)?),
                None => service.idle.push(queue),
            }
        }
        Ok(service)
    }

    /// The guest is asked for a report now, and then in the time that it is asked in.
    pub fn ask_now(&mut self) {
        if let Some(reports) = &mut self.reports {
            reports.due = None;
        }
    }
}

impl port::Service for Service {
    const NAME: &'static str = "a queue of the balloon";

    fn queues(&self) -> impl Iterator<Item = &PluggedQueue> {
        let reports = self.reports.iter().map(|reports| &reports.queue);
        self.lanes.iter().map(|lane| &lane.queue).chain(reports)
    }

    fn turn(&mut self, now: Instant) -> Result<Again, GuestFault> {
        let mut more = false;
        for lane in &mut self.lanes {
            more |= lane.turn(&self.state)?;
        }
        let again = match &mut self.reports {
            Some(reports) => reports.turn(&self.state, now)?,
            None => Again::WhenReady,
        };
        Ok(if more { Again::Now } else { again })
    }

    fn count_fault(&self) {
        self.state.counters.guest_faults.add(1);
    }

    fn into_queues(self) -> Vec<LiveQueue> {
        let lanes = self.lanes.into_iter().map(Lane::into_queue);
        lanes.chain(self.reports.map(Reports::into_queue)).chain(self.idle).collect()
    }
}

/// The queue of reports: the driver's one buffer is kept, and given back when the next report is wanted.
struct Reports {
    queue: PluggedQueue,
    list: Scatter,
    /// The chain that is kept.
    kept: Option<u16>,
    /// When to ask for the next report; `None` for as soon as that can be.
    due: Option<Instant>,
    log: LogLimit,
}

impl Reports {
    fn new(queue: LiveQueue, memory: &GuestRam, features: u64) -> Result<Reports, GuestFault> {
        Ok(Reports {
            queue: PluggedQueue::new(queue, memory, features)?,
            list: Scatter::growing(memory.clone()),
            kept: None,
            due: None,
            log: LogLimit::default(),
        })
    }

    /// With the chain that is kept on offer again: it is the last that was taken.
    fn into_queue(mut self) -> LiveQueue {
        if self.kept.is_some() {
            self.queue.ring.unpop(1);
        }
        self.queue.into_queue()
    }

    fn turn(&mut self, state: &State, now: Instant) -> Result<Again, GuestFault> {
        let taken = self.take_some(state, now);
        let interval = state.interval();
        let mut again = Again::WhenReady;
        if let Some(kept) = self.kept
            && !interval.is_zero()
        {
            match self.due {
                Some(due) if due > now => again = Again::At(due),
                _ => {
                    self.queue.ring.push(kept, 0)?;
                    self.kept = None;
                    self.due = now.checked_add(interval);
                }
            }
        }
        if self.queue.publish()? {
            state.counters.interrupts.add(1);
        }
        if taken? || !self.queue.ring.arm()? { Ok(Again::Now) } else { Ok(again) }
    }

    /// Takes reports; whether there are more.
    fn take_some(&mut self, state: &State, now: Instant) -> Result<bool, GuestFault> {
        for _ in 0..REPORTS {
            let list = &mut self.list;
            list.clear();
            let popped = self.queue.ring.pop_any(|buffer| match buffer.writable {
                true => Err(BAD_REPORT),
                false => list.push(buffer.addr, buffer.len).map_err(|_| BAD_REPORT),
            })?;
            let Some(popped) = popped else { return Ok(false) };
            // A driver has one; of more the last is kept.
            if let Some(older) = self.kept.replace(popped.head) {
                self.queue.ring.push(older, 0)?;
            }
            self.due = self.due.or_else(|| now.checked_add(state.interval()));
            match self.read().filter(|_| popped.fault.is_none()) {
                Some(report) => {
                    *state.statistics() = report;
                    state.counters.statistics.add(1);
                }
                None => {
                    state.counters.bad_statistics.add(1);
                    guest_warn!(self.log, "the balloon: {BAD_REPORT}");
                }
            }
        }
        Ok(true)
    }

    /// What the chain says that was taken last; `None` if it is too long.
    fn read(&mut self) -> Option<Statistics> {
        let mut report = [0; MAX_REPORT];
        let bytes = report.get_mut(..self.list.len())?;
        self.list.pull(bytes).then(|| Statistics::read(bytes))
    }
}
