//! Workers: values that one I/O thread owns and drives; mail is the only way to reach them.
//!
//! A worker goes out to a thread with [`IoThread::host`] and comes home with [`Post::recall`].
//! Between, [`Post::ask`] runs a closure on it, between two of its turns. Asking waits for the
//! answer, so workers of lanes must never ask; others may ask lanes.

#[cfg(any(test, feature = "testing"))]
mod by_hand;
mod fast;
mod mailbox;
mod set;
mod slow;
mod task;

use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use mailbox::Mailbox;
use set::WorkerSet;
use task::Poller;

use crate::thread::{self, Duty, Pool, Running, Shut};

pub use task::{Again, Interest, Source, Worker};
pub use vmm_sys_util::epoll::EventSet;

/// A thread that hosts workers; ends when the last handle and post are gone.
#[derive(Clone)]
pub struct IoThread {
    mailbox: Arc<Mailbox>,
    _end: Arc<End>,
}

struct End {
    mailbox: Arc<Mailbox>,
    thread: Mutex<Option<Running>>,
}

impl End {
    fn is_thread(&self) -> bool {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.mailbox.quit.store(true, Ordering::Release); // pairs with the load after each wake
        self.mailbox.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.id() != std::thread::current().id()
        {
            thread.finish();
        }
    }
}

impl IoThread {
    /// A thread for lanes: plain epoll. Fails if the host has no thread or descriptor left.
    pub fn fast(name: &str) -> io::Result<IoThread> {
        let (mailbox, loop_) = IoThread::fast_loop()?;
        Ok(IoThread::on(thread::start(name, move || loop_.serve())?, mailbox))
    }

    /// The same with a thread of `pool`, where it waits for others of its duty when it has ended.
    fn fast_of(pool: &Pool, name: &str, duty: Duty) -> io::Result<IoThread> {
        let (mailbox, loop_) = IoThread::fast_loop()?;
        Ok(IoThread::on(pool.start(name, duty, move || loop_.serve())?, mailbox))
    }

    fn fast_loop() -> io::Result<(Arc<Mailbox>, fast::Loop)> {
        let mailbox = Arc::new(Mailbox::new()?);
        let loop_ = fast::Loop::new(mailbox.clone())?;
        Ok((mailbox, loop_))
    }

    /// A thread for slow devices: an event-manager loop. Fails if the host has no thread or descriptor
    /// left.
    pub fn slow(name: &str) -> io::Result<IoThread> {
        let mailbox = Arc::new(Mailbox::new()?);
        let loop_ = slow::Loop::new(mailbox.clone())?;
        Ok(IoThread::on(thread::start(name, move || loop_.serve())?, mailbox))
    }

    /// No thread at all: workers take their turns while someone waits in [`Post::settle`], on his
    /// thread. Fails if the host has no descriptor left.
    #[cfg(any(test, feature = "testing"))]
    pub fn by_hand() -> io::Result<IoThread> {
        let mailbox = Arc::new(Mailbox::by_hand()?);
        let end = End { mailbox: mailbox.clone(), thread: Mutex::default() };
        Ok(IoThread { mailbox, _end: Arc::new(end) })
    }

    /// Whether it is no thread.
    #[cfg(any(test, feature = "testing"))]
    pub fn is_by_hand(&self) -> bool {
        self.mailbox.by_hand.is_some()
    }

    fn on(thread: Running, mailbox: Arc<Mailbox>) -> IoThread {
        let end = End { mailbox: mailbox.clone(), thread: Mutex::new(Some(thread)) };
        IoThread { mailbox, _end: Arc::new(end) }
    }

    /// What shuts the thread in, for `duty`; nothing does if it is no thread, or has ended.
    fn shutter(&self, duty: Duty) -> Shutter {
        let end = Arc::downgrade(&self._end);
        Box::new(move |how| {
            let Some(end) = end.upgrade().filter(|end| end.is_thread()) else { return Ok(()) };
            let how = how.clone();
            call(&end.mailbox, move |_, _| how(duty))
        })
    }

