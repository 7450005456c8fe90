//! A disk in memory whose lanes work only when they are told to, and hold requests back on demand.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use block::control::{ChangeError, Inspection, Latency};
use block::image::Source;
use block::port::PortControl;
use block::request::{Operation, Outcome, Range, Request};
use block::ring::{BlockRing, Next};
use block::spec::{Allowed, Cache, Engine, Fault, Model};
use block::stats::Stretches;
use device_core::GuestRam;
use device_core::files::Files;
use device_core::histogram::Summary;
use device_core::limiter::Levels;

use crate::lanes::{Homecoming, Lanes, Ring, Told};
use crate::ring::Token;

/// Rounds of a lane after which it cannot be sleeping for ever.
const ROUNDS: usize = 10_000;

/// What the disk was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What to do.
    pub operation: Operation,
    /// From where on, in bytes.
    pub offset: u64,
    /// So many bytes of buffers.
    pub len: usize,
    /// Where, for what has no buffers.
    pub ranges: Vec<Range>,
    /// Durable before it completes; by the request itself or by its ring.
    pub durable: bool,
}

struct Lane {
    ring: Option<Ring>,
    /// It has not looked at its ring since that was plugged.
    fresh: bool,
    held: Vec<(Token, Request)>,
    leaving: Option<Homecoming>,
}

