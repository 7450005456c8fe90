//! The Unix socket of a console: made with care for what is at its path, removed at the end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::OpenConsoleError;

/// A listening socket and the path it is at.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket, so that only ours is removed.
    identity: (u64, u64),
}

impl ConsoleSocket {
    /// Makes the socket, with mode 0600. Takes the place of a socket that nobody listens on, and of
    /// nothing else.
    pub fn bind(path: &Path) -> Result<ConsoleSocket, OpenConsoleError> {
        let failed = |source| OpenConsoleError::Socket { path: path.into(), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(OpenConsoleError::NotASocket { path: path.into() });
            }
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(OpenConsoleError::SocketInUse { path: path.into() }),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            },
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // From here on an error removes the socket again.
        let identity = identity(path).map_err(failed)?;
        let socket = ConsoleSocket { listener, path: path.into(), identity };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    /// The next client that waits, if any.
    pub fn accept(&self) -> Option<UnixStream> {
        // A client that is gone again, or no descriptors left: it may try again.
        self.listener.accept().ok().map(|(stream, _)| stream)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing more can be done for it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for ConsoleSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
