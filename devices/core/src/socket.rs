//! A listening Unix socket at a path: private, in place of a stale one and of nothing else, and gone
//! on every way out.

mod kept;

use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use self::kept::{Identity, forget, remember};
use crate::unix::{self, Address, check};

pub use self::kept::{folders, remove_all};

/// How long another process may take to make its socket at the same path.
const TURN: Duration = Duration::from_secs(2);
/// Between two looks whether it is our turn.
const PAUSE: Duration = Duration::from_millis(2);
/// Clients that may wait to be accepted.
const BACKLOG: libc::c_int = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else is at the path, and stays there.
    #[error("{} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The path asked for.
        path: PathBuf,
    },
    /// A socket that somebody listens on, or is about to.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The path asked for.
        path: PathBuf,
    },
    /// The host refused.
    #[error("cannot make the socket {}", path.display())]
    Make {
        /// The path asked for.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

/// A listening socket, non-blocking, and the path it is at. Dropping it removes the path if it is
/// still ours.
#[derive(Debug)]
pub struct ListeningSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: Identity,
}

impl ListeningSocket {
    /// Makes the socket, with mode 0600. Takes the place of a socket that nobody listens on, and of
    /// nothing else. Of several processes that try at once one gets the path, the others `InUse`. Fails
    /// too if the path has more bytes than a socket's address takes, or the folder cannot be written.
    pub fn bind(path: &Path) -> Result<ListeningSocket, BindError> {
        ListeningSocket::bind_when(path, || ())
    }

    /// As `bind`; `found_stale` runs between the look at a stale socket and its removal.
    fn bind_when(path: &Path, found_stale: impl FnOnce()) -> Result<ListeningSocket, BindError> {
        let failed = |source| BindError::Make { path: path.into(), source };
        // What needs no turn to be seen leaves no trace.
        refuse_other_than_socket(path)?;
        let _turn = Turn::take(path).map_err(failed)?.ok_or_else(|| in_use(path))?;
        if refuse_other_than_socket(path)? {
            match UnixStream::connect(path) {
                // A full queue of clients is one of a socket in use.
                Ok(_) => return Err(in_use(path)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(in_use(path)),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    found_stale();
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let listener = listen(path).map_err(|error| match error.kind() {
            // By someone who takes no turns.
            ErrorKind::AddrInUse => in_use(path),
            _ => failed(error),
        })?;
        let identity = identity(path).map_err(failed)?;
        remember(path, identity);
        Ok(ListeningSocket { listener, path: path.into(), identity })
    }

    /// Where clients are accepted, without waiting.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // While we still listen: who comes now does not take it for stale.
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing more can be done for it.
            let _ = fs::remove_file(&self.path);
        }
        forget(self.identity);
    }
}

fn in_use(path: &Path) -> BindError {
    BindError::InUse { path: path.into() }
}

/// Whether there is a socket at the path; an error if there is something else.
fn refuse_other_than_socket(path: &Path) -> Result<bool, BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(BindError::Make { path: path.into(), source }),
        Ok(there) if there.file_type().is_socket() => Ok(true),
        Ok(_) => Err(BindError::NotASocket { path: path.into() }),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    kept::identity_of(&path).ok_or_else(io::Error::last_os_error)
}

/// Listens at the path, with mode 0600 from the first moment on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = Address::of(path)?;
    let socket = File::from(unix::socket()?);
    // The mode of the file that `bind` makes.
    socket.set_permissions(Permissions::from_mode(0o600))?;
    address.bind(socket.as_fd())?;
    // SAFETY: no memory is involved.
    if let Err(error) = check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) }) {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// The right to look at a path and to put a socket there: a locked file beside it, removed again
/// while it is locked.
struct Turn {
    _lock: File,
    path: PathBuf,
}

impl Turn {
    /// `None` if others have it for too long.
    fn take(socket: &Path) -> io::Result<Option<Turn>> {
        let mut path = OsString::from(socket);
        path.push(".lock");
        let path = PathBuf::from(path);
        let deadline = Instant::now().checked_add(TURN);
        loop {
            let lock = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)?;
            match lock.try_lock() {
                // Another may have removed it between our opening and our locking.
                Ok(()) if is_at(&lock, &path) => return Ok(Some(Turn { _lock: lock, path })),
                Ok(()) => continue,
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            if deadline.is_none_or(|then| Instant::now() >= then) {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|ours| identity(path).is_ok_and(|at| at == (ours.dev(), ours.ino())))
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the lock goes: who waits for it sees that it must begin anew.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[path = "socket_test.rs"]
mod tests;
