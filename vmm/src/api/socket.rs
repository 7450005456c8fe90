//! The API's Unix socket: made with care for what is at its path, removed at the end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("--api-sock: {} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket { path: PathBuf },
    #[error("--api-sock: {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("--api-sock: cannot make the socket {}", path.display())]
    Make { path: PathBuf, source: io::Error },
}

/// A listening socket and the path it is at.
#[derive(Debug)]
pub struct ApiSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket, so that only ours is removed.
    identity: (u64, u64),
}

impl ApiSocket {
    /// Makes the socket, with mode 0600. Takes the place of a socket that nobody listens on, and of
    /// nothing else.
    pub fn bind(path: &Path) -> Result<ApiSocket, BindError> {
        let failed = |source| BindError::Make { path: path.into(), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(BindError::NotASocket { path: path.into() });
            }
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(BindError::InUse { path: path.into() }),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            },
        }
        let listener = {
            let _private = PrivateFiles::begin();
            UnixListener::bind(path).map_err(failed)?
        };
        // From here on an error removes the socket again.
        let identity = identity(path).map_err(failed)?;
        let socket = ApiSocket { listener, path: path.into(), identity };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

/// While it lives, what the process makes is for its user alone: nobody else can connect before the
/// mode is set. Only at the start, when there is one thread.
struct PrivateFiles(libc::mode_t);

impl PrivateFiles {
    fn begin() -> PrivateFiles {
        // SAFETY: cannot fail, and touches no memory.
        PrivateFiles(unsafe { libc::umask(0o177) })
    }
}

impl Drop for PrivateFiles {
    fn drop(&mut self) {
        // SAFETY: cannot fail, and touches no memory.
        unsafe { libc::umask(self.0) };
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing more can be done for it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[path = "socket_test.rs"]
mod tests;
