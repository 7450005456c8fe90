//! The guest's side of a vsock: `AF_VSOCK` sockets of Linux.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, listen, socket,
};

/// The host.
const HOST: u32 = 2;
/// Any address of ours.
const ANY: u32 = u32::MAX;

fn stream() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Vsock, SockType::Stream);
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Listens for the host's connections to a port.
pub fn listener(port: u32) -> io::Result<OwnedFd> {
    let listener = stream()?;
    bind(listener.as_raw_fd(), &VsockAddr::new(ANY, port))?;
    listen(&listener, Backlog::new(128)?)?;
    Ok(listener)
}

/// The next of them.
pub fn accepted(listener: &OwnedFd) -> io::Result<File> {
    Ok(File::from(rustix::net::accept(listener)?))
}

/// A connection to the host's port.
pub fn to_host(port: u32) -> io::Result<File> {
    let stream = stream()?;
    connect(stream.as_raw_fd(), &VsockAddr::new(HOST, port))?;
    Ok(File::from(stream))
}
