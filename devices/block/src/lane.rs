//! The data path: a lane takes requests from one ring and carries them out by one engine.
//!
//! ```text
//! guest ── BlockRing::next ──► Task ── Engine::start ──► host
//! guest ◄─ BlockRing::complete ── Task ◄─ Engine::reap ── host
//! ```
//! A lane belongs to one I/O thread and owns all it touches: no lock, and no allocation once it is warm. Other
//! than a lane for network frames it has something under way between two turns nearly always, so a ring goes
//! home only when all of it has ended: nothing is ever taken from the host by force.

mod asked;
mod cow;
mod failures;
mod outcome;
mod seats;
mod steps;
mod trouble;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::limiter::{Limit, Limiter, Wait};
use device_core::linger::{Linger, Moved};
use device_core::worker::{Again, EventSet, Interest, Source, Worker};
use vmm_sys_util::eventfd::EventFd;

use crate::engine::{Done, Engine, MAX_IN_FLIGHT};
use crate::image::{Image, is_of};
use crate::request::{Operation, Outcome, Request};
use crate::ring::{BlockRing, Next};
use crate::spec::Cache;
use crate::stats::{LaneStats, nanos};
use crate::task::{Progress, Task};

use cow::Ground;
use seats::Seats;
use steps::Step;
use trouble::{Fate, Victims};
use waiting::Waiting;

pub use failures::Failures;
pub use trouble::Troubles;

const ENGINE: Source = 0;
const KICK: Source = 1;

/// Requests taken in one turn; then mail and the thread's other lanes are heard.
const BUDGET: usize = MAX_IN_FLIGHT;
/// Bytes, likewise: what the host has in its cache it copies while it is asked, and the guest is to see the first of
/// it before the last.
const BUDGET_BYTES: u64 = 4 << 20;
/// Times in a turn that what the host ended at once is followed up by further calls.
const ROUNDS: usize = 4;
/// How long to wait with what the host would not take.
const BACK_OFF: Duration = Duration::from_millis(1);
/// How long the host may take to end what is in flight before it is said that it does not.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all lanes of a disk share.
pub(crate) struct Shared {
    /// What the disk is called.
    pub id: String,
    pub cache: Cache,
    pub limiter: Limiter,
    pub troubles: Troubles,
    pub failures: Failures,
    /// Each wakes a lane, in their order.
    pub bells: Vec<Arc<EventFd>>,
}

/// Who hears whether a request was taken back, once the guest can see its end.
pub(crate) type Told = Box<dyn FnOnce(bool) + Send>;

/// Who gets the ring when all of it has ended; `None` if there is none, or another gets it.
pub(crate) type Then<R> = Box<dyn FnOnce(Option<R>) + Send>;

/// A queue of requests, and the host's side of it.
pub(crate) struct Lane<R: BlockRing> {
    index: u16,
    shared: Arc<Shared>,
    image: Arc<Image>,
    memory: GuestRam,
    stats: Arc<LaneStats>,
    engine: Box<dyn Engine>,
    ring: Option<R>,
    /// The guest broke it: nothing is taken from it any more, and it is told when all has ended.
    fault: Option<GuestFault>,
    told: bool,
    seats: Seats<R::Token>,
    /// Tasks without a request.
    spare: Vec<Box<Task>>,
    due: VecDeque<Box<Task>>,
    ended_with: Vec<Box<Task>>,
    done: Vec<Done>,
    waiting: Waiting,
    /// Those of a disk that is an overlay that wait for others, of whatever lane.
    kept_back: Vec<Box<Task>>,
    victims: Victims,
    throttled_until: Option<Instant>,
    /// Since when the next request waits, and for which limit.
    put_off: Option<(Instant, Limit)>,
    /// Bytes of the requests that this turn took.
    turn_bytes: u64,
    linger: Linger,
    moved: Moved,
    /// When the turn began, or the host was last seen to have ended something.
    clock: Instant,
    /// Completions that the guest does not see yet.
    unshown: bool,
    /// How many of them are of requests, and when the first of these ended.
    ended: (u64, Instant),
    /// Those who wait until the guest sees what became of requests that it wanted back.
    taken_back: Vec<(Told, bool)>,
    /// Those who wait for the ring.
    leaving: Vec<Then<R>>,
    /// Nothing is taken, and whoever asked for that waits until nothing is under way.
    halted: bool,
    quiet: Option<SyncSender<()>>,
    /// Since when someone has waited for the end, and whether it was said that it takes long.
    waits_since: Option<Instant>,
    said: bool,
    log: LogLimit,
}

