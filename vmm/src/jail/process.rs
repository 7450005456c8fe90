//! The process itself: what it was handed, limits, sessions, and the exec.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::unistd::{ForkResult, fexecve, fork, getsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Resource, Rlimit, Signal, getpid, set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use rustix::time::{ClockId, clock_gettime};

use super::error::{JailError, Step};
use super::handed::Manager;
use super::keeper::Heard;
use super::occupant::Occupancy;
use super::plan::Plan;
use super::tree::Jail;

/// When this process began, as the program is told.
#[derive(Clone, Copy, Debug)]
pub struct StartTimes {
    wall: Duration,
    cpu: Duration,
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

impl StartTimes {
    /// Now.
    pub fn now() -> StartTimes {
        StartTimes { wall: clock(ClockId::Monotonic), cpu: clock(ClockId::ProcessCPUTime) }
    }
}

/// Sets the limits of the process.
pub fn set_limits(plan: &Plan) -> Result<(), JailError> {
    let set = |resource, name, value| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, limit)
            .step(|| format!("--resource-limit {name}={value}: the host refuses"))
    };
    set(Resource::Nofile, "no-file", plan.limits.no_file)?;
    if let Some(bytes) = plan.limits.fsize {
        set(Resource::Fsize, "fsize", bytes)?;
    }
    // A guest's memory is nobody's to read.
    set(Resource::Core, "core", 0)
}

/// What takes the place of the standard descriptors, if they are to go.
pub fn open_null(plan: &Plan) -> Result<Option<File>, JailError> {
    let open = || File::options().read(true).write(true).open("/dev/null");
    plan.daemonize.then(open).transpose().step(|| "cannot open /dev/null".into())
}

/// Who goes on after the process has parted.
pub enum Role {
    /// It becomes the program.
    Inmate {
        /// Time of the processor that others took for it before.
        parent_cpu: Duration,
        /// It ends with who keeps it, who holds the other end of this.
        keeper: Option<OwnedFd>,
    },
    /// It stays until its child has ended.
    Keeper {
        /// What it passes on.
        heard: Box<Heard>,
        child: i32,
        /// Its end is seen at the other end.
        tell: OwnedFd,
    },
    /// It has nothing more to do.
    Done,
}

/// Goes into the background and into a PID namespace, as asked; and writes the PID of who stays, and tells `manager`.
pub fn part(
    plan: &Plan,
    jail: &Jail,
    occupancy: &mut Occupancy,
    manager: &Manager,
    null: Option<File>,
) -> Result<Role, JailError> {
    let mut parent_cpu = Duration::ZERO;
    if let Some(null) = null {
        let what = || "cannot go into the background".to_string();
        // Not the leader of a group, who cannot begin a session; nor, in the end, of a session, who could get a terminal.
        for is_first in [true, false] {
            parent_cpu = parent_cpu.saturating_add(clock(ClockId::ProcessCPUTime));
            if split().step(what)?.is_some() {
                return Ok(Role::Done);
            }
            if is_first {
                setsid().step(what)?;
            }
        }
        dup2_stdin(&null)
            .and_then(|()| dup2_stdout(&null))
            .and_then(|()| dup2_stderr(&null))
            .step(what)?;
    }
    if !plan.new_pid_ns {
        let pid = getpid().as_raw_nonzero().get();
        occupancy.is_of(pid)?;
        jail.write_pid(plan, pid)?;
        return Ok(Role::Inmate { parent_cpu, keeper: None });
    }
    let what = || "cannot make a PID namespace".to_string();
    let heard = plan.keeps.then(Heard::begin).transpose()?;
    // Whose session began before any namespace has one of PID 0.
    let leads_session = getsid(None).is_ok_and(|session| session == nix::unistd::getpid());
    // SAFETY: descriptors stay shared with nobody.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.step(what)?;
    parent_cpu = parent_cpu.saturating_add(clock(ClockId::ProcessCPUTime));
    // The child waits for its PID's being written, so that who finds it running finds the file.
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(what)?;
    if let Some(child) = split().step(what)? {
        occupancy.is_of(child)?;
        jail.write_pid(plan, child)?;
        let Some(heard) = heard else {
            manager.follow(child)?;
            rustix::io::write(&tell, &[1]).step(what)?;
            return Ok(Role::Done);
        };
        rustix::io::write(&tell, &[1]).step(what)?;
        return Ok(Role::Keeper { heard: Box::new(heard), child, tell });
    }
    drop(tell);
    if rustix::io::read(&told, &mut [0; 1]).step(what)? == 0 {
        return Err(JailError::refused("the PID could not be written"));
    }
    if let Some(heard) = &heard {
        heard.end()?;
        return Ok(Role::Inmate { parent_cpu, keeper: Some(told) });
    }
    if leads_session {
        // Its end would hang up on us.
        setsid().step(what)?;
    }
    Ok(Role::Inmate { parent_cpu, keeper: None })
}

