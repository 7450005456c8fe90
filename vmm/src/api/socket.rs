//! The API's Unix socket.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;

use device_core::socket::{self, ListeningSocket};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("--api-sock")]
pub struct BindError(#[from] socket::BindError);

/// A listening socket, removed from its path when it is dropped.
#[derive(Debug)]
pub struct ApiSocket(ListeningSocket);

impl ApiSocket {
    /// As [`ListeningSocket::bind`].
    pub fn bind(path: &Path) -> Result<ApiSocket, BindError> {
        Ok(ApiSocket(ListeningSocket::bind(path)?))
    }

    /// Another descriptor of the socket. Fails if the host has none left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.0.listener().try_clone()
    }
}