    /// Hands `worker` over; returns once its `begin` has run. Fails if that does.
    pub fn host<W: Worker>(&self, worker: W) -> io::Result<Post<W>> {
        let slot = call(&self.mailbox, move |set, poller| set.admit(Box::new(worker), poller))?;
        Ok(Post { thread: self.clone(), slot, worker: PhantomData })
    }
}

/// Runs `f` on the thread and waits for its result.
fn call<R: Send + 'static>(
    mailbox: &Mailbox,
    f: impl FnOnce(&mut WorkerSet, &mut dyn Poller) -> R + Send + 'static,
) -> R {
    #[cfg(any(test, feature = "testing"))]
    if let Some(by_hand) = &mailbox.by_hand {
        return by_hand.call(f);
    }
    let (reply, answer) = mpsc::sync_channel(1);
    mailbox.put(Box::new(move |set, poller| {
        // The asker waits in `recv` below, so the reply cannot be refused.
        let _ = reply.send(f(set, poller));
    }));
    answer.recv().expect("an I/O thread outlives its posts, and a panic on it ends the process")
}

/// The address of a worker that is out on a thread.
pub struct Post<W> {
    thread: IoThread,
    slot: u16,
    worker: PhantomData<fn() -> W>,
}

impl<W: Worker> Post<W> {
    /// Runs `f` on the worker between two of its turns and returns the result. The worker gets a turn
    /// afterwards. Never call it from a worker on the same thread.
    pub fn ask<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut W, &mut Interest<'_>) -> R + Send + 'static,
    ) -> R {
        let slot = self.slot;
        call(&self.thread.mailbox, move |set, poller| set.with(slot, poller, f))
    }

    /// Has `f` run on the worker between two of its turns, some time; does not wait for it. The worker
    /// gets a turn afterwards.
    pub fn tell(&self, f: impl FnOnce(&mut W, &mut Interest<'_>) + Send + 'static) {
        let slot = self.slot;
        #[cfg(any(test, feature = "testing"))]
        if let Some(by_hand) = &self.thread.mailbox.by_hand {
            return by_hand.call(|set, poller| set.with(slot, poller, f));
        }
        self.thread.mailbox.put(Box::new(move |set, poller| set.with(slot, poller, f)));
    }

    /// Waits for what the worker sends in a later turn; `None` if it dropped the sender. Never call it
    /// from a worker on the same thread.
    pub fn await_from<R>(&self, answer: &mpsc::Receiver<R>) -> Option<R> {
        #[cfg(any(test, feature = "testing"))]
        if self.thread.is_by_hand() {
            loop {
                match answer.try_recv() {
                    Ok(answer) => return Some(answer),
                    Err(mpsc::TryRecvError::Disconnected) => return None,
                    Err(mpsc::TryRecvError::Empty) => self.settle(),
                }
            }
        }
        answer.recv().ok()
    }

    /// Returns after a turn of the worker that follows all that was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        let slot = self.slot;
        let turns = || call(&self.thread.mailbox, move |set, _| set.turns(slot));
        // A thread may be in the middle of a round: it gets the mail, and has not heard of what became ready since.
        let rounds = if self.thread.is_by_hand() { 1 } else { 2 };
        let before = turns();
        while turns().wrapping_sub(before) < rounds {
            match &self.thread.mailbox.by_hand {
                Some(by_hand) => by_hand.turn(),
                None => std::thread::yield_now(),
            }
        }
    }

    /// The worker comes home. It forgets its descriptors itself, in `farewell`, while it is still on
    /// its thread.
    pub fn recall(self, farewell: impl FnOnce(&mut W, &mut Interest<'_>) + Send + 'static) -> W {
        let slot = self.slot;
        let worker: Box<dyn Any + Send> = call(&self.thread.mailbox, move |set, poller| {
            set.with(slot, poller, farewell);
            set.dismiss(slot)
        });
        *worker.downcast::<W>().expect("a post and its slot hold the same type")
    }
}