impl<R: BlockRing> Lane<R> {
    pub fn new(
        index: u16,
        shared: Arc<Shared>,
        image: Arc<Image>,
        engine: Box<dyn Engine>,
        memory: GuestRam,
        stats: Arc<LaneStats>,
        may_linger: bool,
    ) -> Lane<R> {
        Lane {
            index,
            shared,
            image,
            memory,
            stats,
            engine,
            ring: None,
            fault: None,
            told: false,
            seats: Seats::new(),
            spare: Vec::new(),
            due: VecDeque::new(),
            ended_with: Vec::new(),
            done: Vec::new(),
            waiting: Waiting::default(),
            kept_back: Vec::new(),
            victims: Victims::default(),
            throttled_until: None,
            put_off: None,
            turn_bytes: 0,
            linger: Linger::new(may_linger),
            moved: Moved::default(),
            clock: Instant::now(),
            unshown: false,
            ended: (0, Instant::now()),
            taken_back: Vec::new(),
            leaving: Vec::new(),
            halted: false,
            quiet: None,
            waits_since: None,
            said: false,
            log: LogLimit::default(),
        }
    }

    /// Requests that will end by themselves.
    fn under_way(&self) -> usize {
        self.seats.taken().saturating_sub(self.victims.swallowed())
    }

    fn is_full(&self) -> bool {
        self.seats.taken() >= MAX_IN_FLIGHT
    }

    fn may_take(&self) -> bool {
        self.fault.is_none() && self.leaving.is_empty() && !self.halted
    }

    /// The ring is given up.
    fn give_up(&mut self, fault: GuestFault) {
        if self.fault.is_none() {
            self.stats.counters.guest_faults.add(1);
            let (id, index) = (&self.shared.id, self.index);
            guest_warn!(self.log, "disk {id}: queue {index} given up: {fault}");
            self.fault = Some(fault);
        }
    }

