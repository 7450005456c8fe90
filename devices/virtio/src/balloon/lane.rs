//! A queue of pages in work: those that go into the balloon, come out of it, or are free.

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::scatter::{Scatter, ScatterError};

use super::features::Role;
use super::pages::Batch;
use super::state::State;
use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::ring::Buffer;

/// Steps of one turn: the thread has others to serve.
const STEPS: usize = 4;
/// Most bytes of free pages of one step: what the host takes back in a few milliseconds.
const PIECE: u64 = 32 << 20;
/// Bytes of a command of the driver.
const COMMAND: usize = 4;

const OUTSIDE_RAM: GuestFault = GuestFault("a list is not in guest memory");
const TOO_MANY: GuestFault = GuestFault("a list is in too many pieces");
const READABLE: GuestFault = GuestFault("free pages are to be writable");
const WRITABLE: GuestFault = GuestFault("a list of pages is to be readable");
const NO_COMMAND: GuestFault = GuestFault("a command has not 4 bytes");

/// The queue, and the chain that it is at.
pub(super) struct Lane {
    role: Role,
    pub queue: PluggedQueue,
    /// Of the chain in work.
    head: Option<u16>,
    /// What can be read of that chain and has not been.
    list: Scatter,
    /// Its free pages, the last first.
    free: Vec<Buffer>,
    log: LogLimit,
}

impl Lane {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        role: Role,
        queue: LiveQueue,
        memory: &GuestRam,
        features: u64,
    ) -> Result<Lane, GuestFault> {
        Ok(Lane {
            role,
            queue: PluggedQueue::new(queue, memory, features)?,
            head: None,
            list: Scatter::growing(memory.clone()),
            free: Vec::new(),
            log: LogLimit::default(),
        })
    }

    /// Gives the queue back, to go on later: with the chain in work from its beginning, which does no harm.
    pub fn into_queue(mut self) -> LiveQueue {
        if self.head.is_some() {
            self.queue.ring.unpop(1);
        }
        self.queue.into_queue()
    }

    /// Does a share of work; whether there is more.
    pub fn turn(&mut self, state: &State) -> Result<bool, GuestFault> {
        let more = self.work(state);
        // Whatever comes of it, what is done is shown.
        if self.queue.publish()? {
            state.counters.interrupts.add(1);
        }
        Ok(more? || !self.queue.ring.arm()?)
    }

    fn work(&mut self, state: &State) -> Result<bool, GuestFault> {
        for _ in 0..STEPS {
            let head = match self.head {
                Some(head) => head,
                None => match self.take(state)? {
                    Some(head) => head,
                    None => return Ok(false),
                },
            };
            let is_done = match self.role {
                Role::Inflate => self.inflate(state),
                Role::Deflate => self.deflate(state),
                Role::Reporting => self.report(state),
                Role::Hinting => self.hint(state),
                // It has a lane of its own.
                Role::Statistics => true,
            };
            self.head = Some(head).filter(|_| !is_done);
            if is_done {
                self.queue.ring.push(head, 0)?;
            }
        }
        Ok(true)
    }

    /// The next chain, taken apart; nothing is left of one that makes no sense.
    fn take(&mut self, state: &State) -> Result<Option<u16>, GuestFault> {
        let role = self.role;
        let Lane { queue, list, free, .. } = self;
        list.clear();
        free.clear();
        let popped = queue.ring.pop_any(|buffer| {
            match (role, buffer.writable) {
                (Role::Reporting | Role::Hinting, true) => free.push(buffer),
                (Role::Reporting, false) => return Err(READABLE),
                (Role::Inflate | Role::Deflate | Role::Statistics, true) => return Err(WRITABLE),
                (_, false) => {
                    list.push(buffer.addr, buffer.len).map_err(|why| match why {
                        ScatterError::OutsideRam => OUTSIDE_RAM,
                        ScatterError::TooManyPieces => TOO_MANY,
                    })?;
                }
            }
            Ok(())
        })?;
        let Some(popped) = popped else { return Ok(None) };
        free.reverse();
        let counter = match role {
            Role::Inflate => &state.counters.inflations,
            Role::Deflate => &state.counters.deflations,
            Role::Reporting => &state.counters.reports,
            Role::Hinting => &state.counters.hints,
            Role::Statistics => &state.counters.statistics,
        };
        counter.add(1);
        let command = match role {
            Role::Hinting if !list.is_empty() => self.command(state),
            _ => Ok(()),
        };
        if let Some(fault) = popped.fault.or(command.err()) {
            self.list.clear();
            self.free.clear();
            state.counters.refused.add(1);
            guest_warn!(self.log, "the balloon refuses a chain: {fault}");
        }
        Ok(Some(popped.head))
    }

    /// What the driver says before free pages, or behind them.
    fn command(&mut self, state: &State) -> Result<(), GuestFault> {
        let mut bytes = [0; COMMAND];
        if self.list.len() != COMMAND || !self.list.pull(&mut bytes) {
            return Err(NO_COMMAND);
        }
        let is_news = state.hinting().heard(u32::from_le_bytes(bytes));
        if is_news {
            state.tell();
        }
        Ok(())
    }

    // Each does one step of the chain in work; whether that is done.

    fn inflate(&mut self, state: &State) -> bool {
        let Some(batch) = Batch::pull(&mut self.list) else { return true };
        state.counters.inflated_bytes.add(state.take_in(&batch));
        self.list.is_empty()
    }

    fn deflate(&mut self, state: &State) -> bool {
        let Some(batch) = Batch::pull(&mut self.list) else { return true };
        state.let_out(&batch);
        self.list.is_empty()
    }

    fn report(&mut self, state: &State) -> bool {
        let Some((start, len)) = self.piece() else { return true };
        if !state.keeps_free_pages() {
            state.counters.reported_bytes.add(state.give_back(start, len));
        }
        self.free.is_empty()
    }

    fn hint(&mut self, state: &State) -> bool {
        // A run that is stopped meanwhile waits for this: then the pages are the guest's, and no longer free.
        let hinting = state.hinting();
        let Some((start, len)) = self.piece() else { return true };
        if hinting.is_on() && !state.keeps_free_pages() {
            state.counters.hinted_bytes.add(state.give_back(start, len));
        }
        self.free.is_empty()
    }

    /// The next free pages, as guest-physical start and length; cut where that cuts no page of the host.
    fn piece(&mut self) -> Option<(u64, u64)> {
        let buffer = self.free.pop()?;
        let len = u64::from(buffer.len);
        let to_cut = PIECE.wrapping_sub(buffer.addr % PIECE);
        let here = len.min(to_cut);
        let rest = u32::try_from(len.saturating_sub(here)).unwrap_or(0);
        if let Some(addr) = buffer.addr.checked_add(here).filter(|_| rest > 0) {
            self.free.push(Buffer { addr, len: rest, ..buffer });
        }
        Some((buffer.addr, here))
    }
}
