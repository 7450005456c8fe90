//! The thread of a pager: it lives as long as the machine, and is shut in as all threads are.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use device_core::thread::{self, Running};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

type Job = Box<dyn FnOnce() + Send>;

/// By what its owner has the thread's ear.
pub struct Bell {
    event: EventFd,
    job: Mutex<Option<Job>>,
    quit: AtomicBool,
}

impl Bell {
    /// Sleeps until the bell is rung, `fd` is readable or has ended, or the time is over; without one it waits. The
    /// events of `fd`, of `poll(2)`, if it has any. Fails if the host refuses.
    pub fn wait(&self, fd: Option<RawFd>, limit: Option<Duration>) -> io::Result<i16> {
        let of = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // A negative descriptor is passed over.
        let mut fds = [of(self.event.as_raw_fd()), of(fd.unwrap_or(-1))];
        let limit = limit.map_or(-1, |limit| i32::try_from(limit.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: two valid entries.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit) };
        if ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
        let [_, of_fd] = fds;
        Ok(if ready > 0 { of_fd.revents } else { 0 })
    }

    /// Does what the owner asks for, if he does. Whether the thread is to end.
    pub fn heed(&self) -> bool {
        // Readiness only.
        let _ = self.event.read();
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            job();
        }
        self.quit.load(Ordering::Acquire)
    }

    /// Sleeps until the thread is to end.
    pub fn rest(&self) {
        while !self.heed() {
            if self.wait(None, None).is_err() {
                return;
            }
        }
    }
}

/// A thread that goes when this is dropped.
pub struct Helper {
    running: Option<Running>,
    bell: Arc<Bell>,
}

impl Helper {
    /// Starts it; `body` returns once [`Bell::heed`] says so, and not before. Fails if the host has none left.
    pub fn start(body: impl FnOnce(Arc<Bell>) + Send + 'static) -> io::Result<Helper> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let bell = Arc::new(Bell { event, job: Mutex::default(), quit: AtomicBool::new(false) });
        let theirs = bell.clone();
        let running = thread::start("pager", move || body(theirs))?;
        Ok(Helper { running: Some(running), bell })
    }

    /// Has the thread shut itself in by `how`, and waits for that. Fails if `how` does.
    pub fn shut(&self, how: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let (tell, heard) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // Who asked waits.
            let _ = tell.send(how());
        });
        *self.bell.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.ring();
        heard.recv().unwrap_or_else(|_| Err(io::Error::other("the thread is gone")))
    }

    fn ring(&self) {
        // It can fail only if full, and then it is readable.
        let _ = self.bell.event.write(1);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.bell.quit.store(true, Ordering::Release);
        self.ring();
        if let Some(running) = self.running.take() {
            running.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_does_what_its_owner_asks_and_ends_with_him() {
        let (tell, heard) = mpsc::channel();
        let helper = Helper::start(move |bell| {
            bell.rest();
            tell.send("over").unwrap();
        });
        let helper = helper.unwrap();
        helper.shut(|| Ok(())).unwrap();
        let refused = helper.shut(|| Err(io::Error::other("no"))).unwrap_err();
        assert_eq!(refused.to_string(), "no");
        drop(helper);
        assert_eq!(heard.recv(), Ok("over"));
    }
}