    /// Takes requests from the ring; whether there may be more that could be taken, now or as soon as others
    /// have ended.
    fn take(&mut self, now: Instant, lingers: bool) -> bool {
        if self.throttled_until.is_some_and(|until| now < until) {
            return false;
        }
        self.turn_bytes = 0;
        for _ in 0..BUDGET {
            if !self.may_take() {
                return false;
            }
            if self.is_full() || self.turn_bytes >= BUDGET_BYTES {
                return true;
            }
            match self.take_one(now, lingers) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(fault) => {
                    self.give_up(fault);
                    return false;
                }
            }
        }
        true
    }

    /// Takes the next request; false if there is none, or it has to wait.
    fn take_one(&mut self, now: Instant, lingers: bool) -> Result<bool, GuestFault> {
        let Some(ring) = &mut self.ring else { return Ok(false) };
        let mut task = self.spare.pop().unwrap_or_else(|| Box::new(Task::new(self.memory.clone())));
        task.clear(now);
        let token = match ring.next(&mut task.request) {
            Ok(Next::Request(token)) => token,
            Ok(Next::Answered) => {
                self.spare.push(task);
                self.stats.counters.answered.add(1);
                (self.unshown, self.moved.out) = (true, true);
                return Ok(true);
            }
            Ok(Next::Empty) => {
                self.spare.push(task);
                return Ok(!lingers && !ring.may_sleep()?);
            }
            Err(fault) => {
                self.spare.push(task);
                return Err(fault);
            }
        };
        if let Err(Wait { until, of }) = self.shared.limiter.ask(now) {
            ring.put_back(token);
            self.spare.push(task);
            self.stats.counters.throttled.add(1);
            self.throttled_until = Some(until);
            self.put_off.get_or_insert((now, of));
            return Ok(false);
        }
        self.throttled_until = None;
        if let Some((since, of)) = self.put_off.take() {
            let counter = match of {
                Limit::Bytes => &self.stats.counters.throttled_bw_us,
                Limit::Operations => &self.stats.counters.throttled_iops_us,
            };
            counter.add(nanos(since, now) / 1000);
        }
        let bytes = bytes(&task.request);
        self.turn_bytes = self.turn_bytes.saturating_add(bytes);
        self.shared.limiter.charge(bytes, now);
        let durable = task.request.durable || ring.write_through();
        task.request.durable = match self.shared.cache {
            Cache::Writeback => durable,
            Cache::Writethrough => true,
            Cache::Unsafe => false,
        };
        task.seat = self.seats.take(token);
        self.moved.out = true;
        match self.victims.meet(&self.shared.troubles, task, now) {
            Fate::Goes(task) => self.due.push_back(task),
            Fate::Fails(task) => self.finish(task, Outcome::Medium),
            Fate::Kept => {}
        }
        Ok(true)
    }

    /// Brings requests that may go on to the engine.
    fn work_off(&mut self) {
        if !self.due.is_empty() {
            self.clock = Instant::now();
        }
        while let Some(task) = self.due.pop_front() {
            let unsafe_flush = task.request.operation == Operation::Flush
                && self.shared.cache == Cache::Unsafe
                && self.image.overlay().is_none();
            if unsafe_flush {
                self.finish(task, Outcome::Done);
            } else if task.admitted {
                self.step(task, None);
            } else if let Some(task) = self.waiting.admit(task) {
                self.step(task, None);
            }
        }
    }

    /// The next step of a request, after a call that came to `result` if there was one.
    fn step(&mut self, mut task: Box<Task>, result: Option<i32>) {
        let step = match result {
            Some(result) => {
                let again = outcome::comes_again(result, &task);
                self.stats.counters.retries.add(again.into());
                match self.image.overlay() {
                    None => steps::go_on(&mut task, &self.image, result),
                    Some(_) => self.step_over(&mut task, Some(result)),
                }
            }
            None => match self.image.overlay() {
                None => steps::begin(&mut task, &self.image),
                Some(_) => self.step_over(&mut task, None),
            },
        };
        match step {
            Step::Call => {
                task.progress.handed.get_or_insert(self.clock);
                self.engine.start(task);
            }
            Step::Bounce => {
                self.stats.counters.bounced.add(1);
                if let Some(task) = self.waiting.lend(task) {
                    self.due.push_front(task);
                }
            }
            Step::Waits => self.kept_back.push(task),
            Step::Ended(outcome) => {
                if let Some(result) = result.filter(|_| outcome != Outcome::Done) {
                    let Shared { id, failures, .. } = &*self.shared;
                    failures.tell(id, self.image.path(), &task, (outcome, result));
                }
                self.end(task, outcome);
            }
        }
    }

    /// The same of a disk that is an overlay. Whoever waits for what was let go of hears it.
    #[inline(never)]
    fn step_over(&mut self, task: &mut Task, result: Option<i32>) -> Step {
        let (image, lane) = (&*self.image, self.index);
        let Some(overlay) = image.overlay() else { return Step::Ended(Outcome::Medium) };
        let syncs = self.shared.cache != Cache::Unsafe;
        let ground = Ground { image, overlay, lane, syncs };
        let step = match result {
            Some(result) => cow::go_on(task, &ground, result),
            None => cow::begin(task, &ground),
        };
        let waiting = overlay.map.take_waiting();
        if waiting != 0 {
            self.tell_waiting(waiting);
        }
        step
    }

    /// Has those go on that wait for others, in these lanes.
    fn tell_waiting(&mut self, waiting: u64) {
        if is_of(waiting, self.index) {
            self.due.extend(self.kept_back.drain(..));
        }
        for (lane, bell) in (0..).zip(&self.shared.bells) {
            if lane != self.index && is_of(waiting, lane) {
                // Cannot fail but by overflow, and then it is readable already.
                let _ = bell.write(1);
            }
        }
    }

    /// A request that was admitted has ended.
    fn end(&mut self, mut task: Box<Task>, outcome: Outcome) {
        let mut with = std::mem::take(&mut self.ended_with);
        self.waiting.ended(&mut task, &mut self.due, &mut with);
        self.finish(task, outcome);
        for task in with.drain(..) {
            self.finish(task, outcome);
        }
        self.ended_with = with;
    }

    /// Tells the ring what became of a request.
    fn finish(&mut self, task: Box<Task>, outcome: Outcome) {
        let Progress { since, handed, .. } = task.progress;
        self.stats.service.record(nanos(since, self.clock), 1);
        if let Some(handed) = handed {
            self.stats.time(since, handed, self.clock);
        }
        if self.ended.0 == 0 {
            self.ended.1 = self.clock;
        }
        self.ended.0 = self.ended.0.wrapping_add(1);
        self.stats.count(&task.request, outcome);
        self.unshown = true;
        self.moved.into = self.moved.into.wrapping_add(1);
        let token = self.seats.leave(task.seat);
        self.spare.push(task);
        if let (Some(ring), Some(token)) = (&mut self.ring, token)
            && let Err(fault) = ring.complete(token, outcome)
        {
            self.give_up(fault);
        }
    }

    /// Follows up what the host has ended; whether there was anything.
    fn reap(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        self.engine.reap(&mut done);
        let any = !done.is_empty();
        if any {
            self.clock = Instant::now();
        }
        for (task, result) in done.drain(..) {
            self.step(task, Some(result));
        }
        self.done = done;
        any
    }

    /// Brings all that may go on to the host; whether the host took it, and whether there is more by now.
    fn submit(&mut self) -> (bool, bool) {
        for _ in 0..ROUNDS {
            self.work_off();
            let taken = self.engine.submit();
            if !self.reap() {
                return (taken, false);
            }
        }
        (true, true)
    }

    /// Shows the guest what has ended.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.unshown) {
            return;
        }
        let Some(ring) = &mut self.ring else { return };
        match ring.publish() {
            Ok(interrupted) => self.stats.counters.interrupts.add(interrupted.into()),
            Err(fault) => self.give_up(fault),
        }
        let (count, since) = std::mem::replace(&mut self.ended, (0, self.clock));
        if count > 0 {
            let took = nanos(since, Instant::now());
            self.stats.stretches.completion_to_interrupt.record(took, count);
        }
    }

    /// Tells those who wanted requests back what became of them, if the guest sees it.
    fn tell_taken_back(&mut self) {
        if self.ring.as_ref().is_none_or(BlockRing::has_shown_all) {
            self.taken_back.drain(..).for_each(|(then, found)| then(found));
        }
    }

    /// Tells those who wait for the end that it has come.
    fn part(&mut self, interest: &mut Interest<'_>) {
        if self.under_way() > 0 {
            return;
        }
        if let (Some(fault), Some(ring)) = (self.fault, &mut self.ring)
            && !std::mem::replace(&mut self.told, true)
        {
            ring.broken(fault);
        }
        if let Some(quiet) = self.quiet.take() {
            // Who waits may have given up.
            let _ = quiet.send(());
        }
        if self.leaving.is_empty() {
            return;
        }
        let mut ring = self.ring.take();
        if let Some(ring) = &ring
            && let Err(error) = interest.forget(ring.kick())
        {
            let (id, index) = (&self.shared.id, self.index);
            tracing::error!("disk {id}: cannot stop watching queue {index}: {error}");
        }
        (self.throttled_until, self.put_off) = (None, None);
        self.tell_taken_back();
        for then in self.leaving.drain(..) {
            then(ring.take());
        }
    }

    /// Says once that the host takes long, if someone waits for it; when to look again.
    fn complain(&mut self, now: Instant) -> Option<Instant> {
        if self.leaving.is_empty() && self.quiet.is_none() {
            (self.waits_since, self.said) = (None, false);
            return None;
        }
        let since = *self.waits_since.get_or_insert(now);
        let until = since.checked_add(PATIENCE).filter(|_| !self.said)?;
        if now < until {
            return Some(until);
        }
        self.said = true;
        let (id, count, path) = (&self.shared.id, self.under_way(), self.image.path().display());
        let seconds = PATIENCE.as_secs();
        tracing::warn!("disk {id}: {count} requests have been with {path} for {seconds} seconds");
        None
    }

    /// When the next turn is to be, if there is nothing to do now.
    fn again(&mut self, now: Instant, taken: bool, lingers: bool) -> Again {
        let complain = self.complain(now);
        let throttled = self.throttled_until.filter(|_| self.may_take());
        let back_off = now.checked_add(BACK_OFF).filter(|_| !taken);
        let times = [complain, throttled, back_off, self.victims.due()];
        // There may be reason to linger only now; and who was not asked to kick is not waited for.
        if self.ring.is_some() && self.may_take() && (lingers || self.linger.goes_on(now)) {
            let idle = self.under_way() == 0 && self.throttled_until.is_none();
            if let Some(ring) = &mut self.ring {
                ring.stay_quiet();
                // A guest that waits for each answer sends soon after it.
                if idle && self.linger.glance(|| ring.has_next()) {
                    return Again::Unheard;
                }
            }
            // Whoever waits for this CPU may be the guest.
            self.linger.give_way();
            return Again::Unheard;
        }
        if !self.engine.may_sleep() {
            return Again::Now;
        }
        times.into_iter().flatten().min().map_or(Again::WhenReady, Again::At)
    }
}

