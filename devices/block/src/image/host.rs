//! What the host says about block devices and open files.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

// linux/fs.h; libc has not all of them on all targets.
const BLKROGET: u32 = 0x125e;
const BLKIOOPT: u32 = 0x1279;
const BLKSSZGET: u32 = 0x1268;
const BLKPBSZGET: u32 = 0x127b;
const BLKGETSIZE64: u32 = 0x8008_1272;

/// Bytes of a block device. Fails if it is none.
pub(super) fn device_size(file: &File) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: the request writes 8 bytes.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &raw mut size) };
    if result == 0 { Ok(size) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of its logical block. Fails if it is none.
pub(super) fn logical_block(file: &File) -> io::Result<u32> {
    number(file, BLKSSZGET)
}

/// Bytes of its physical block; 0 if it is none.
pub(super) fn physical_block(file: &File) -> u32 {
    number(file, BLKPBSZGET).unwrap_or_default()
}

/// Bytes that are best read at once; 0 if it does not say.
pub(super) fn optimal(file: &File) -> u32 {
    number(file, BLKIOOPT).unwrap_or_default()
}

/// The host lets nobody write it.
pub(super) fn is_read_only(file: &File) -> bool {
    number(file, BLKROGET).is_ok_and(|protected| protected != 0)
}

/// Requests that write one int.
fn number(file: &File, request: u32) -> io::Result<u32> {
    let mut number = 0u32;
    // SAFETY: each of the requests passed writes 4 bytes.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, &raw mut number) };
    if result == 0 { Ok(number) } else { Err(io::Error::last_os_error()) }
}

/// What statx says of direct I/O on a file: alignment of memory, and of offsets and lengths. `None` if the
/// kernel (before 6.1) or the file system does not say; zeroes if there is no direct I/O.
pub(super) fn direct_io(file: &File) -> Option<(u32, u32)> {
    // SAFETY: all fields are numbers.
    let mut about: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty C string, and the kernel fills one statx.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut about,
        )
    };
    let said = result == 0 && about.stx_mask & libc::STATX_DIOALIGN != 0;
    said.then_some((about.stx_dio_mem_align, about.stx_dio_offset_align))
}

/// A file in memory, for tests.
#[cfg(any(test, feature = "testing"))]
pub(super) fn memory_file() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
