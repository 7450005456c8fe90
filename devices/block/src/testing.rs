//! A guest without a controller: a ring of closures that fill requests in.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use device_core::fault::GuestFault;
use device_core::kick::borrow;
use device_core::testing::{TestMachine, ram};
use device_core::worker::Threads;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::engine::script::Stage;
use crate::image::{Alignment, Image};
use crate::port::DiskPort;
use crate::request::{Operation, Outcome, Range, Request};
use crate::ring::{BlockRing, Next};
use crate::spec::DiskSpec;

/// Size of the guest's memory.
pub const MEMORY: usize = 16 << 20;
/// Size of scripted disks.
pub const SIZE: u64 = 8 << 20;

/// How long a test waits for what must happen.
const LONG: Duration = Duration::from_secs(20);

type Fill = Box<dyn Fn(&mut Request) + Send>;

#[derive(Default)]
struct State {
    wishes: VecDeque<(u64, Fill)>,
    next: u64,
    /// Token and outcome, in order of completion; and how many of them are shown.
    done: Vec<(u64, Outcome)>,
    shown: usize,
    /// Nothing can be shown.
    has_no_room: bool,
    /// The next look at the ring finds it broken.
    breaks: bool,
    /// What it was told of that.
    broken: Option<GuestFault>,
    put_back: u32,
}

/// The guest's half.
#[derive(Clone)]
pub struct Guest {
    state: Arc<(Mutex<State>, Condvar)>,
    kick: Arc<EventFd>,
    through: Arc<AtomicBool>,
    quiet: Arc<AtomicU32>,
}

impl Guest {
    pub fn new() -> Guest {
        Guest {
            state: Arc::default(),
            kick: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap()),
            through: Arc::default(),
            quiet: Arc::default(),
        }
    }

    /// The device's half.
    pub fn ring(&self) -> TestRing {
        TestRing { guest: self.clone(), last: None }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// Offers a request; returns its number, from 0.
    pub fn offer(&self, fill: impl Fn(&mut Request) + Send + 'static) -> u64 {
        let mut state = self.state();
        let token = state.next;
        state.next += 1;
        state.wishes.push_back((token, Box::new(fill)));
        token
    }

    /// Offers a read or the like of `len` bytes of memory at `at`.
    pub fn transfer(&self, operation: Operation, offset: u64, at: u64, len: u32) -> u64 {
        self.offer(move |request| {
            request.operation = operation;
            request.offset = offset;
            request.buffers.push(at, len).unwrap();
        })
    }

    pub fn flush(&self) -> u64 {
        self.offer(|request| request.operation = Operation::Flush)
    }

    /// Offers a discard or the like.
    pub fn ranges(&self, operation: Operation, ranges: &[(u64, u64)]) -> u64 {
        let ranges: Vec<_> = ranges.iter().map(|&(offset, len)| Range { offset, len }).collect();
        self.offer(move |request| {
            request.operation = operation;
            request.ranges.extend(&ranges);
        })
    }

    pub fn kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// How many offers the device has not taken.
    pub fn offers(&self) -> usize {
        self.state().wishes.len()
    }

    /// What was shown, in order, since this was asked last.
    pub fn take(&self) -> Vec<(u64, Outcome)> {
        let mut state = self.state();
        let shown = std::mem::take(&mut state.shown);
        state.done.drain(..shown).collect()
    }

    /// Waits until `count` completions are shown, and takes them.
    pub fn wait(&self, count: usize) -> Vec<(u64, Outcome)> {
        let state = self.state();
        let waited =
            self.state.1.wait_timeout_while(state, LONG, |state| state.shown < count).unwrap();
        assert!(!waited.1.timed_out(), "only {} of {count} completed", waited.0.shown);
        drop(waited);
        self.take()
    }

    pub fn set_write_through(&self, on: bool) {
        self.through.store(on, Ordering::SeqCst);
    }

    /// There is no room for completions, or there is again.
    pub fn set_room(&self, room: bool) {
        self.state().has_no_room = !room;
    }

    pub fn break_ring(&self) {
        self.state().breaks = true;
    }

    pub fn told_broken(&self) -> Option<GuestFault> {
        self.state().broken
    }

    /// How often it was said that there is no need to kick.
    pub fn quiets(&self) -> u32 {
        self.quiet.load(Ordering::SeqCst)
    }

    /// How often a request was put back.
    pub fn put_backs(&self) -> u32 {
        self.state().put_back
    }
}

/// The device's half.
pub struct TestRing {
    guest: Guest,
    last: Option<(u64, Fill)>,
}

