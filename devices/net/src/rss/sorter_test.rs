//! Tests of the order and the accounts of sorted frames.

use std::sync::LazyLock;

use device_core::testing::ram;
use device_core::worker::IoThread;
use proptest::prelude::*;

use super::super::tests::MICROSOFT;
use super::super::{Rss, Selection, Table};
use super::*;
use crate::backend::Limits;
use crate::backend::script::{Stage, WireFrame, stage};
use crate::frame::Offloads;

const LANES: u16 = 4;

struct Fixture {
    sorter: Sorter,
    lanes: Vec<Box<dyn NetQueue>>,
    stages: Vec<Stage>,
    nowhere: Scatter,
    spill: Vec<u8>,
}

fn hasher() -> Arc<Hasher> {
    static HASHER: LazyLock<Arc<Hasher>> = LazyLock::new(|| {
        let table = Table::spread(128, LANES).unwrap();
        Arc::new(Hasher::new(Rss { key: MICROSOFT, initial: 0, fields: Selection::all(), table }))
    });
    HASHER.clone()
}

impl Fixture {
    /// All lanes told to expect sorted frames, and the sorter at work.
    fn sorting() -> Fixture {
        let mut it = Fixture::resting();
        for lane in it.lanes.iter_mut().rev() {
            lane.sort(true).unwrap();
        }
        it.sorter.hasher = Some(hasher());
        it
    }

    fn resting() -> Fixture {
        let limits = Limits { tx: Offloads::empty(), rx: Offloads::empty(), mtu: None };
        let (_, queues, stages) = stage(LANES, limits).unwrap();
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>).collect();
        let memory = ram(0x1000);
        let (sorter, mut lanes) = wrap(queues, memory.clone());
        for lane in &mut lanes {
            lane.enable(true).unwrap();
        }
        let nowhere = Scatter::new(memory);
        Fixture { sorter: sorter.unwrap(), lanes, stages, nowhere, spill: vec![0; MAX_FRAME] }
    }

    /// Brings a frame to the queue that is sorted.
    fn bring(&mut self, frame: Vec<u8>) {
        self.stages[0].bring(frame);
        self.sorter.readable = true;
    }

    /// All that is there for a lane now.
    fn drain(&mut self, lane: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.receive(lane).ok()).collect()
    }

    fn receive(&mut self, lane: usize) -> Result<Vec<u8>, QueueError> {
        let mut frame = RxFrame::default();
        let room = Room { buffers: &self.nowhere, skip: HEAD, spill: &mut self.spill };
        self.lanes[lane].recv(room, &mut frame)?;
        let rest = frame.len - frame.head.bytes().len();
        Ok([frame.head.bytes(), &self.spill[..rest]].concat())
    }

    fn counts(&self) -> (u64, u64) {
        (self.sorter.counters.rx_sorted.get(), self.sorter.counters.rx_sort_overflow.get())
    }
}

/// A TCP segment of `flow`, `len` bytes long, with a number behind its ports.
fn segment(flow: u16, number: u32, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len.max(54)).map(|at| at as u8).collect();
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[20..22].copy_from_slice(&[0, 0]);
    frame[23] = 6;
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..36].copy_from_slice(&flow.to_be_bytes());
    frame[36..38].copy_from_slice(&80u16.to_be_bytes());
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame
}

