//! Tests of the data path with rings of a test's own, and the test's own clock.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use device_core::kick::borrow;
use device_core::testing::ram;
use device_core::worker::IoThread;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::backend::Limits;
use crate::backend::script::{Stage, WireFrame, stage};
use crate::capture::{Capture, Subject};
use crate::control::capture::CaptureSpec;
use crate::frame::{Csum, FrameMeta, Gso, GsoKind};
use crate::ring::{PutOff, TxToken};
use crate::scatter::Scatter;
use crate::stage::limiter::Allowed;
use crate::stage::segment::CUT;
use crate::wire::testing::{Build, frame};

/// A transmit ring of frames by length; keeps what became of them.
struct Frames {
    memory: GuestRam,
    lens: VecDeque<usize>,
    next: u16,
    completed: Vec<u16>,
    /// How many were completed at each publication.
    published: Vec<usize>,
    fault_at: Option<u16>,
    broken: bool,
    /// An interrupt is put off until then.
    interrupt_at: Option<Instant>,
    kick: EventFd,
}

impl TxRing for Frames {
    fn next(&mut self, frame: &mut TxFrame) -> Result<Next, GuestFault> {
        if self.fault_at == Some(self.next) {
            return Err(GuestFault("as the test wants"));
        }
        frame.clear();
        let Some(len) = self.lens.pop_front() else { return Ok(Next::Empty) };
        self.memory.write_slice(&vec![self.next as u8; len], GuestAddress(0)).unwrap();
        frame.body.push(0, len as u32).unwrap();
        frame.pull_head();
        let token = TxToken(self.next);
        self.next += 1;
        Ok(Next::Frame(token))
    }
    fn put_back(&mut self, token: TxToken) {
        self.next = token.0;
        self.lens.push_front(60);
    }
    fn complete(&mut self, token: TxToken) -> Result<(), GuestFault> {
        self.completed.push(token.0);
        Ok(())
    }
    fn publish(&mut self) -> Result<bool, GuestFault> {
        let fresh = self.published.last().is_none_or(|last| *last < self.completed.len());
        if fresh && !self.completed.is_empty() {
            self.published.push(self.completed.len());
        }
        Ok(fresh)
    }
    fn put_off(&mut self, now: Instant) -> PutOff {
        let due = self.interrupt_at.take_if(|then| *then <= now);
        PutOff { fired: due.is_some(), until: self.interrupt_at }
    }
    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        Ok(self.lens.is_empty())
    }
    fn broken(&mut self, _: GuestFault) {
        self.broken = true;
    }
    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.kick)
    }
}

/// A receive ring of buffers by length, of a card that wants frames finished or not.
struct Buffers<const FINISHED: bool> {
    room: Scatter,
    posted: VecDeque<u32>,
    delivered: Vec<usize>,
    kick: EventFd,
}

impl<const FINISHED: bool> RxRing for Buffers<FINISHED> {
    const FINISHED: bool = FINISHED;

    fn headroom(&self) -> usize {
        4
    }
    fn reserve(&mut self, want: usize) -> Result<&mut Scatter, GuestFault> {
        while self.room.len() < want {
            let Some(len) = self.posted.pop_front() else { break };
            self.room.push(0x1000, len).unwrap();
        }
        Ok(&mut self.room)
    }
    fn can_grow(&self) -> bool {
        true
    }
    fn deliver(&mut self, frame: &RxFrame) -> Result<(), GuestFault> {
        self.delivered.push(frame.len);
        self.room.clear();
        Ok(())
    }
    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(false)
    }
    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        Ok(self.posted.is_empty())
    }
    fn broken(&mut self, _: GuestFault) {}
    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.kick)
    }
}

struct Fixture<const FINISHED: bool = false> {
    lane: Lane<Frames, Buffers<FINISHED>>,
    stage: Stage,
    start: Instant,
}

impl Fixture {
    fn with_frames(frames: usize) -> Fixture {
        Fixture::of(frames)
    }
}

