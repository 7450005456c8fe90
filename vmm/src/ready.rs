//! Says that the machine runs, or that the API listens, to who started the process: nobody has to ask again and again.
//!
//! What is said is `READY=1` and a newline, to descriptors that were handed over (`--ready-fd`), and to the socket of a
//! service manager (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where a service manager hears of it.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const READY: &[u8] = b"READY=1\n";
/// The first descriptor that is no standard one.
const FIRST: RawFd = 3;

/// A descriptor that cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error(
    "--ready-fd {0}: it is not open for writing; hand one over, such as the end of a pipe, that is no standard one"
)]
pub struct NotHanded(RawFd);

/// Who is to be told.
#[derive(Debug, Default)]
pub struct Ready {
    descriptors: Vec<File>,
    /// Connected to, as long as its path can be.
    manager: Option<io::Result<UnixDatagram>>,
}

impl Ready {
    /// Takes the descriptors over, which no exec is to have, and the name of the manager's socket. Call it before the process opens
    /// anything. Fails if one is not open for writing.
    pub fn take(descriptors: &[RawFd]) -> Result<Ready, NotHanded> {
        let mut taken: Vec<File> = Vec::new();
        for (at, &fd) in descriptors.iter().enumerate() {
            let is_twice = descriptors.iter().take(at).any(|other| *other == fd);
            if fd < FIRST || is_twice || !can_write(fd) {
                return Err(NotHanded(fd));
            }
            // SAFETY: it is open, and as nothing was opened since, and it is taken once, nobody else here owns it.
            taken.push(File::from(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
        let manager = env::var_os(NOTIFY_SOCKET).map(|path| connect(path.as_bytes()));
        Ok(Ready { descriptors: taken, manager })
    }

    /// Tells all of them, once. Who cannot be told is left to himself: the machine runs.
    pub fn tell(self) {
        for mut file in self.descriptors {
            if let Err(error) = file.write_all(READY) {
                tracing::warn!(
                    "who waits at --ready-fd cannot be told that this is ready: {error}"
                );
            }
        }
        let told = self.manager.transpose().and_then(|manager| match manager {
            Some(manager) => manager.send(READY).map(drop),
            None => Ok(()),
        });
        if let Err(error) = told {
            tracing::warn!("${NOTIFY_SOCKET} cannot be told that this is ready: {error}");
        }
    }
}

fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// Whether it is open for writing; from now on no exec keeps it.
fn can_write(fd: RawFd) -> bool {
    // SAFETY: plain numbers; on a descriptor that is not open both calls fail.
    let (flags, set) = unsafe {
        (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))
    };
    flags >= 0 && set >= 0 && flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0
}

#[cfg(test)]
#[path = "ready_test.rs"]
mod tests;
