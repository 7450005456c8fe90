//! Descriptors: the program has the standard ones, and those that it is handed by name; all others are closed.

use std::env;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{FdFlags, fcntl_setfd};

use super::args::Args;
use super::cgroup::Doors;
use super::error::{JailError, Step};
use super::plan::Plan;

/// The first that is no standard one.
const FIRST: RawFd = 3;
/// Where a service manager hears that its service is ready (sd_notify(3)).
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Closes descriptors that the caller left open, but those that the program is handed. Fails if one of these is not
/// open, or would lead out of the jail.
pub fn close_others(args: &Args) -> Result<(), JailError> {
    let mut kept: Vec<_> = args.fd.iter().map(|fd| ("--fd", *fd)).collect();
    kept.extend(args.ready_fd.iter().map(|fd| ("--ready-fd", *fd)));
    kept.sort_by_key(|(_, fd)| *fd);
    let mut next = FIRST;
    for (flag, fd) in kept {
        let refused = |why: &str| JailError::refused(format!("{flag} {fd}: {why}"));
        if fd < FIRST {
            return Err(refused("the standard descriptors are handed over anyway"));
        }
        // SAFETY: used before anything in this process could open or close it.
        let handed = unsafe { BorrowedFd::borrow_raw(fd) };
        let facts = fstat(handed).map_err(|_| refused("it is not open"))?;
        let is_name = fcntl_getfl(handed).map_err(|_| refused("it is not open"))?;
        if FileType::from_raw_mode(facts.st_mode) == FileType::Directory
            || is_name.contains(OFlags::PATH)
        {
            return Err(refused(
                "it is open on a folder or a mere name, by which the program could leave the jail",
            ));
        }
        close(next, fd.saturating_sub(1))?;
        next = fd.saturating_add(1);
    }
    close(next, RawFd::MAX)
}

/// Closes those from `first` to `last`, if there are any.
fn close(first: RawFd, last: RawFd) -> Result<(), JailError> {
    if first > last {
        return Ok(());
    }
    // SAFETY: none of them was opened by this process, so none has an owner here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
    .step(|| "cannot close what was handed over".into())
}

/// The socket of a service manager, if there is one and the program is known to tell it something.
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// Connects to it, as its path is not in the jail. Fails if it is named and not there.
    pub fn connect(plan: &Plan) -> Result<Manager, JailError> {
        let Some(path) = env::var_os(NOTIFY_SOCKET).filter(|_| plan.is_vmm) else {
            return Ok(Manager(None));
        };
        let what = || format!("${NOTIFY_SOCKET} {}: it cannot be connected to", path.display());
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let socket = UnixDatagram::unbound().step(what)?;
        socket.connect_addr(&address.step(what)?).step(what)?;
        Ok(Manager(Some(socket)))
    }

    /// Says that the service's main process is `pid` from now on.
    pub fn follow(&self, pid: i32) -> Result<(), JailError> {
        let Some(socket) = &self.0 else { return Ok(()) };
        socket
            .send(format!("MAINPID={pid}\n").as_bytes())
            .map(drop)
            .step(|| format!("cannot tell ${NOTIFY_SOCKET} of process {pid}"))
    }

    /// What the program says by that it is ready: what the caller has named, and the socket, which outlives the exec then.
    pub fn ready(&self, plan: &Plan) -> Result<Vec<RawFd>, JailError> {
        let mut all = plan.ready.clone();
        if let Some(socket) = &self.0 {
            fcntl_setfd(socket, FdFlags::empty())
                .step(|| format!("cannot hand over ${NOTIFY_SOCKET}"))?;
            all.push(socket.as_raw_fd());
        }
        Ok(all)
    }
}

/// Lets the files by which threads go into their groups outlive the exec; how the program knows them.
pub fn hand_over(doors: &Doors) -> Result<[RawFd; 2], JailError> {
    for door in doors {
        fcntl_setfd(door, FdFlags::empty()).step(|| "cannot hand over control groups".into())?;
    }
    Ok(doors.each_ref().map(|door| door.as_raw_fd()))
}

/// Closes what the program was handed, in who only keeps it: a reader of a pipe waits for its last end.
pub fn close_handed(plan: &Plan) -> Result<(), JailError> {
    plan.handed.iter().try_for_each(|fd| close(*fd, *fd))
}