fn lane_of(frame: &[u8]) -> usize {
    let hasher = hasher();
    hasher.lane(hasher.hash(&frame[..frame.len().min(HEAD)])).into()
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Bring(u16, usize),
    Sort,
    Receive(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_frame_comes_once_in_order_on_its_lane_or_is_counted(
        steps in prop::collection::vec(prop_oneof![
            30 => (0..40u16, prop_oneof![Just(60usize), Just(54), Just(1514), Just(9000)])
                .prop_map(|(flow, len)| Step::Bring(flow, len)),
            2 => Just(Step::Sort),
            1 => (0..usize::from(LANES)).prop_map(Step::Receive),
        ], 1..3000),
    ) {
        let mut it = Fixture::sorting();
        let mut expected = vec![Vec::new(); LANES.into()];
        let mut received = vec![Vec::new(); LANES.into()];
        let mut brought = 0;
        for step in steps {
            match step {
                Step::Bring(flow, len) => {
                    let frame = segment(flow, brought, len);
                    expected[lane_of(&frame)].push(frame.clone());
                    brought += 1;
                    it.bring(frame);
                }
                Step::Sort => {
                    it.sorter.pump();
                }
                Step::Receive(lane) => {
                    let frames = it.drain(lane);
                    received[lane].extend(frames);
                }
            }
        }
        while it.sorter.pump() == Again::Now {}
        for (lane, received) in received.iter_mut().enumerate() {
            received.extend(it.drain(lane));
        }
        let (sorted, lost) = it.counts();
        prop_assert_eq!(sorted + lost, u64::from(brought));
        prop_assert_eq!(sorted as usize, received.iter().map(Vec::len).sum::<usize>());
        for (received, expected) in received.iter().zip(&expected) {
            // What came is what was brought, in that order, with gaps only where frames were lost.
            let mut rest = expected.iter();
            for frame in received {
                prop_assert!(rest.any(|other| other == frame), "out of order, or not brought");
            }
        }
    }
}

#[test]
fn a_lane_that_does_not_keep_up_loses_frames_and_holds_up_nobody() {
    let mut it = Fixture::sorting();
    let slow = segment(1, 0, 60);
    let fast = (2..).map(|flow| segment(flow, 0, 60)).find(|f| lane_of(f) != lane_of(&slow));
    let fast = fast.unwrap();
    for _ in 0..PARCELS + 7 {
        it.bring(slow.clone());
    }
    it.bring(fast.clone());
    while it.sorter.pump() == Again::Now {}
    assert_eq!(it.drain(lane_of(&fast)), [fast]);
    assert_eq!(it.counts(), (PARCELS as u64 + 1, 7));
    assert_eq!(it.drain(lane_of(&slow)).len(), PARCELS);
}

#[test]
fn a_lane_that_waits_is_woken_by_its_bell_once() {
    let mut it = Fixture::sorting();
    let frame = segment(1, 0, 60);
    let lane = lane_of(&frame);
    assert!(matches!(it.receive(lane), Err(QueueError::NotReady)));
    let bell = it.sorter.lanes[lane].bell.clone();
    assert!(bell.waker().0.read().is_err(), "not yet");
    it.bring(frame.clone());
    it.bring(frame.clone());
    it.sorter.pump();
    assert_eq!(bell.waker().0.read().unwrap(), 1);
    assert_eq!(it.drain(lane).len(), 2);
}

#[test]
fn while_the_sorter_rests_each_lane_has_its_own_queue() {
    let mut it = Fixture::resting();
    for lane in 0..4 {
        it.stages[lane].bring(vec![lane as u8; 60]);
        assert_eq!(it.drain(lane), [vec![lane as u8; 60]]);
    }
    assert_eq!(it.sorter.pump(), Again::WhenReady);
}

#[test]
fn all_queues_but_the_first_are_off_while_frames_are_sorted() {
    let mut it = Fixture::sorting();
    let enabled = |it: &Fixture| it.stages.iter().map(|s| s.scene().enabled).collect::<Vec<_>>();
    assert_eq!(enabled(&it), [true, false, false, false]);
    // What is wished meanwhile holds afterwards.
    it.lanes[3].enable(false).unwrap();
    it.lanes[2].enable(false).unwrap();
    it.lanes[2].enable(true).unwrap();
    assert_eq!(enabled(&it), [true, false, false, false]);
    it.lanes.iter_mut().for_each(|lane| lane.sort(false).unwrap());
    assert_eq!(enabled(&it), [true, true, true, false]);
}

#[test]
fn sorted_lanes_send_by_the_first_queue() {
    let mut it = Fixture::sorting();
    let frame = TxFrame::new(ram(0x1000));
    it.lanes[3].send(&frame).unwrap();
    assert_eq!(it.stages[0].take_sent().len(), 1);
    it.lanes[3].sort(false).unwrap();
    it.lanes[3].send(&frame).unwrap();
    assert_eq!(it.stages[3].take_sent().len(), 1);
}

#[test]
fn what_the_sorter_left_comes_before_the_lanes_own_frames() {
    let mut it = Fixture::sorting();
    let frame = segment(1, 0, 60);
    let lane = lane_of(&frame);
    it.bring(frame.clone());
    it.sorter.pump();
    it.lanes[lane].sort(false).unwrap();
    it.stages[lane].bring(vec![1; 60]);
    assert_eq!(it.drain(lane), [frame, vec![1; 60]]);
}

#[test]
fn a_backend_that_is_gone_is_gone_for_every_lane() {
    let mut it = Fixture::sorting();
    assert!(matches!(it.receive(2), Err(QueueError::NotReady)));
    let gone = || QueueError::Gone(io::Error::other("as the test wants"));
    it.stages[0].scene().recv_errors.push_back(gone());
    it.sorter.readable = true;
    it.sorter.pump();
    for lane in 0..4 {
        assert!(matches!(it.receive(lane), Err(QueueError::Gone(_))), "{lane}");
    }
}

#[test]
fn metadata_travels_with_the_frame() {
    let mut it = Fixture::sorting();
    let bytes = segment(1, 0, 2000);
    let lane = lane_of(&bytes);
    let meta = FrameMeta { csum: crate::frame::Csum::Valid, ..FrameMeta::default() };
    it.stages[0].bring(WireFrame { meta, bytes });
    it.sorter.pump();
    let (mut frame, mut spill) = (RxFrame::default(), vec![0; MAX_FRAME]);
    let mut buffers = Scatter::new(ram(0x1000));
    buffers.push(0, 1000).unwrap();
    let room = Room { buffers: &buffers, skip: HEAD, spill: &mut spill };
    it.lanes[lane].recv(room, &mut frame).unwrap();
    assert_eq!((frame.meta, frame.len), (meta, 2000));
    let mut body = [0; 1000 - HEAD];
    assert!(buffers.read_at(HEAD, &mut body));
    assert_eq!(body[0], HEAD as u8, "the body lies behind the place of the head");
    assert_eq!(spill[0], 1000usize as u8, "what does not fit follows in the spill");
}

#[test]
fn a_sorter_on_a_thread_wakes_and_rests_on_demand() {
    let it = Fixture::sorting();
    let Fixture { sorter, stages, .. } = it;
    let thread = IoThread::by_hand().unwrap();
    let counters = sorter.counters();
    let post = thread.host(Sorter { hasher: None, ..sorter }).unwrap();
    stages[0].bring(segment(1, 0, 60));
    post.settle();
    assert_eq!(counters.rx_sorted.get(), 0, "it rests until told");
    post.ask(|sorter, interest| sorter.sort(Some(hasher()), interest)).unwrap();
    post.settle();
    assert_eq!(counters.rx_sorted.get(), 1);
    stages[0].bring(segment(1, 0, 60));
    post.settle();
    assert_eq!(counters.rx_sorted.get(), 2);
    post.ask(|sorter, interest| sorter.sort(None, interest)).unwrap();
    stages[0].bring(segment(1, 0, 60));
    post.settle();
    assert_eq!(counters.rx_sorted.get(), 2);
}

#[test]
fn no_wake_is_lost_between_the_threads_of_sorter_and_lane() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    const FRAMES: usize = 20_000;
    let Fixture { mut sorter, mut lanes, stages, nowhere, .. } = Fixture::sorting();
    let frame = segment(1, 0, 60);
    let mut lane = lanes.remove(lane_of(&frame));
    let bell = sorter.lanes[lane_of(&frame)].bell.clone();
    let received = Arc::new(AtomicUsize::new(0));
    let consumer = std::thread::spawn({
        let received = received.clone();
        move || {
            let (mut frame, mut spill) = (RxFrame::default(), vec![0; MAX_FRAME]);
            while received.load(Ordering::SeqCst) < FRAMES {
                let room = Room { buffers: &nowhere, skip: HEAD, spill: &mut spill };
                match lane.recv(room, &mut frame) {
                    Ok(()) => {
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(QueueError::NotReady) => wait_for(&bell.waker().0),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    for brought in 0..FRAMES {
        // Small steps, so that the lane falls asleep often.
        while brought - received.load(Ordering::SeqCst) > 3 {
            assert!(!consumer.is_finished(), "the lane was never woken");
            std::thread::yield_now();
        }
        stages[0].bring(frame.clone());
        sorter.readable = true;
        sorter.pump();
    }
    consumer.join().unwrap();
}

/// Blocks until the bell is rung, which must not take seconds.
fn wait_for(bell: &EventFd) {
    use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};
    let epoll = Epoll::new().unwrap();
    let event = EpollEvent::new(EventSet::IN, 0);
    epoll.ctl(ControlOperation::Add, bell.as_raw_fd(), event).unwrap();
    let mut events = [EpollEvent::default()];
    assert_eq!(epoll.wait(10_000, &mut events).unwrap(), 1, "a wake was lost");
    bell.read().unwrap();
}
