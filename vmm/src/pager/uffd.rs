//! `userfaultfd`: page faults of a range of memory that somebody in user space resolves (linux/userfaultfd.h, Linux
//! `Documentation/admin-guide/mm/userfaultfd.rst`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The only version of the interface.
const VERSION: u64 = 0xaa;

/// Requests.
pub const NEW: u64 = 0xaa00;
pub const API: u64 = 0xc018_aa3f;
pub const REGISTER: u64 = 0xc020_aa00;
pub const WAKE: u64 = 0x8010_aa02;
pub const COPY: u64 = 0xc028_aa03;
pub const ZEROPAGE: u64 = 0xc020_aa04;
pub const WRITEPROTECT: u64 = 0xc018_aa06;

/// Features that are asked for.
pub const EVENT_REMOVE: u64 = 1 << 3;
pub const MISSING_HUGETLBFS: u64 = 1 << 4;
pub const PAGEFAULT_FLAG_WP: u64 = 1;

/// What of a range is told.
const MODE_MISSING: u64 = 1;
const MODE_WP: u64 = 2;
/// A copy that stays write-protected.
const COPY_WP: u64 = 2;

/// Kinds of messages, and of faults.
const PAGEFAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;
const FAULT_WRITE: u64 = 1;
const FAULT_WP: u64 = 2;

/// Bytes of a message.
const MESSAGE: usize = 32;
/// Messages that are read at once.
const BATCH: usize = 64;

#[repr(C)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct ApiCall {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct RegisterCall {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct CopyCall {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    done: i64,
}

#[repr(C)]
struct ZeroCall {
    range: Range,
    mode: u64,
    done: i64,
}

#[repr(C)]
struct ProtectCall {
    range: Range,
    mode: u64,
}

/// Why there are no page faults to be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process may not resolve page faults ({device}; {call}): let it open /dev/userfaultfd, or give it \
     CAP_SYS_PTRACE, or set the sysctl vm.unprivileged_userfaultfd to 1"
)]
pub struct Refused {
    device: io::Error,
    call: io::Error,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody waits for the page at an address.
    Missing { address: u64, writes: bool },
    /// Somebody wants to write to a page that is there, and protected.
    Protected { address: u64 },
    /// A range was given back, and reads as zero from here on.
    Removed { start: u64, end: u64 },
}

/// How a page was not put into its place.
#[derive(Debug)]
pub enum NotFilled {
    /// Messages must be read first.
    Busy,
    /// It is there.
    There,
    /// The range is not told of any more.
    Gone,
    /// The host refuses; with `EFAULT` the source cannot be read.
    Failed(io::Error),
}

/// The descriptor.
#[derive(Debug)]
pub struct Uffd(OwnedFd);

impl Uffd {
    /// Opens one that never waits, with all of `features`. Fails if this process may not have one, or the kernel
    /// has no such features.
    pub fn open(features: u64) -> io::Result<Uffd> {
        let uffd = Uffd(
            open().map_err(|refused| io::Error::new(io::ErrorKind::PermissionDenied, refused))?,
        );
        let mut call = ApiCall { api: VERSION, features, ioctls: 0 };
        uffd.call(API, &mut call)?;
        Ok(uffd)
    }

    /// Has faults of `len` bytes from `start` on told, of pages that are missing, and if `protects` is so of those that
    /// are protected. Fails if the kernel refuses.
    pub fn register(&self, start: u64, len: u64, protects: bool) -> io::Result<()> {
        let mode = if protects { MODE_MISSING | MODE_WP } else { MODE_MISSING };
        let mut call = RegisterCall { range: Range { start, len }, mode, ioctls: 0 };
        self.call(REGISTER, &mut call)
    }

    /// Puts `len` bytes from `from` on to where they are missing; returns how many went, which may be less. If
    /// `protects` is so, a write to them is told.
    pub fn copy(&self, to: u64, from: u64, len: u64, protects: bool) -> Result<u64, NotFilled> {
        let mode = if protects { COPY_WP } else { 0 };
        let mut call = CopyCall { to, from, len, mode, done: 0 };
        filled(self.call(COPY, &mut call), call.done)
    }

    /// The same with zeroes, where pages are small.
    pub fn zero(&self, start: u64, len: u64) -> Result<u64, NotFilled> {
        let mut call = ZeroCall { range: Range { start, len }, mode: 0, done: 0 };
        filled(self.call(ZEROPAGE, &mut call), call.done)
    }

