//! What pagers for tests have in common: they take regions and a `userfaultfd` by Firecracker's handshake, and map a file.

use std::error::Error;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::Deserialize;

/// linux/userfaultfd.h.
const WAKE: u64 = 0x8010_aa02;
const COPY: u64 = 0xc028_aa03;
const PAGEFAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;
/// More than the handshake's message has.
const MOST: usize = 64 << 10;

/// What handlers read of a region.
#[derive(Debug, Deserialize)]
pub struct Region {
    pub base_host_virt_addr: u64,
    pub size: u64,
    pub offset: u64,
    pub page_size_kib: u64,
}

#[repr(C)]
struct CopyCall {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    done: i64,
}

/// What happened.
pub enum Message {
    /// Somebody waits for what is at an address.
    Missing(u64),
    /// A range was given back.
    Removed(u64, u64),
}

/// The regions, and the descriptor that comes with them.
pub fn receive(stream: &UnixStream) -> Result<(Vec<Region>, OwnedFd), Box<dyn Error>> {
    let mut text = vec![0u8; MOST];
    let mut control = [0u64; 8];
    let mut piece = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: all zeroes are a message.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message has the two buffers from above.
    let got =
        unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    text.truncate(usize::try_from(got).map_err(|_| io::Error::last_os_error())?);
    // SAFETY: the kernel has filled it, with one descriptor of ours or nothing.
    let fd = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        let rights = first.as_ref().filter(|head| head.cmsg_type == libc::SCM_RIGHTS);
        rights.ok_or("there was no descriptor")?;
        OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned())
    };
    Ok((serde_json::from_slice(&text)?, fd))
}

/// Where a file is to be read.
pub fn map(file: &File) -> Result<u64, Box<dyn Error>> {
    let len = usize::try_from(file.metadata()?.len())?;
    let (null, fd) = (std::ptr::null_mut(), file.as_raw_fd());
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { libc::mmap(null, len, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
    match start == libc::MAP_FAILED {
        true => Err(io::Error::last_os_error().into()),
        false => Ok(start.addr() as u64),
    }
}

/// Where in the file an address of the machine's memory has its bytes.
pub fn offset(regions: &[Region], address: u64) -> Option<u64> {
    regions.iter().find_map(|region| {
        let at = address.checked_sub(region.base_host_virt_addr)?;
        (at < region.size).then(|| region.offset.wrapping_add(at))
    })
}

/// The next that happened, if something has that is not read.
pub fn read(uffd: &OwnedFd) -> io::Result<Option<Message>> {
    let mut message = [0u64; 4];
    loop {
        let len = size_of_val(&message);
        // SAFETY: it writes a whole message at most.
        let got = unsafe { libc::read(uffd.as_raw_fd(), message.as_mut_ptr().cast(), len) };
        if got <= 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let [event, first, second, _] = message;
        match event as u8 {
            PAGEFAULT => return Ok(Some(Message::Missing(second))),
            REMOVE => return Ok(Some(Message::Removed(first, second))),
            _ => {}
        }
    }
}

/// Has `len` bytes from `from` on appear at `to`. Fails with how many did, and why no more.
pub fn copy(uffd: &OwnedFd, to: u64, from: u64, len: u64) -> Result<(), (u64, io::Error)> {
    let mut call = CopyCall { to, from, len, mode: 0, done: 0 };
    // SAFETY: the kernel checks all addresses.
    let done = unsafe { libc::ioctl(uffd.as_raw_fd(), COPY as _, &raw mut call) };
    match done {
        0 => Ok(()),
        _ => Err((u64::try_from(call.done).unwrap_or(0), io::Error::last_os_error())),
    }
}

/// Lets those go on that wait for what is there.
pub fn wake(uffd: &OwnedFd, at: u64, len: u64) {
    let mut range = [at, len];
    // SAFETY: the kernel checks all addresses.
    unsafe { libc::ioctl(uffd.as_raw_fd(), WAKE as _, range.as_mut_ptr()) };
}
