//! Descriptors that were inherited and not handed over.

use std::fs;
use std::io;
use std::os::fd::RawFd;

/// Those that the process began with, besides standard input, output and error.
#[derive(Debug, Default)]
pub struct Inherited(Vec<RawFd>);

impl Inherited {
    /// Looks which there are; call it before anything is opened. Without `/proc` none are found.
    pub fn look() -> Inherited {
        Inherited::list().unwrap_or_default()
    }

    fn list() -> io::Result<Inherited> {
        let mut found: Vec<RawFd> = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let number: Option<RawFd> =
                entry?.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(number.filter(|fd| *fd > libc::STDERR_FILENO));
        }
        // The folder's own is closed by now, and so is none of them.
        found.retain(|fd| is_open(*fd));
        Ok(Inherited(found))
    }

    /// Closes them all: what was handed over has been duplicated by who uses it.
    pub fn close(&self) {
        for fd in &self.0 {
            // SAFETY: nothing of this process has it: it was open before anything was opened here, and only
            // copies of it are in use.
            unsafe { libc::close(*fd) };
        }
    }
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