/// Forks; the child's PID for the parent.
fn split() -> Result<Option<i32>, nix::Error> {
    // SAFETY: the process has one thread, so the child finds nothing locked or half done.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child.as_raw())),
        ForkResult::Child => Ok(None),
    }
}

/// Ends the program, which is executed next, with its keeper. Fails if that has ended already.
pub fn end_with(keeper: Option<&OwnedFd>) -> Result<(), JailError> {
    let Some(keeper) = keeper else { return Ok(()) };
    let what = || "cannot be told of the keeper's end".to_string();
    set_parent_process_death_signal(Some(Signal::KILL)).step(what)?;
    let mut ends = [PollFd::new(keeper, PollFlags::empty())];
    poll(&mut ends, Some(&Timespec::default())).step(what)?;
    match ends.iter().any(|end| end.revents().contains(PollFlags::HUP)) {
        true => Err(JailError::refused("who started the jail has ended")),
        false => Ok(()),
    }
}

/// Descriptors that the program is told of.
pub struct Handed<'a> {
    /// By these it says that it is ready.
    pub ready: &'a [RawFd],
    /// By these its threads go into their control groups.
    pub doors: Option<[RawFd; 2]>,
}

/// Becomes the program; returns only why not.
pub fn exec(
    plan: &Plan,
    program: &OwnedFd,
    handed: &Handed<'_>,
    times: StartTimes,
    parent_cpu: Duration,
) -> JailError {
    let mut name = b"/".to_vec();
    name.extend_from_slice(plan.name.as_bytes());
    // A child's clock begins anew.
    let own_cpu = if parent_cpu.is_zero() { times.cpu } else { Duration::ZERO };
    let mut words = vec![name, b"--id".to_vec(), plan.id.clone().into_bytes()];
    let marks = [
        ("--start-time-us", times.wall),
        ("--start-time-cpu-us", own_cpu),
        ("--parent-cpu-time-us", parent_cpu),
    ];
    for (flag, time) in marks {
        words.push(flag.into());
        words.push(time.as_micros().to_string().into_bytes());
    }
    for fd in handed.ready {
        words.extend([b"--ready-fd".to_vec(), fd.to_string().into_bytes()]);
    }
    if let Some([vcpus, lanes]) = handed.doors {
        words.extend([b"--thread-groups".to_vec(), format!("{vcpus},{lanes}").into_bytes()]);
    }
    words.extend(plan.extra.iter().map(|word| word.as_bytes().to_vec()));
    let words: Result<Vec<_>, _> = words.into_iter().map(CString::new).collect();
    let Ok(words) = words else {
        return JailError::refused("an argument of the program has a NUL in it");
    };
    // By its descriptor: nothing in the jail can be put in its place, and no copy is made of it.
    match fexecve::<_, CString, CString>(program.as_fd(), &words, &[]) {
        Ok(never) => match never {},
        Err(nix::Error::ENOENT) => JailError::refused(format!(
            "{} cannot be started in the jail: its loader is not there; it has to be linked statically",
            plan.program.display()
        )),
        Err(error) => {
            JailError::Step(format!("{} cannot be started", plan.program.display()), error.into())
        }
    }
}
