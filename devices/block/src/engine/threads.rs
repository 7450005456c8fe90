//! The engine of a host without io_uring: threads that wait for the host in the lanes' place.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use device_core::kick::borrow;
use device_core::thread::{Duty, Running, Shut};
use device_core::worker;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::calls::carry_out;
use super::{Done, Engine};
use crate::image::Image;
use crate::task::Task;

/// Threads for each lane, and at most for all of a disk.
pub const PER_LANE: usize = 4;
const MOST: usize = 16;

/// How long a lane that is dropped waits for what it has away; then those end without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a disk that goes waits for its threads, all of which have nothing to do as a rule.
const MOMENT: Duration = Duration::from_millis(200);

/// A disk's threads, shared by its lanes; they end with the last of those, as soon as the host lets them.
pub struct Crew {
    queue: Arc<Queue>,
    threads: Mutex<Vec<Running>>,
}

#[derive(Default)]
struct Queue {
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Default)]
struct Work {
    tasks: VecDeque<Job>,
    ends: bool,
    /// How each thread is to shut itself in, and where it says that it has.
    shut: Option<(Shut, mpsc::Sender<io::Result<()>>)>,
}

/// What a thread does next.
enum Next {
    Carry(Job),
    ShutIn(Shut, mpsc::Sender<io::Result<()>>),
    End,
}

struct Job {
    task: Box<Task>,
    image: Arc<Image>,
    home: Arc<Home>,
}

impl Job {
    fn carry_out(self) {
        let Job { task, image, home } = self;
        let result = carry_out(&task, &image);
        // Whoever sees the task may be about to open the image anew.
        drop(image);
        home.done.lock().unwrap_or_else(PoisonError::into_inner).push((task, result));
        home.arrived.notify_all();
        // Cannot fail but by overflow, and then it is readable already.
        let _ = home.bell.write(1);
    }
}

/// Where tasks of one lane come back.
struct Home {
    done: Mutex<Vec<Done>>,
    arrived: Condvar,
    bell: Arc<EventFd>,
}

impl Crew {
    /// Starts [`PER_LANE`] threads for each lane, named `NAME-wK`, but no more than 16. Fails if the host has
    /// none left.
    pub fn new(name: &str, lanes: u16, threads: &worker::Threads) -> io::Result<Crew> {
        Crew::of(name, usize::from(lanes).saturating_mul(PER_LANE).clamp(1, MOST), threads)
    }

    /// A single one, for calls that io_uring does not have.
    pub fn helper(name: &str, threads: &worker::Threads) -> io::Result<Crew> {
        Crew::of(name, 1, threads)
    }

    fn of(name: &str, count: usize, threads: &worker::Threads) -> io::Result<Crew> {
        let crew = Crew { queue: Arc::default(), threads: Mutex::default() };
        for nth in 0..count {
            let queue = crew.queue.clone();
            let serve = move || queue.serve();
            let thread =
                threads.pool().start(&format!("{name}-w{nth}"), Duty::DiskHelper, serve)?;
            crew.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        let queue = Arc::downgrade(&crew.queue);
        threads.on_shut(move |how| match queue.upgrade() {
            Some(queue) => queue.shut(how, count),
            None => Ok(()),
        });
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.queue.work().ends = true;
        self.queue.more.notify_all();
        let end = Instant::now().checked_add(MOMENT);
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // One may be stuck in the host for long, and has all that it needs.
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            thread.finish_within(left.unwrap_or_default());
        }
    }
}

impl Queue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all `count` threads shut themselves in. Fails if one cannot.
    fn shut(&self, how: &Shut, count: usize) -> io::Result<()> {
        let (tell, heard) = mpsc::channel();
        self.work().shut = Some((how.clone(), tell));
        self.more.notify_all();
        heard.into_iter().take(count).collect()
    }

    /// What a thread does until there is no more work and never will be.
    fn serve(&self) {
        let mut is_shut = false;
        loop {
            match self.next(is_shut) {
                Next::Carry(job) => job.carry_out(),
                Next::ShutIn(how, tell) => {
                    is_shut = true;
                    // Who is told waits for all.
                    let _ = tell.send(how(Duty::DiskHelper));
                }
                Next::End => return,
            }
        }
    }

    fn next(&self, is_shut: bool) -> Next {
        let mut work = self.work();
        loop {
            if let Some((how, tell)) = work.shut.as_ref().filter(|_| !is_shut) {
                return Next::ShutIn(how.clone(), tell.clone());
            }
            match work.tasks.pop_front() {
                Some(job) => return Next::Carry(job),
                None if work.ends => return Next::End,
                None => work = self.more.wait(work).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// One lane's end of a [`Crew`].
pub struct Threads {
    crew: Arc<Crew>,
    image: Arc<Image>,
    home: Arc<Home>,
    fresh: Vec<Box<Task>>,
    away: usize,
}

impl Threads {
    /// An engine for tasks of `image`. Fails if the host has no descriptor left.
    pub fn new(crew: Arc<Crew>, image: Arc<Image>) -> io::Result<Threads> {
        let home = Home {
            done: Mutex::default(),
            arrived: Condvar::new(),
            bell: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
        };
        Ok(Threads { crew, image, home: Arc::new(home), fresh: Vec::new(), away: 0 })
    }
}

impl Engine for Threads {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn start(&mut self, task: Box<Task>) {
        self.away = self.away.saturating_add(1);
        self.fresh.push(task);
    }

    fn submit(&mut self) -> bool {
        if self.fresh.is_empty() {
            return true;
        }
        let count = self.fresh.len();
        let (image, home) = (&self.image, &self.home);
        let jobs =
            self.fresh.drain(..).map(|task| Job { task, image: image.clone(), home: home.clone() });
        self.crew.queue.work().tasks.extend(jobs);
        match count {
            1 => self.crew.queue.more.notify_one(),
            _ => self.crew.queue.more.notify_all(),
        }
        true
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        if self.away == 0 {
            return;
        }
        let before = done.len();
        done.append(&mut self.home.done.lock().unwrap_or_else(PoisonError::into_inner));
        self.away = self.away.saturating_sub(done.len().saturating_sub(before));
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        vec![borrow(&self.home.bell)]
    }

    fn bell(&self) -> Arc<EventFd> {
        self.home.bell.clone()
    }

    fn replace(&mut self, image: Arc<Image>) -> io::Result<()> {
        self.image = image;
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.submit();
        let done = self.home.done.lock().unwrap_or_else(PoisonError::into_inner);
        let away = self.away;
        let waited = self.home.arrived.wait_timeout_while(done, PATIENCE, |done| done.len() < away);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::error!(
                "{}: the host does not end what it was asked",
                self.image.path().display()
            );
        }
    }
}
