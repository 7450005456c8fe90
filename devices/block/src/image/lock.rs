//! The lock that says an image is in use: of the open file, so that it ends with its last descriptor.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes it on the whole file: shared with other readers if `read_only`. False if someone has it. Fails if
/// the host does.
///
/// Other hypervisors lock parts of their images by the same kind of lock, so they are met too.
pub(super) fn take(file: &File, read_only: bool) -> io::Result<bool> {
    match set(file, if read_only { libc::F_RDLCK } else { libc::F_WRLCK }) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Gives it up. Fails if the host does.
pub(super) fn release(file: &File) -> io::Result<()> {
    set(file, libc::F_UNLCK)
}

fn set(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: all fields are numbers; the process id must be 0 (fcntl(2), open file description locks), and
    // a length of 0 is the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    loop {
        // SAFETY: the descriptor is open, and the kernel reads one flock.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
