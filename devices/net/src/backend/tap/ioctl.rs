//! The ioctls of TAPs, as safe functions. Each fails as its system call does.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_short};

use crate::backend::interface::{check, request};

/// The kernel's name and flags of an open TAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name of the interface.
    pub name: String,
    /// IFF_*, as TUNGETIFF tells.
    pub flags: c_int,
}

/// Opens `/dev/net/tun`, attached to nothing yet.
pub fn open_clone_device() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")
}

/// A descriptor of our own for what `fd` is open on, not blocking.
pub fn duplicate(fd: RawFd) -> io::Result<File> {
    // SAFETY: takes a number and returns a new descriptor or an error.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fresh descriptor, owned by nobody else.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(copy) });
    // SAFETY: takes an open descriptor and a flag word.
    let flags = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(file)
}

/// Attaches to the interface `name`, or makes it.
pub fn set_interface(tap: &File, name: &str, flags: c_int) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the request is an ifreq, as TUNSETIFF takes.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// Lets only the user `uid`, and who may administrate the network, attach to the interface.
pub fn set_owner(tap: &File, uid: u32) -> io::Result<()> {
    // SAFETY: the argument is a number, passed by value.
    let result =
        unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(uid)) };
    check(result).map(drop)
}

/// Lets the interface be there without a descriptor.
pub fn set_persistent(tap: &File) -> io::Result<()> {
    // SAFETY: the argument is a number, passed by value.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) };
    check(result).map(drop)
}

/// What `tap` is attached to.
pub fn interface(tap: &File) -> io::Result<Interface> {
    let mut request = request("");
    // SAFETY: the request is an ifreq, as TUNGETIFF fills.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    let bytes = request.ifr_name.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    // SAFETY: TUNGETIFF filled the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let name = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Interface { name, flags: c_int::from(flags as u16) })
}

/// Sets the length of the header before each frame.
pub fn set_header_len(tap: &File, len: usize) -> io::Result<()> {
    let len = len as c_int;
    // SAFETY: the argument is an int, as TUNSETVNETHDRSZ takes.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) }).map(drop)
}

/// Sets which work on received frames the TAP may leave to its reader; `TUN_F_*`.
pub fn set_offload(tap: &File, flags: u32) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the argument is a word of flags, passed by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, flags) }).map(drop)
}

/// Whether a frame is never refused for want of room, as its owner has set no limit to what is on its way
/// (TUNSETSNDBUF). False for what is no TAP.
pub fn has_room_always(tap: &File) -> bool {
    let mut bytes: c_int = 0;
    // SAFETY: the argument is an int, as TUNGETSNDBUF fills.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETSNDBUF, &raw mut bytes) };
    done >= 0 && bytes == c_int::MAX
}

/// Attaches or detaches one queue of a multi-queue TAP.
pub fn set_queue(tap: &File, on: bool) -> io::Result<()> {
    let flags = if on { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
    let mut request = request("");
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the request is an ifreq, as TUNSETQUEUE takes.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETQUEUE, &raw mut request) }).map(drop)
}

/// Lets `program` pick the queue of each frame, or the kernel again (linux/if_tun.h,
/// TUNSETSTEERINGEBPF).
pub fn set_steering(tap: &File, program: Option<BorrowedFd<'_>>) -> io::Result<()> {
    const TUNSETSTEERINGEBPF: libc::c_ulong = 0x8004_54e0;
    let fd: c_int = program.map_or(-1, |program| program.as_raw_fd());
    // SAFETY: the argument points to an int, as TUNSETSTEERINGEBPF takes.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETSTEERINGEBPF as _, &raw const fd) };
    check(result).map(drop)
}
