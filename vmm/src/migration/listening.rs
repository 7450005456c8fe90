//! Where a machine is awaited.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use device_core::ready;
use device_core::socket::ListeningSocket;

use super::address::Address;
use super::error::ReceiveError;

/// Between two looks at who comes, which end as soon as somebody does.
const GLANCE: Duration = Duration::from_secs(60);

/// A listening socket. That of a path goes from there with this.
pub enum Listening {
    /// At a path.
    Unix(ListeningSocket),
    /// At an address.
    Tcp(TcpListener),
}

impl Listening {
    /// Listens there. Fails if that cannot be.
    pub fn at(address: &Address) -> Result<Listening, ReceiveError> {
        match address {
            Address::Unix(path) => {
                let bound = ListeningSocket::bind(path).map(Listening::Unix);
                bound.map_err(|error| ReceiveError::Bind(crate::words::one_line(None, &error)))
            }
            Address::Tcp(at) | Address::Tls(at) => {
                let bound = TcpListener::bind(at).and_then(|listener| {
                    // Who is there when that is told may be gone then.
                    listener.set_nonblocking(true)?;
                    Ok(Listening::Tcp(listener))
                });
                let address = address.clone();
                bound.map_err(|source| ReceiveError::Listen { address, source })
            }
        }
    }

    /// Waits for somebody to connect. Fails if the host refuses.
    pub fn accept(&self) -> io::Result<File> {
        loop {
            if let Some(socket) = self.accept_now()? {
                return Ok(socket);
            }
            ready::can_read(self.as_fd(), GLANCE);
        }
    }

    /// Who has connected, if somebody has: a socket that waits. Fails if the host refuses.
    pub fn accept_now(&self) -> io::Result<Option<File>> {
        let came = match self {
            Listening::Unix(socket) => {
                socket.listener().accept().map(|(stream, _)| OwnedFd::from(stream))
            }
            Listening::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(OwnedFd::from(stream))
            }),
        };
        match came {
            Ok(stream) => Ok(Some(File::from(stream))),
            // Who was about to come may have gone.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listening::Unix(socket) => socket.as_fd(),
            Listening::Tcp(listener) => listener.as_fd(),
        }
    }
}
