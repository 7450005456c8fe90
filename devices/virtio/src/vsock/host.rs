//! The host's side: who comes to the socket, and whom the guest asks for.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use device_core::files::Dial;
use device_core::stream::Stream;

use super::spec::OpenVsock;

/// The socket, and the names beside it.
pub(super) struct Host {
    open: OpenVsock,
    /// Who connects, once this process is to do so no more.
    dial: Option<Arc<dyn Dial>>,
}

impl Host {
    /// Of a socket that listens.
    pub fn new(open: OpenVsock) -> Host {
        Host { open, dial: None }
    }

    /// From now on `dial` connects.
    pub fn dial_by(&mut self, dial: Arc<dyn Dial>) {
        self.dial = Some(dial);
    }

    /// What was asked for.
    pub fn open(&self) -> &OpenVsock {
        &self.open
    }

    /// The next client, if one has come. Fails if the host has no descriptor left.
    pub fn accept(&self) -> io::Result<Option<Stream>> {
        match self.open.socket().listener().accept() {
            Ok((stream, _)) => Ok(Some(Stream::of(stream))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Connects to who listens for the guest's connections to `port`. Fails with `WouldBlock` if he has so
    /// many that wait that there is no room, and otherwise if there is nobody. The name is the socket's own
    /// with a number behind it, and what is there is a socket itself: no link leads elsewhere.
    pub fn connect(&self, port: u32) -> io::Result<Stream> {
        if let Some(dial) = &self.dial {
            return dial.dial(port).map(Stream::of);
        }
        let path = self.path_of(port);
        if !fs::symlink_metadata(&path)?.file_type().is_socket() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no socket"));
        }
        Stream::connect(&path)
    }

    /// Where he listens who wants the guest's connections to `port`.
    pub fn path_of(&self, port: u32) -> PathBuf {
        let mut path = OsString::from(&self.open.spec().path);
        path.push(format!("_{port}"));
        PathBuf::from(path)
    }
}

impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.socket().as_fd()
    }
}