impl<const FINISHED: bool> Fixture<FINISHED> {
    /// A lane with `frames` frames to send and no receive buffers.
    fn of(frames: usize) -> Fixture<FINISHED> {
        let memory = ram(0x2_0000);
        let limits = Limits { tx: Offloads::empty(), rx: Offloads::empty(), mtu: None };
        let (_, mut queues, stages) = stage(1, limits).unwrap();
        let queue = Box::new(queues.remove(0));
        let link = Arc::new(Link::new("script", Arc::default()));
        let mut lane = Lane::new(0, queue, memory.clone(), link, Arc::default());
        let kick = || EventFd::new(0).unwrap();
        lane.tx.ring = Some(Frames {
            memory: memory.clone(),
            lens: vec![60; frames].into(),
            next: 0,
            completed: Vec::new(),
            published: Vec::new(),
            fault_at: None,
            broken: false,
            interrupt_at: None,
            kick: kick(),
        });
        lane.rx.ring = Some(Buffers {
            room: Scatter::new(memory),
            posted: VecDeque::new(),
            delivered: Vec::new(),
            kick: kick(),
        });
        Fixture { lane, stage: stages.into_iter().next().unwrap(), start: Instant::now() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn tx(&mut self) -> &mut Frames {
        self.lane.tx.ring.as_mut().unwrap()
    }

    fn rx(&mut self) -> &mut Buffers<FINISHED> {
        self.lane.rx.ring.as_mut().unwrap()
    }

    fn count(&self, name: &str) -> u64 {
        let mut values = self.lane.pipeline.counters.values();
        values.find(|(known, _)| *known == name).unwrap().1
    }
}

#[test]
fn a_frame_that_waited_a_second_is_dropped_and_its_buffer_comes_back() {
    let mut it = Fixture::with_frames(2);
    it.stage.set_blocked(true);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Wait(deadline));
    // Until something changes the backend is not even asked.
    assert_eq!(it.lane.pump_tx(it.at(999)), Progress::Wait(deadline));
    assert_eq!(it.stage.scene().sends, 1);
    assert!(it.tx().completed.is_empty());

    assert_eq!(it.lane.pump_tx(it.at(1000)), Progress::Idle);
    assert_eq!(it.tx().completed, [0, 1]);
    assert_eq!((it.count("tx_blocked"), it.count("tx_frames")), (2, 0));
}

#[test]
fn a_backend_with_room_again_is_used_again() {
    let mut it = Fixture::with_frames(1);
    it.stage.set_blocked(true);
    it.lane.pump_tx(it.at(0));
    it.lane.pump_tx(it.at(1000));
    it.stage.set_blocked(false);
    it.tx().lens.extend([60, 60]);
    it.lane.ready(BACKEND, EventSet::OUT);
    assert_eq!(it.lane.pump_tx(it.at(1001)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 2);
    // The next blockade has a second of its own.
    it.stage.set_blocked(true);
    it.tx().lens.push_back(60);
    let deadline = it.at(6000);
    assert_eq!(it.lane.pump_tx(it.at(5000)), Progress::Wait(deadline));
}

#[test]
fn a_turn_ends_with_its_budget_and_shows_frames_in_bursts() {
    let mut it = Fixture::with_frames(300);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.stage.take_sent().len(), BUDGET);
    assert_eq!(it.tx().published, (1..=8).map(|burst| burst * 32).collect::<Vec<_>>());
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 44);
    assert_eq!(it.tx().published.last(), Some(&300));
}

#[test]
fn a_fault_of_the_guest_shows_what_is_done_and_gives_the_ring_up() {
    let mut it = Fixture::with_frames(5);
    it.tx().fault_at = Some(3);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.tx().published, [3]);
    assert!(it.tx().broken);
    it.tx().fault_at = None;
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 3, "a ring that was given up is left alone");
}

#[test]
fn a_frame_held_for_more_buffers_is_lost_with_the_cable() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(1000);
    it.stage.bring(vec![1; 3000]);
    it.stage.bring(vec![2; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    it.lane.link.pull(true);
    it.lane.cable_changed(ram(0x1000));
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Idle);
    assert_eq!(it.count("rx_no_link"), 2);
    it.lane.link.pull(false);
    it.lane.cable_changed(ram(0x1000));
    it.rx().posted.extend([4000, 4000]);
    it.stage.bring(vec![3; 61]);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert_eq!(it.rx().delivered, [61]);
}

