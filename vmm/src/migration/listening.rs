//! Where a machine is awaited.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
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
            Address::Tcp(at) => {
                let bound = TcpListener::bind(at).map(Listening::Tcp);
                let address = address.clone();
                bound.map_err(|source| ReceiveError::Listen { address, source })
            }
        }
    }

    /// Waits for somebody to connect. Fails if the host refuses.
    pub fn accept(&self) -> io::Result<File> {
        loop {
            let (came, fd) = match self {
                Listening::Unix(socket) => {
                    let came = socket.listener().accept();
                    (came.map(|(stream, _)| OwnedFd::from(stream)), socket.as_fd())
                }
                Listening::Tcp(listener) => {
                    let came = listener.accept().and_then(|(stream, _)| {
                        stream.set_nodelay(true)?;
                        Ok(OwnedFd::from(stream))
                    });
                    (came, listener.as_fd())
                }
            };
            match came {
                Ok(stream) => return Ok(File::from(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready::can_read(fd, GLANCE);
                }
                // Who was about to come has gone.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
