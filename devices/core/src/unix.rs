//! Unix stream sockets and the paths that they are named by.

use std::io::{self, ErrorKind};
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// A path as sockets know it.
pub(crate) struct Address {
    address: libc::sockaddr_un,
    /// With the NUL at its end.
    len: libc::socklen_t,
}

impl Address {
    /// Of `path`. Fails if it has more bytes than fit, or a NUL among them.
    pub fn of(path: &Path) -> io::Result<Address> {
        // SAFETY: all zeroes are an address.
        let mut address: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let name = path.as_os_str().as_bytes();
        if name.len() >= address.sun_path.len() || name.contains(&0) {
            let most = address.sun_path.len().saturating_sub(1);
            let why = format!("the path of a socket has at most {most} bytes, and none is 0");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        address.sun_path.iter_mut().zip(name).for_each(|(to, from)| *to = *from as libc::c_char);
        let before = offset_of!(libc::sockaddr_un, sun_path);
        let len = before.saturating_add(name.len()).saturating_add(1);
        Ok(Address { address, len: len as libc::socklen_t })
    }

    /// Gives `socket` this name: makes the file. Fails if there is one, or it cannot be made.
    pub fn bind(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the address lives and has `len` bytes.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), self.pointer(), self.len) };
        check(bound).map(drop)
    }

    /// Connects `socket` to who listens here. Fails if nobody does, and with `WouldBlock` if the socket
    /// does not wait and too many others do.
    pub fn connect(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the address lives and has `len` bytes.
        let connected = unsafe { libc::connect(socket.as_raw_fd(), self.pointer(), self.len) };
        check(connected).map(drop)
    }

    fn pointer(&self) -> *const libc::sockaddr {
        ptr::from_ref(&self.address).cast()
    }
}

/// A fresh socket that never waits. Fails if the host has no descriptor left.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: a fresh descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// What a system call returned, or why it failed.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
