//! Threads of a machine: what each is for, and how each is shut in before the guest runs.
//!
//! Once shut in, a thread can make only the system calls that its duty needs. To end is not one of them: it waits,
//! with nothing left in its hands, for something else of its duty ([`Pool`]) or for the end of the process.

use std::cell::Cell;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

/// Stack of a thread of the machine. With 2 MiB, Rust's default, it may lie just so that the host
/// puts a huge page under it.
pub const STACK: usize = 512 << 10;

/// What a thread of devices does; what it may ask of the host follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Slow devices: control queues, consoles.
    Io,
    /// Writes captures.
    Capture,
    /// Moves frames of a card between its rings and a TAP.
    TapLane,
    /// The same, for an Ethernet interface.
    PacketLane,
    /// Hands a card's rings to the host's kernel, which moves its frames, and takes them back.
    VhostLane,
    /// Takes a disk's requests from its rings.
    DiskLane,
    /// Waits for the host in the place of a disk's lane.
    DiskHelper,
    /// Carries what guest and host say by sockets.
    Vsock,
    /// Flushes a file that is memory of the guest.
    Pmem,
}

/// Shuts the calling thread in, for good; calls [`stay`] if it leaves it no call to end by. Fails if the host refuses.
pub type Shut = Arc<dyn Fn(Duty) -> io::Result<()> + Send + Sync>;

/// CPUs that the process may keep busy, by its affinity and its control group; 1 if the host does not tell. Looked up
/// once, as that takes several files: who is forked later knows it too.
pub fn cpus() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

thread_local! {
    static STAYS: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread has no call left to end by: it stays until the process ends.
pub fn stay() {
    STAYS.set(true);
}

/// Whether the calling thread does.
pub fn stays() -> bool {
    STAYS.get()
}

/// A thread that was started; it goes on by itself when this is dropped.
pub struct Running {
    over: mpsc::Receiver<bool>,
    id: ThreadId,
    /// `None` of one that waited for something to do.
    handle: Option<JoinHandle<()>>,
}

/// Starts a thread called `name`. Fails if the host has none left.
pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Running> {
    let (tell, over) = mpsc::sync_channel(1);
    let handle = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
        body();
        let stays = STAYS.get();
        // Nobody may be left who wants to know.
        let _ = tell.send(stays);
        if stays {
            loop {
                thread::park();
            }
        }
    })?;
    Ok(Running { over, id: handle.thread().id(), handle: Some(handle) })
}

/// Something to do, and who is told when it is over.
struct Job {
    body: Box<dyn FnOnce() + Send>,
    tell: mpsc::SyncSender<bool>,
}

/// A thread that waits for something to do.
struct Idle {
    duty: Duty,
    id: ThreadId,
    next: mpsc::Sender<Job>,
}

/// Threads that are shut in, and have nothing to do: what ends its work comes here, so that devices can come and go
/// without end. A thread keeps the kernel's name of the first that it was for.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Idle>>>);

impl Pool {
    /// Has a thread of `duty` do `body`: one that waits here, or a new one called `name`. Fails if the host has none
    /// left.
    pub fn start(
        &self,
        name: &str,
        duty: Duty,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Running> {
        let (tell, over) = mpsc::sync_channel(1);
        let mut job = Job { body: Box::new(body), tell };
        while let Some(idle) = take(&mut lock(&self.0), duty) {
            match idle.next.send(job) {
                Ok(()) => return Ok(Running { over, id: idle.id, handle: None }),
                Err(mpsc::SendError(back)) => job = back,
            }
        }
        let pool = Arc::downgrade(&self.0);
        let handle = thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || serve(job, duty, &pool))?;
        Ok(Running { over, id: handle.thread().id(), handle: Some(handle) })
    }
}

fn lock(pool: &Mutex<Vec<Idle>>) -> MutexGuard<'_, Vec<Idle>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(idle: &mut Vec<Idle>, duty: Duty) -> Option<Idle> {
    let at = idle.iter().position(|idle| idle.duty == duty)?;
    Some(idle.swap_remove(at))
}

/// Does one thing after another, as long as the thread has to stay.
fn serve(mut job: Job, duty: Duty, pool: &Weak<Mutex<Vec<Idle>>>) {
    loop {
        let Job { body, tell } = job;
        body();
        let stays = STAYS.get();
        let (next, jobs) = mpsc::channel();
        if let Some(pool) = pool.upgrade().filter(|_| stays) {
            // First, so that who waits for the end finds it here.
            lock(&pool).push(Idle { duty, id: thread::current().id(), next });
        }
        // Nobody may be left who wants to know.
        let _ = tell.send(stays);
        if !stays {
            return;
        }
        job = match jobs.recv() {
            Ok(job) => job,
            Err(_) => loop {
                thread::park();
            },
        };
    }
}

impl Running {
    /// Which thread it is.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// As [`Running::finish`], if it comes to that within `patience`; else it goes on by itself.
    pub fn finish_within(self, patience: Duration) {
        if let (Ok(false), Some(handle)) = (self.over.recv_timeout(patience), self.handle) {
            let _ = handle.join();
        }
    }

    /// Returns after all that the thread does, and after all that it held was dropped.
    pub fn finish(self) {
        // A panic of the thread has been reported by the panic hook.
        let stays = self.over.recv().unwrap_or(false);
        if let Some(handle) = self.handle.filter(|_| !stays) {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stays_is_finished_without_its_end() {
        for stays in [false, true] {
            let (tell, heard) = mpsc::channel();
            let held = Arc::new(());
            let theirs = held.clone();
            let running = start("test", move || {
                if stays {
                    stay();
                }
                tell.send(thread::current().name().map(str::to_owned)).unwrap();
                drop(theirs);
            });
            running.unwrap().finish();
            assert_eq!(heard.recv().unwrap().as_deref(), Some("test"));
            assert_eq!(Arc::strong_count(&held), 1, "{stays}");
        }
    }

    #[test]
    fn a_thread_that_stays_is_used_again_for_the_same_duty_only() {
        let pool = Pool::default();
        let id = |name: &str, duty, stays| {
            let (tell, heard) = mpsc::channel();
            let body = move || {
                if stays {
                    stay();
                }
                tell.send(thread::current().id()).unwrap();
            };
            pool.start(name, duty, body).unwrap().finish();
            heard.recv().unwrap()
        };
        let first = id("first", Duty::DiskLane, true);
        for _ in 0..100 {
            assert_eq!(id("next", Duty::DiskLane, true), first);
        }
        assert_ne!(id("other", Duty::TapLane, true), first);
        let ended = id("pmem", Duty::Pmem, false);
        assert_ne!(id("pmem", Duty::Pmem, false), ended);
    }

    #[test]
    fn threads_that_do_something_at_once_are_different_ones() {
        let pool = Pool::default();
        let (done, ends) = mpsc::channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let ends = ends.clone();
                let body = move || {
                    stay();
                    ends.lock().unwrap().recv().unwrap();
                };
                pool.start("busy", Duty::DiskHelper, body).unwrap()
            })
            .collect();
        let mut ids: Vec<_> = busy.iter().map(|running| format!("{:?}", running.id())).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
        (0..3).for_each(|_| done.send(()).unwrap());
        busy.into_iter().for_each(Running::finish);
        assert_eq!(lock(&pool.0).len(), 3);
    }

    #[test]
    fn a_thread_that_panics_is_over() {
        start("test", || panic!("on purpose")).unwrap().finish();
    }
}