#[test]
fn a_tee_sees_what_is_sent_and_what_is_delivered_whole() {
    let mut it = Fixture::with_frames(1);
    let file = tempfile::tempfile().unwrap();
    let spec = CaptureSpec { snap_len: 65_535, ..CaptureSpec::default() };
    let (home, outlook) = (IoThread::by_hand().unwrap(), Arc::default());
    let subject = Subject { id: "test", backend: "script", outlook: &outlook };
    let to = file.try_clone().unwrap();
    let (mut capture, tees) = Capture::begin(to, spec, &[0], &subject, &home).unwrap();
    it.lane.tee = tees.into_iter().next().map(Box::new);
    it.lane.pump_tx(it.at(0));
    // One that fits, and one that waits for its second buffer and comes in part from the spill.
    it.rx().posted.extend([1000, 1000]);
    it.stage.bring(vec![7; 900]);
    it.stage.bring([vec![8; 900], vec![9; 1100]].concat());
    it.lane.pump_rx(it.at(0));
    it.rx().posted.push_back(4000);
    it.lane.pump_rx(it.at(1));
    assert_eq!(it.rx().delivered, [900, 2000]);
    it.lane.tee = None;
    capture.finish();
    assert_eq!(capture.state().frames, 3);
    let mut written = Vec::new();
    (&file).rewind().unwrap();
    (&file).read_to_end(&mut written).unwrap();
    for frame in [vec![0; 60], vec![7; 900], [vec![8; 900], vec![9; 1100]].concat()] {
        assert!(written.windows(frame.len()).any(|part| part == frame), "{}", frame.len());
    }
}

#[test]
fn a_frame_held_for_a_second_makes_way_for_the_next() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(2048);
    it.stage.bring(vec![0xff; 9000]);
    it.stage.bring(vec![0xff; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    assert_eq!(it.lane.pump_rx(it.at(999)), Progress::Wait(deadline));
    assert_eq!(it.lane.pump_rx(it.at(1000)), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
    assert_eq!(it.count("rx_too_large"), 1);
}

/// A TCP frame of `len` payload bytes in segments of 1448.
fn large(len: usize) -> WireFrame {
    let bytes = frame(&Build { payload: len, ..Build::default() });
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
    let csum = Csum::Needed { start: 34, offset: 16 };
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes }
}

/// A lane of a card that has no word for large frames.
fn cutting() -> Fixture<true> {
    let mut it = Fixture::of(0);
    it.lane.pipeline.accepted = CUT;
    it
}

#[test]
fn a_large_frame_comes_in_pieces_as_there_are_buffers_for_them() {
    let mut it = cutting();
    it.rx().posted.extend([2048, 2048]);
    it.stage.bring(large(5000));
    it.stage.bring(vec![2; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    assert_eq!(it.rx().delivered, [1502, 1502]);
    assert_eq!(it.count("rx_no_buffers"), 1);
    // One buffer is not enough for a piece, and then the rest comes, and the next frame after it.
    it.rx().posted.push_back(1000);
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Wait(deadline));
    it.rx().posted.extend([2048; 8]);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert_eq!(it.rx().delivered, [1502, 1502, 1502, 54 + 5000 - 3 * 1448, 60]);
    assert_eq!((it.count("rx_frames"), it.count("rx_bytes")), (5, 5000 + 4 * 54 + 60));
}

#[test]
fn what_is_left_of_a_large_frame_is_lost_after_a_second_or_with_the_ring() {
    for unplugged in [false, true] {
        let mut it = cutting();
        it.rx().posted.push_back(2048);
        it.stage.bring(large(60_000));
        it.stage.bring(vec![2; 60]);
        it.lane.pump_rx(it.at(0));
        if unplugged {
            assert!(it.lane.rx.forget_frame());
        }
        it.rx().posted.push_back(100);
        it.lane.pump_rx(it.at(1000));
        it.rx().posted.extend([2048; 8]);
        it.lane.pump_rx(it.at(1001));
        assert_eq!(it.rx().delivered, [1502, 60]);
        assert_eq!(it.count("rx_too_large"), u64::from(!unplugged));
    }
}

#[test]
fn pieces_longer_than_the_guests_mtu_are_dropped() {
    let mut it = cutting();
    it.lane.pipeline.mtu = 1487;
    it.rx().posted.extend([2048; 8]);
    it.stage.bring(large(5000));
    it.stage.bring(vec![2; 60]);
    it.lane.pump_rx(it.at(0));
    it.lane.pipeline.mtu = 1488;
    it.stage.bring(large(1448));
    it.lane.ready(BACKEND, EventSet::IN);
    it.lane.pump_rx(it.at(1));
    assert_eq!(it.rx().delivered, [60, 1502]);
    assert_eq!(it.count("rx_too_large"), 1);
}

#[test]
fn a_turn_ends_in_the_middle_of_a_frame_of_many_pieces() {
    let mut it = cutting();
    it.rx().posted.extend([2048; 600]);
    let mut small = large(10_000);
    small.meta.gso.as_mut().unwrap().segment = 20;
    it.stage.bring(small);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::More);
    assert!(it.rx().delivered.len() < BUDGET);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.rx().delivered, [74; 500]);
}

