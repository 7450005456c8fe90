//! Who stays outside of a PID namespace until the program in it has ended: it passes signals on, and ends as that does.

use std::mem::MaybeUninit;
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::{JailError, Step};
use crate::signals;

/// What is passed on, and that a child has changed.
const HEARD: [Signal; 8] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Signals that are heard one by one.
pub struct Heard {
    set: SigSet,
    before: SigSet,
}

impl Heard {
    /// Holds them back from now on, so that none is missed. Before the child is there.
    pub fn begin() -> Result<Heard, JailError> {
        // Whoever does not want to hear of children has them gone before anybody could ask.
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }
            .step(|| "cannot hear of the program's end".into())?;
        let set: SigSet = HEARD.into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))
            .step(|| "cannot hold signals back".into())?;
        Ok(Heard { set, before })
    }

    /// Lets them through again, in the child.
    pub fn end(&self) -> Result<(), JailError> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None)
            .step(|| "cannot let signals through".into())
    }

    /// The next one, and whether somebody has sent it; the kernel's, such as a terminal's, come to the child as well.
    fn next(&self) -> Option<(Signal, bool)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: both point to what the call reads and writes, and zeros are a valid siginfo.
        let (signal, info) = unsafe {
            let signal = libc::sigwaitinfo(self.set.as_ref(), info.as_mut_ptr());
            (signal, info.assume_init())
        };
        Signal::try_from(signal).ok().map(|signal| (signal, info.si_code <= 0))
    }
}

/// Waits for the end of `child`; returns the exit code it ended with, or dies by the signal that it died by.
pub fn keep(heard: &Heard, child: i32) -> Result<ExitCode, JailError> {
    let child = Pid::from_raw(child);
    loop {
        match heard.next() {
            Some((Signal::SIGCHLD, _)) | None => {}
            Some((signal, true)) => {
                // It may have ended.
                let _ = kill(child, signal);
            }
            Some((_, false)) => {}
        }
        match waitpid(child, Some(WaitPidFlag::WNOHANG))
            .step(|| "cannot wait for the program".into())?
        {
            WaitStatus::Exited(_, code) => return Ok(ExitCode::from(code as u8)),
            WaitStatus::Signaled(_, signal, _) => {
                signals::die_by(signal as i32);
                return Ok(ExitCode::from((signal as u8).saturating_add(128)));
            }
            _ => {}
        }
    }
}