    /// Lets those go on that wait for pages which are there.
    pub fn wake(&self, start: u64, len: u64) {
        // Nothing is lost: they look again.
        let _ = self.call(WAKE, &mut Range { start, len });
    }

    /// Lets writes to a range through. Fails if the kernel refuses.
    pub fn open_for_writes(&self, start: u64, len: u64) -> io::Result<()> {
        self.call(WRITEPROTECT, &mut ProtectCall { range: Range { start, len }, mode: 0 })
    }

    /// What has happened since the last look, in its order; nothing if it is nothing. Fails if the kernel refuses.
    pub fn read(&self, into: &mut Vec<Message>) -> io::Result<()> {
        let mut bytes = [0u8; MESSAGE * BATCH];
        loop {
            // SAFETY: it writes no more than there is room for.
            let got =
                unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
            if got <= 0 {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    _ if got == 0 => Ok(()),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                    _ => Err(error),
                };
            }
            let bytes = bytes.get(..got.unsigned_abs()).unwrap_or_default();
            let (messages, _) = bytes.as_chunks::<MESSAGE>();
            into.extend(messages.iter().filter_map(parse));
            if messages.len() < BATCH {
                return Ok(());
            }
        }
    }

    fn call<T>(&self, request: u64, argument: &mut T) -> io::Result<()> {
        // SAFETY: each request takes the structure that it is called with here.
        let done =
            unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Uffd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// KVM's faults are the kernel's own, so that one for faults of user mode alone would not do.
fn open() -> Result<OwnedFd, Refused> {
    const FLAGS: libc::c_int = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let own = |fd: libc::c_int| match fd {
        // SAFETY: a fresh descriptor, owned by nobody else.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    };
    let device = OpenOptions::new().read(true).write(true).open("/dev/userfaultfd");
    // SAFETY: no memory is involved.
    let by_device =
        device.and_then(|device| own(unsafe { libc::ioctl(device.as_raw_fd(), NEW as _, FLAGS) }));
    let device = match by_device {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) };
    own(fd as libc::c_int).map_err(|call| Refused { device, call })
}

fn filled(call: io::Result<()>, done: i64) -> Result<u64, NotFilled> {
    match call {
        Ok(()) => Ok(done.unsigned_abs()),
        // Some of it went.
        Err(_) if done > 0 => Ok(done.unsigned_abs()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::EAGAIN) => NotFilled::Busy,
            Some(libc::EEXIST) => NotFilled::There,
            Some(libc::ENOENT | libc::ESRCH) => NotFilled::Gone,
            _ => NotFilled::Failed(error),
        }),
    }
}

fn parse(message: &[u8; MESSAGE]) -> Option<Message> {
    let word = |at: usize| {
        let bytes = message.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let (first, second) = (word(8)?, word(16)?);
    match *message.first()? {
        PAGEFAULT if first & FAULT_WP != 0 => Some(Message::Protected { address: second }),
        PAGEFAULT => Some(Message::Missing { address: second, writes: first & FAULT_WRITE != 0 }),
        REMOVE => Some(Message::Removed { start: first, end: second }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_the_kernel_lays_them_out() {
        let message = |event: u8, first: u64, second: u64| {
            let mut bytes = [0; MESSAGE];
            bytes[0] = event;
            bytes[8..16].copy_from_slice(&first.to_ne_bytes());
            bytes[16..24].copy_from_slice(&second.to_ne_bytes());
            parse(&bytes)
        };
        let missing = Message::Missing { address: 0x5000, writes: true };
        assert_eq!(message(PAGEFAULT, FAULT_WRITE, 0x5000), Some(missing));
        let protected = Message::Protected { address: 0x6000 };
        assert_eq!(message(PAGEFAULT, FAULT_WRITE | FAULT_WP, 0x6000), Some(protected));
        let removed = Message::Removed { start: 0x1000, end: 0x3000 };
        assert_eq!(message(REMOVE, 0x1000, 0x3000), Some(removed));
        assert_eq!(message(0x13, 1, 2), None);
    }

    #[test]
    fn who_may_have_none_is_told_three_ways() {
        let refused = |code| io::Error::from_raw_os_error(code);
        let error = Refused { device: refused(libc::EACCES), call: refused(libc::EPERM) };
        let line = error.to_string();
        for way in ["/dev/userfaultfd", "CAP_SYS_PTRACE", "vm.unprivileged_userfaultfd"] {
            assert!(line.contains(way), "{line}");
        }
    }
}
