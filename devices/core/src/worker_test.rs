//! Tests of workers on both kinds of loop.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::*;

/// Counts readiness of an eventfd and its own turns.
struct Counting {
    event: Arc<EventFd>,
    ready: u32,
    turns: u32,
    again: Vec<Again>,
    told: mpsc::Sender<u32>,
}

impl AsFd for Counting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::testing::borrow(&self.event)
    }
}

impl Worker for Counting {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        let fd = crate::testing::borrow(&self.event);
        interest.watch(fd, 7, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }
    fn ready(&mut self, source: Source, readiness: EventSet) {
        assert_eq!(source, 7);
        assert!(readiness.contains(EventSet::IN));
        self.ready += 1;
    }
    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        self.turns += 1;
        let _ = self.told.send(self.ready);
        self.again.pop().unwrap_or(Again::WhenReady)
    }
}

fn counting(again: Vec<Again>) -> (Counting, Arc<EventFd>, mpsc::Receiver<u32>) {
    let event = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap());
    let (told, heard) = mpsc::channel();
    (Counting { event: event.clone(), ready: 0, turns: 0, again, told }, event, heard)
}

const LONG: Duration = Duration::from_secs(20);

fn wait_for(heard: &mpsc::Receiver<u32>, ready: u32) {
    while heard.recv_timeout(LONG).expect("the worker got no turn in time") < ready {}
}

fn on_both(check: impl Fn(IoThread)) {
    check(IoThread::fast("fast").unwrap());
    check(IoThread::slow("slow").unwrap());
}

#[test]
fn each_write_to_an_edge_triggered_eventfd_reaches_the_worker() {
    on_both(|thread| {
        let (worker, event, heard) = counting(vec![]);
        let post = thread.host(worker).unwrap();
        for expected in 1..=50 {
            event.write(1).unwrap();
            wait_for(&heard, expected);
        }
        assert_eq!(post.ask(|worker, _| worker.ready), 50);
    });
}

#[test]
fn a_worker_comes_home_with_its_state_and_is_not_driven_any_more() {
    on_both(|thread| {
        let (worker, event, heard) = counting(vec![]);
        let post = thread.host(worker).unwrap();
        event.write(1).unwrap();
        wait_for(&heard, 1);
        let home = post.recall(|worker, interest| interest.forget(worker.as_fd()).unwrap());
        event.write(1).unwrap();
        let (second, _, _keep) = counting(vec![]);
        let other = thread.host(second).unwrap();
        assert_eq!(other.ask(|worker, _| worker.ready), 0);
        assert_eq!(home.ready, 1);
    });
}

#[test]
fn now_and_deadlines_bring_turns_without_events() {
    on_both(|thread| {
        let soon = Instant::now() + Duration::from_millis(5);
        // Taken from the end: two turns at once, then one at a time, then silence.
        let (worker, _event, heard) = counting(vec![Again::At(soon), Again::Now, Again::Now]);
        let _post = thread.host(worker).unwrap();
        for _ in 0..4 {
            heard.recv_timeout(LONG).expect("the worker got no turn in time");
        }
        assert!(Instant::now() >= soon);
    });
}

#[test]
fn a_lane_thread_keeps_a_wait_of_microseconds() {
    let thread = IoThread::fast("fast").unwrap();
    let wait = Duration::from_micros(50);
    // Of many, since the machine may have something else to do.
    let shortest = (0..50).map(|_| {
        let begin = Instant::now();
        let (worker, _event, heard) = counting(vec![Again::At(begin + wait)]);
        let _post = thread.host(worker).unwrap();
        for _ in 0..2 {
            heard.recv_timeout(LONG).expect("the worker got no turn in time");
        }
        begin.elapsed()
    });
    let shortest = shortest.min().unwrap();
    assert!((wait..Duration::from_millis(1)).contains(&shortest), "{shortest:?}");
}

#[test]
fn a_lane_thread_that_rests_hears_all_at_its_end() {
    let thread = IoThread::fast("fast").unwrap();
    let rest = Duration::from_millis(1);
    for _ in 0..50 {
        let begin = Instant::now();
        let (worker, event, heard) = counting(vec![Again::WhenReady, Again::Rest(begin + rest)]);
        let _post = thread.host(worker).unwrap();
        event.write(1).unwrap();
        wait_for(&heard, 1);
        assert!(begin.elapsed() >= rest);
    }
}

/// Looks by itself, for ever.
struct Looking;

impl Worker for Looking {
    fn begin(&mut self, _: &mut Interest<'_>) -> io::Result<()> {
        Ok(())
    }
    fn ready(&mut self, _: Source, _: EventSet) {}
    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        Again::Unheard
    }
}

#[test]
fn beside_one_who_looks_by_itself_all_others_are_heard() {
    on_both(|thread| {
        let busy = thread.host(Looking).unwrap();
        let (worker, event, heard) = counting(vec![Again::Now; 3]);
        let post = thread.host(worker).unwrap();
        for expected in 1..=50 {
            event.write(1).unwrap();
            wait_for(&heard, expected);
        }
        assert_eq!(post.ask(|worker, _| worker.ready), 50);
        busy.recall(|_, _| ());
    });
}

#[test]
fn a_thread_ends_with_its_last_handle() {
    on_both(|thread| {
        let (worker, event, heard) = counting(vec![]);
        let post = thread.host(worker).unwrap();
        drop(thread);
        event.write(1).unwrap();
        wait_for(&heard, 1);
        drop(post);
        // The thread dropped the worker, and with it the sender.
        while heard.try_recv().is_ok() {}
        assert_eq!(heard.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn waits_are_rounded_up_to_milliseconds() {
    assert_eq!(set::wait_ms(None), -1);
    assert_eq!(set::wait_ms(Some(Duration::ZERO)), 0);
    assert_eq!(set::wait_ms(Some(Duration::from_nanos(1))), 1);
    assert_eq!(set::wait_ms(Some(Duration::from_micros(1500))), 2);
    assert_eq!(set::wait_ms(Some(Duration::MAX)), i32::MAX);
}

#[test]
fn by_hand_a_worker_has_its_turns_only_while_someone_waits_for_it() {
    let thread = IoThread::by_hand().unwrap();
    let (worker, event, heard) = counting(vec![]);
    let post = thread.host(worker).unwrap();
    event.write(1).unwrap();
    assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
    post.settle();
    assert_eq!(heard.try_recv(), Ok(1));
    assert_eq!(post.ask(|worker, _| (worker.ready, worker.turns)), (1, 1));
    let home = post.recall(|worker, interest| interest.forget(worker.as_fd()).unwrap());
    assert_eq!(home.turns, 1);
}