#[test]
fn a_turn_ends_with_its_bytes_in_pieces_too() {
    let mut it = cutting();
    it.rx().posted.extend([2048; 1000]);
    for _ in 0..20 {
        let mut jumbo = large(60_000);
        jumbo.meta.gso.as_mut().unwrap().segment = 8_900;
        it.stage.bring(jumbo);
    }
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::More);
    let bytes: usize = it.rx().delivered.iter().sum();
    assert!((BUDGET_BYTES..BUDGET_BYTES + 9_000).contains(&bytes), "{bytes}");
}

#[test]
fn pauses_after_errors_grow_to_a_second_and_end_with_success() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(2048);
    let error = || QueueError::Transient(io::Error::from(io::ErrorKind::OutOfMemory));
    it.stage.scene().recv_errors.extend((0..10).map(|_| error()));
    let mut now = it.at(0);
    let mut pauses = Vec::new();
    while let Progress::Wait(until) = it.lane.pump_rx(now) {
        pauses.push((until - now).as_millis());
        assert_eq!(it.lane.pump_rx(now), Progress::Wait(until), "no call before the pause ends");
        now = until;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    it.stage.bring(vec![0xff; 60]);
    it.lane.ready(BACKEND, EventSet::IN);
    it.stage.scene().recv_errors.push_back(error());
    let until = now + Duration::from_millis(10);
    assert_eq!(it.lane.pump_rx(now), Progress::Wait(until));
    assert_eq!(it.lane.pump_rx(until), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
}

#[test]
fn a_backend_in_error_is_asked_even_if_the_guest_has_no_buffers() {
    let mut it = Fixture::with_frames(0);
    it.stage.bring(vec![0xff; 60]);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().recvs, 0);
    // A false alarm: the frame that comes with it waits for a buffer.
    it.lane.ready(BACKEND, EventSet::ERROR);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    it.rx().posted.push_back(2048);
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
    // And a true one.
    let gone = QueueError::Gone(io::Error::from(io::ErrorKind::NotFound));
    it.stage.scene().recv_errors.push_back(gone);
    it.lane.ready(BACKEND, EventSet::ERROR | EventSet::HANG_UP);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert!(!it.lane.link.is_up());
}

#[test]
fn a_turn_ends_with_its_bytes_too() {
    let mut it = Fixture::with_frames(0);
    it.tx().lens.extend([60_000; 40]);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.stage.take_sent().len(), BUDGET_BYTES.div_ceil(60_000));
    assert_eq!(it.tx().published, (1..=18).collect::<Vec<_>>(), "each large frame by itself");
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 22);
}

#[test]
fn room_for_large_frames_is_offered_while_they_come() {
    let mut want = Want::default();
    assert_eq!(want.bytes(), ORDINARY);
    want.learn(ORDINARY + 1);
    for _ in 0..CALM {
        assert_eq!(want.bytes(), MAX_FRAME);
        want.learn(60);
    }
    assert_eq!(want.bytes(), ORDINARY);
}