/// Bytes that a request moves, as limits count them.
fn bytes(request: &Request) -> u64 {
    match request.operation {
        Operation::Read | Operation::Write | Operation::Compare => request.buffers.len() as u64,
        Operation::Flush | Operation::Discard | Operation::WriteZeroes { .. } => 0,
    }
}

impl<R: BlockRing> Worker for Lane<R> {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        self.engine.begin()?;
        for fd in self.engine.watches() {
            interest.watch(fd, ENGINE, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        }
        Ok(())
    }

    fn ready(&mut self, _: Source, _: EventSet) {
        // Each turn looks at both the ring and the engine.
    }

    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        let lingers = self.linger.goes_on(now);
        self.clock = now;
        self.reap();
        while let Some(task) = self.victims.take_slowed(now, false) {
            self.due.push_back(task);
        }
        self.due.extend(self.kept_back.drain(..));
        let more = self.take(now, lingers);
        let (taken, goes_on) = self.submit();
        self.publish();
        self.tell_taken_back();
        // From the end of the work: a turn may take longer than a lane lingers.
        self.linger.worked(self.clock.max(now), std::mem::take(&mut self.moved));
        self.part(interest);
        self.stats.set_in_flight(self.seats.taken());
        // If it is full still, what ends brings the next turn.
        let more = goes_on || !self.due.is_empty() || more && self.may_take() && !self.is_full();
        if more { Again::Unheard } else { self.again(now, taken, lingers) }
    }
}

#[cfg(test)]
#[path = "lane_test.rs"]
mod tests;

#[cfg(test)]
mod power_cut_test;
#[cfg(test)]
mod take_back_test;