/// Has one thread, or several of a kind, shut themselves in, and waits for it.
type Shutter = Box<dyn Fn(&Shut) -> io::Result<()> + Send + Sync>;

/// The I/O threads of one machine, made while it is built, and with devices that come later.
pub struct Threads {
    slow: IoThread,
    capture: IoThread,
    /// Of threads that were started and are not shut in yet.
    shutters: Mutex<Vec<Shutter>>,
    pool: Pool,
    start_fast: fn(&Pool, &str, Duty) -> io::Result<IoThread>,
    fast_limit: usize,
    may_spin: bool,
}

impl Threads {
    /// Starts the slow threads `io-0` and `capture`. Cards get at most one fast thread per host CPU but one.
    /// Fails if the host has no threads or descriptors left.
    pub fn new() -> io::Result<Threads> {
        let cpus = thread::cpus();
        let (slow, capture) = (IoThread::slow("io-0")?, IoThread::slow("capture")?);
        let shutters = vec![slow.shutter(Duty::Io), capture.shutter(Duty::Capture)];
        Ok(Threads {
            slow,
            capture,
            shutters: Mutex::new(shutters),
            pool: Pool::default(),
            start_fast: IoThread::fast_of,
            fast_limit: cpus.saturating_sub(1).max(1),
            may_spin: cpus > 1,
        })
    }

    /// No threads: all that would run on one runs by hand ([`IoThread::by_hand`]). Fails if the host has
    /// no descriptors left.
    #[cfg(any(test, feature = "testing"))]
    pub fn by_hand() -> io::Result<Threads> {
        let (slow, capture) = (IoThread::by_hand()?, IoThread::by_hand()?);
        let start_fast = |_: &Pool, _: &str, _: Duty| IoThread::by_hand();
        Ok(Threads {
            slow,
            capture,
            shutters: Mutex::default(),
            pool: Pool::default(),
            start_fast,
            fast_limit: usize::MAX,
            may_spin: false,
        })
    }

    /// Whether a worker may keep its fast thread busy with looking: it is one, and others have CPUs besides.
    pub fn may_spin(&self) -> bool {
        self.may_spin
    }

    /// The thread of control queues, consoles and other slow workers.
    pub fn slow(&self) -> &IoThread {
        &self.slow
    }

    /// The thread that writes captures, which may wait for a disk.
    pub fn capture(&self) -> &IoThread {
        &self.capture
    }

    /// By hand, but captures are written on a thread. Fails if the host has none left.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_capture_thread(self) -> io::Result<Threads> {
        Ok(Threads { capture: IoThread::slow("capture")?, ..self })
    }

    /// Starts the threads of a device with `lanes` lanes, named `NAME-K`; lane `i` belongs on
    /// thread `i` modulo their number. Fails if the host has no threads or descriptors left.
    pub fn fast(&self, name: &str, duty: Duty, lanes: u16) -> io::Result<Vec<IoThread>> {
        let count = usize::from(lanes).clamp(1, self.fast_limit);
        let threads =
            (0..count).map(|k| (self.start_fast)(&self.pool, &format!("{name}-{k}"), duty));
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        self.shutters().extend(threads.iter().map(|thread| thread.shutter(duty)));
        Ok(threads)
    }

    /// Where threads of devices wait that have nothing to do.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Besides the threads of here, `shutter` is to be called when the machine is shut in: it has a thread of
    /// its device call what it is given, and waits for that.
    pub fn on_shut(&self, shutter: impl Fn(&Shut) -> io::Result<()> + Send + Sync + 'static) {
        self.shutters().push(Box::new(shutter));
    }

    /// Has each thread that was started since the last time shut itself in, before the guest can reach it. Fails if
    /// the host refuses; then some may be shut in, and the machine must not run.
    pub fn shut(&self, how: &Shut) -> io::Result<()> {
        let new = std::mem::take(&mut *self.shutters());
        new.iter().try_for_each(|shutter| shutter(how))
    }

    fn shutters(&self) -> MutexGuard<'_, Vec<Shutter>> {
        self.shutters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "worker_test.rs"]
mod tests;