#[test]
fn a_limit_holds_frames_back_until_their_time_and_counts_each_once() {
    let mut it = Fixture::with_frames(3);
    // One packet per 100 ms; the first may go at once.
    let limiter = it.lane.pipeline.limiter.clone();
    limiter.set(&Allowed { pps: Some(10), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert_eq!(it.stage.take_sent().len(), 1);
    let wait = until - now;
    assert!(Duration::from_millis(89) < wait && wait < Duration::from_millis(91), "{wait:?}");
    // Nothing is even looked at before.
    assert_eq!(it.lane.pump_tx(now + wait / 2), Progress::Wait(until));
    assert_eq!(limiter.allowances().pps_exceeded, 1);
    assert!(matches!(it.lane.pump_tx(until), Progress::Wait(_)));
    assert_eq!(it.stage.take_sent().len(), 1);
    assert_eq!(limiter.allowances().pps_exceeded, 2);
    assert_eq!(it.count("tx_throttled"), 0);
}

#[test]
fn a_frame_held_back_for_a_second_is_given_up_and_its_buffer_comes_back() {
    let mut it = Fixture::with_frames(2);
    let limiter = it.lane.pipeline.limiter.clone();
    limiter.set(&Allowed { bw_out: Some(8), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert_eq!(until, now + PATIENCE);
    assert_eq!(it.lane.pump_tx(until), Progress::Idle);
    assert_eq!(it.tx().completed, [0, 1]);
    assert_eq!((it.count("tx_frames"), it.count("tx_throttled")), (1, 1));
}

#[test]
fn a_limit_leaves_frames_in_the_backend_until_their_time() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.extend([2048; 4]);
    let limiter = it.lane.pipeline.limiter.clone();
    limiter.set(&Allowed { bw_in: Some(60 * 8 * 10), ..Allowed::default() });
    for _ in 0..3 {
        it.stage.bring(vec![0xff; 60]);
    }
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_rx(now) else { panic!("it must wait") };
    assert_eq!((it.rx().delivered.len(), it.stage.scene().incoming.len()), (1, 2));
    assert_eq!(limiter.allowances().bw_in_exceeded, 1);
    // A new limit is heard at once.
    limiter.set(&Allowed::default());
    it.lane.limits_changed();
    assert_eq!(it.lane.pump_rx(now), Progress::Idle);
    assert_eq!(it.rx().delivered.len(), 3);
    assert!(until > now);
}

#[test]
fn connections_beyond_those_allowed_are_lost_and_counted() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.extend([2048; 4]);
    it.lane.pipeline.limiter.set(&Allowed { conntrack: Some(1), ..Allowed::default() });
    it.lane.limits_changed();
    for port in [1, 2, 1] {
        let mut frame = vec![0; 60];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[23] = 17;
        frame[35] = port;
        it.stage.bring(frame);
    }
    it.lane.pump_rx(it.at(0));
    assert_eq!(it.rx().delivered.len(), 2);
    assert_eq!(it.count("rx_untracked"), 1);
    assert_eq!(it.lane.pipeline.limiter.allowances().conntrack_exceeded, 1);
}

#[test]
fn frames_steered_to_a_lane_without_a_ring_are_thrown_away() {
    let mut it = Fixture::with_frames(0);
    it.lane.rx.ring = None;
    it.stage.bring(vec![0xff; 60]);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().incoming.len(), 1, "else they wait for a ring");
    it.lane.drain(true, ram(0x1000));
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().incoming.len(), 0);
    assert_eq!(it.count("rx_no_ring"), 1);
}

#[test]
fn a_new_ring_does_not_inherit_the_patience_of_the_old_one() {
    let mut it = Fixture::with_frames(2);
    it.lane.pipeline.limiter.set(&Allowed { bw_out: Some(8), ..Allowed::default() });
    let now = Instant::now();
    assert_eq!(it.lane.pump_tx(now), Progress::Wait(now + PATIENCE));
    let thread = device_core::worker::IoThread::by_hand().unwrap();
    let post = thread.host(it.lane).unwrap();
    let late = now + PATIENCE;
    let progress = post.ask(move |lane, interest| {
        let ring = lane.tx.ring.take().unwrap();
        lane.plug_tx(ring, interest).unwrap();
        let ring = lane.unplug_tx(interest).unwrap();
        lane.plug_tx(ring, interest).unwrap();
        lane.pump_tx(late)
    });
    assert_eq!(progress, Progress::Wait(late + PATIENCE));
}

#[test]
fn an_interrupt_put_off_brings_a_turn_at_its_time() {
    let mut it = Fixture::with_frames(0);
    let (start, then) = (it.at(0), it.at(700_000));
    it.tx().interrupt_at = Some(then);
    it.tx().published.push(0); // nothing is new
    let thread = device_core::worker::IoThread::by_hand().unwrap();
    let post = thread.host(it.lane).unwrap();
    let again =
        post.ask(move |lane, interest| [lane.run(start, interest), lane.run(then, interest)]);
    assert_eq!(again[0], Again::At(then));
    assert_ne!(again[1], Again::At(then));
    let fired = post.ask(|lane, _| lane.pipeline.counters.interrupts.get());
    assert_eq!(fired, 1);
}

#[test]
fn a_limit_gives_no_turn_for_each_frame() {
    let mut it = Fixture::with_frames(200);
    // A frame each 100 us, of which 10 ms' worth go at once.
    it.lane.pipeline.limiter.set(&Allowed { pps: Some(10_000), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert!(until >= now + Duration::from_millis(1));
    let before = it.stage.take_sent().len();
    it.lane.pump_tx(until);
    let then = it.stage.take_sent().len();
    assert!(before >= 100 && then >= 9, "{before} {then}");
}