struct State {
    memory: GuestRam,
    lanes: Vec<Lane>,
    bytes: Vec<u8>,
    size: u64,
    holding: bool,
    throttled: bool,
    throttled_us: [u64; 2],
    refusing: bool,
    forced: Option<Outcome>,
    asked: Vec<Asked>,
    allowed: Allowed,
    faults: Vec<Fault>,
    /// Word of aborts, while it is kept.
    words: Option<Vec<(Told, bool)>>,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// Of `size` zeroed bytes and so many lanes.
    pub fn new(lanes: u16, size: u64, memory: &GuestRam) -> Disk {
        let lane = |_| Lane { ring: None, fresh: false, held: Vec::new(), leaving: None };
        Disk(Arc::new(Mutex::new(State {
            memory: memory.clone(),
            lanes: (0..lanes).map(lane).collect(),
            bytes: vec![0; size as usize],
            size,
            holding: false,
            throttled: false,
            throttled_us: [0; 2],
            refusing: false,
            forced: None,
            asked: Vec::new(),
            allowed: Allowed::default(),
            faults: Vec::new(),
            words: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Requests do not end until they are released, or do again.
    pub fn hold(&self, on: bool) {
        self.state().holding = on;
    }

    /// Lanes take no requests, as if a limit kept them, or do again.
    pub fn throttle(&self, on: bool) {
        let mut state = self.state();
        state.throttled = on;
        state.lanes.iter_mut().for_each(|lane| lane.fresh = true);
    }

    /// Requests have waited so many microseconds for a limit of bytes, and of requests.
    pub fn set_throttled_us(&self, bytes: u64, requests: u64) {
        self.state().throttled_us = [bytes, requests];
    }

    /// Lanes take no rings, or do again.
    pub fn refuse(&self, on: bool) {
        self.state().refusing = on;
    }

    /// All requests end so from now on, or by themselves.
    pub fn force(&self, outcome: Option<Outcome>) {
        self.state().forced = outcome;
    }

    /// Whoever wants a command back is not answered until this is over.
    pub fn keep_words(&self, on: bool) {
        let kept = std::mem::replace(&mut self.state().words, on.then(Vec::new));
        kept.into_iter().flatten().for_each(|(then, found)| then(found));
    }

    /// Requests that are held.
    pub fn held(&self) -> usize {
        self.state().lanes.iter().map(|lane| lane.held.len()).sum()
    }

    /// What was asked for since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Bytes of the image.
    pub fn load(&self, at: usize, len: usize) -> Vec<u8> {
        self.state().bytes[at..at + len].to_vec()
    }

    /// Changes the image behind the guest's back.
    pub fn store(&self, at: usize, bytes: &[u8]) {
        self.state().bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The image has another size.
    pub fn resize(&self, size: u64) {
        let mut state = self.state();
        state.size = size;
        state.bytes.resize(size as usize, 0);
    }

    /// Whether a lane has a ring.
    pub fn is_plugged(&self, lane: u16) -> bool {
        self.state().lanes[usize::from(lane)].ring.is_some()
    }

    /// Whether a lane's ring is wanted home.
    pub fn is_leaving(&self, lane: u16) -> bool {
        self.state().lanes[usize::from(lane)].leaving.is_some()
    }

    /// Ends what is held, the last first.
    pub fn release(&self) {
        let state = &mut *self.state();
        for n in 0..state.lanes.len() {
            let held: Vec<_> = state.lanes[n].held.drain(..).rev().collect();
            for (token, mut request) in held {
                let outcome = state.carry_out(&mut request);
                let ring = state.lanes[n].ring.as_mut().unwrap();
                ring.complete(token, outcome).unwrap();
            }
            state.lanes[n].fresh = true;
            state.run(n);
        }
    }

    /// Lets each lane work that has a reason to.
    pub fn turn(&self) {
        let state = &mut *self.state();
        (0..state.lanes.len()).for_each(|lane| state.run(lane));
    }
}

impl State {
    fn run(&mut self, n: usize) {
        let lane = &mut self.lanes[n];
        let Some(ring) = &mut lane.ring else { return };
        let kick = ring.kick().try_clone_to_owned().unwrap();
        let kicked = File::from(kick).read(&mut [0; 8]).is_ok();
        let fresh = std::mem::take(&mut lane.fresh);
        if lane.leaving.is_none() && (kicked || fresh) {
            self.drain(n);
        } else if fresh {
            self.lanes[n].ring.as_mut().unwrap().publish().unwrap();
        }
        self.send_home(n);
    }

    fn drain(&mut self, n: usize) {
        for _ in 0..ROUNDS {
            let ring = self.lanes[n].ring.as_mut().unwrap();
            let mut request = Request::new(self.memory.clone());
            let next = ring.next(&mut request);
            match next {
                Err(fault) => {
                    ring.broken(fault);
                    return;
                }
                Ok(Next::Answered) => {}
                Ok(Next::Request(token)) if self.throttled => {
                    ring.put_back(token);
                    ring.publish().unwrap();
                    return;
                }
                Ok(Next::Request(token)) => {
                    request.durable |= ring.write_through();
                    if self.holding {
                        self.lanes[n].held.push((token, request));
                        continue;
                    }
                    let outcome = self.carry_out(&mut request);
                    self.lanes[n].ring.as_mut().unwrap().complete(token, outcome).unwrap();
                }
                Ok(Next::Empty) => {
                    ring.publish().unwrap();
                    if ring.may_sleep().unwrap() {
                        return;
                    }
                }
            }
        }
        panic!("lane {n} never sleeps");
    }

    fn send_home(&mut self, n: usize) {
        let lane = &mut self.lanes[n];
        if lane.held.is_empty()
            && let Some(then) = lane.leaving.take()
        {
            then(lane.ring.take().unwrap());
        }
    }

    fn carry_out(&mut self, request: &mut Request) -> Outcome {
        let Request { operation, offset, buffers, ranges, durable } = request;
        self.asked.push(Asked {
            operation: *operation,
            offset: *offset,
            len: buffers.len(),
            ranges: ranges.clone(),
            durable: *durable,
        });
        if let Some(outcome) = self.forced {
            return outcome;
        }
        let buffer = Range { offset: *offset, len: buffers.len() as u64 };
        for range in ranges.iter().chain([&buffer]) {
            if range.offset.checked_add(range.len).is_none_or(|end| end > self.size) {
                return Outcome::OutOfRange;
            }
        }
        let place = *offset as usize..*offset as usize + buffers.len();
        match operation {
            Operation::Read => assert!(buffers.write_at(0, &self.bytes[place])),
            Operation::Write => assert!(buffers.read_at(0, &mut self.bytes[place])),
            Operation::Compare => {
                let mut bytes = vec![0; buffers.len()];
                assert!(buffers.read_at(0, &mut bytes));
                if self.bytes[place] != bytes {
                    return Outcome::Differs;
                }
            }
            Operation::Discard | Operation::WriteZeroes { .. } => {
                for range in ranges {
                    let at = range.offset as usize;
                    self.bytes[at..at + range.len as usize].fill(0);
                }
            }
            Operation::Flush => {}
        }
        Outcome::Done
    }
}

/// All that a front may ask of any disk; nothing here is of this one's doing.
impl PortControl for Disk {
    fn id(&self) -> &str {
        "data"
    }

    fn inspect(&self, model: Model, running: bool) -> Inspection {
        Inspection {
            id: self.id().to_string(),
            model,
            path: "image".into(),
            bases: Vec::new(),
            overlay_bytes: None,
            size: self.size(),
            read_only: false,
            cache: Cache::Writeback,
            direct: false,
            engine: Engine::Threads,
            serial: String::new(),
            limits: self.allowed(),
            faults: self.faults(),
            running,
            in_flight: self.held() as u64,
            counters: Vec::new(),
            latency: Latency::default(),
            stretches: Stretches::default(),
        }
    }

    fn timings(&self) -> Stretches<Summary> {
        Stretches::default()
    }

    fn throttled_us(&self) -> [u64; 2] {
        self.state().throttled_us
    }

    fn sync(&self) {}

    fn write_map(&self) {}

    fn let_go(&self) {}

    fn take_back(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn refresh(&self) -> Result<u64, ChangeError> {
        Ok(self.size())
    }

    fn replace(&self, source: &Source<'_>, _: &dyn Files) -> Result<(), ChangeError> {
        Err(ChangeError(format!("{} is not to be had", source.path.display())))
    }

    fn allowed(&self) -> Allowed {
        self.state().allowed
    }

    fn limit(&self, allowed: &Allowed) {
        self.state().allowed = *allowed;
    }

    fn levels(&self) -> Levels {
        Levels::default()
    }

    fn set_levels(&self, _: Levels) {}

    fn faults(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    fn clear_faults(&self) {
        self.state().faults.clear();
    }
}

impl Lanes for Disk {
    fn count(&self) -> u16 {
        self.state().lanes.len() as u16
    }

    fn plug(&self, lane: u16, ring: Ring) -> io::Result<()> {
        let mut state = self.state();
        if state.refusing {
            return Err(io::ErrorKind::Other.into());
        }
        let lane = &mut state.lanes[usize::from(lane)];
        assert!(lane.ring.is_none(), "two rings on one lane");
        (lane.ring, lane.fresh) = (Some(ring), true);
        Ok(())
    }

    fn unplug_then(&self, lane: u16, then: Homecoming) {
        let mut state = self.state();
        let n = usize::from(lane);
        if state.lanes[n].ring.is_some() {
            state.lanes[n].leaving = Some(then);
            state.send_home(n);
        }
    }

    fn take_back_then(&self, lane: u16, id: u16, then: Told) {
        let mut state = self.state();
        let ring = state.lanes[usize::from(lane)].ring.as_mut();
        // What is held counts as being with the host.
        let found = ring.is_some_and(|ring| {
            let found = ring.take_back(id).unwrap();
            ring.publish().unwrap();
            found
        });
        match &mut state.words {
            Some(words) => words.push((then, found)),
            None => {
                drop(state);
                then(found);
            }
        }
    }

    fn size(&self) -> u64 {
        self.state().size
    }
}