const BROKEN: GuestFault = GuestFault("broken on purpose");

impl BlockRing for TestRing {
    type Token = u64;

    fn next(&mut self, request: &mut Request) -> Result<Next<u64>, GuestFault> {
        let mut state = self.guest.state();
        if state.breaks {
            return Err(BROKEN);
        }
        let Some((token, fill)) = state.wishes.pop_front() else { return Ok(Next::Empty) };
        assert!(request.buffers.is_empty() && request.ranges.is_empty(), "the request is clear");
        fill(request);
        self.last = Some((token, fill));
        Ok(Next::Request(token))
    }

    fn put_back(&mut self, token: u64) {
        let last = self.last.take().expect("only the last one goes back");
        assert_eq!(last.0, token);
        let mut state = self.guest.state();
        state.put_back += 1;
        state.wishes.push_front(last);
    }

    fn complete(&mut self, token: u64, outcome: Outcome) -> Result<(), GuestFault> {
        self.guest.state().done.push((token, outcome));
        Ok(())
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        let mut state = self.guest.state();
        if state.has_no_room {
            return Ok(false);
        }
        let news = state.shown < state.done.len();
        state.shown = state.done.len();
        self.guest.state.1.notify_all();
        Ok(news)
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        Ok(self.guest.state().wishes.is_empty())
    }

    fn has_next(&mut self) -> bool {
        let state = self.guest.state();
        state.breaks || !state.wishes.is_empty()
    }

    fn is_called(&self, token: &u64, name: u16) -> bool {
        *token == u64::from(name)
    }

    fn take_back(&mut self, name: u16) -> Result<bool, GuestFault> {
        let mut state = self.guest.state();
        if state.breaks {
            return Err(BROKEN);
        }
        let at = state.wishes.iter().position(|(token, _)| *token == u64::from(name));
        let Some((token, _)) = at.and_then(|at| state.wishes.remove(at)) else { return Ok(false) };
        state.done.push((token, Outcome::Aborted));
        Ok(true)
    }

    fn has_shown_all(&self) -> bool {
        let state = self.guest.state();
        state.shown == state.done.len()
    }

    fn stay_quiet(&mut self) {
        self.guest.quiet.fetch_add(1, Ordering::SeqCst);
    }

    fn write_through(&self) -> bool {
        self.guest.through.load(Ordering::SeqCst)
    }

    fn broken(&mut self, fault: GuestFault) {
        self.guest.state().broken = Some(fault);
    }

    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.guest.kick)
    }
}

/// A scripted disk of one lane or more, driven by hand, with a guest on lane 0.
pub struct Bench {
    pub machine: TestMachine,
    pub port: DiskPort<TestRing>,
    pub stage: Stage,
    pub guest: Guest,
}

impl Bench {
    pub fn new(spec: &DiskSpec) -> Bench {
        Bench::with(spec, Image::in_memory(SIZE, spec.read_only, None), 1)
    }

    /// On an image that wants to be read and written in whole blocks, from aligned memory.
    pub fn direct(spec: &DiskSpec, memory: u32, block: u32) -> Bench {
        let alignment = Some(Alignment { memory, block });
        Bench::with(spec, Image::in_memory(SIZE, spec.read_only, alignment), 1)
    }

    pub fn with(spec: &DiskSpec, image: Image, lanes: u16) -> Bench {
        let mut machine = TestMachine::new(ram(MEMORY));
        machine.threads = Threads::by_hand().unwrap();
        let (port, stage) = DiskPort::scripted(spec, image, lanes, &machine.kit());
        let guest = Guest::new();
        port.plug(0, guest.ring()).unwrap();
        Bench { machine, port, stage, guest }
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.machine.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.machine.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Kicks, and returns after a turn.
    pub fn run(&self) {
        self.guest.kick();
        self.port.settle();
    }

    /// Runs what was offered; what has ended, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.run();
        self.guest.take().into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Has the guest want request `name` back, and returns after a turn; what was said about that, if anything.
    pub fn take_back(&self, name: u16) -> Option<bool> {
        let (told, heard) = std::sync::mpsc::channel();
        self.port.take_back_then(0, name, move |found| told.send(found).unwrap());
        self.port.settle();
        heard.try_recv().ok()
    }

    /// The one lane's counter `name`.
    pub fn count(&self, name: &str) -> u64 {
        let stats = &self.port.stats()[0];
        stats.counters.values().find(|(known, _)| *known == name).expect("a known counter").1
    }
}

/// Bytes that are all different from their neighbours.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8 ^ seed).collect()
}
