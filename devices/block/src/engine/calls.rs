//! Tasks as system calls that wait.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use crate::image::Image;
use crate::task::{Call, Task};

// linux/fs.h.
const BLKDISCARD: u32 = 0x1277;
const BLKZEROOUT: u32 = 0x127f;

/// An offset's upper half, where it does not fit into one register. The calls are made by their numbers, as not every C library makes
/// these ones of its functions.
const NO_HIGH: libc::c_long = 0;
/// Modes of fallocate.
pub(super) const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
pub(super) const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Does the task's call; what the host said, as an engine tells it.
pub(super) fn carry_out(task: &Task, image: &Image) -> i32 {
    let file = image.at(task.place());
    let (fd, iovecs) = (file.as_raw_fd(), task.iovecs());
    let (offset, len) = (task.offset() as i64, task.len() as i64); // within an image, whose size is an i64
    let count = iovecs.len() as libc::c_long; // at most 1024
    let range = [task.offset(), task.len()];
    let result = match task.call() {
        Call::Read => {
            // SAFETY: the iovecs lead to memory that lives as long as `task`, and is the host's meanwhile.
            unsafe {
                libc::syscall(libc::SYS_preadv2, fd, iovecs.as_ptr(), count, offset, NO_HIGH, 0)
            }
        }
        Call::Write { durable } => {
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            // SAFETY: as above.
            unsafe {
                libc::syscall(
                    libc::SYS_pwritev2,
                    fd,
                    iovecs.as_ptr(),
                    count,
                    offset,
                    NO_HIGH,
                    flags,
                )
            }
        }
        // SAFETY: the descriptor is open.
        Call::Sync => i64::from(unsafe { libc::fdatasync(fd) }),
        // SAFETY: the descriptor is open.
        Call::Punch => i64::from(unsafe { libc::fallocate(fd, PUNCH, offset, len) }),
        // SAFETY: the descriptor is open.
        Call::Zero => i64::from(unsafe { libc::fallocate(fd, ZERO, offset, len) }),
        Call::DeviceDiscard => {
            // SAFETY: the request reads two numbers.
            i64::from(unsafe { libc::ioctl(fd, BLKDISCARD as _, range.as_ptr()) })
        }
        Call::DeviceZero => {
            // SAFETY: the request reads two numbers.
            i64::from(unsafe { libc::ioctl(fd, BLKZEROOUT as _, range.as_ptr()) })
        }
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => result,
        _ => {
            let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            error.wrapping_neg()
        }
    }
}
