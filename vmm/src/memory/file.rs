//! A file mapped for the guest.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::HUGE_PAGE;

/// Bytes of a file, made up to whole 2 MiB, as nobody but the guest looks at them.
pub struct FileMapping {
    start: *mut libc::c_void,
    len: usize,
}

// SAFETY: it is an address and a length; what is there is for the guest alone.
unsafe impl Send for FileMapping {}
// SAFETY: as above.
unsafe impl Sync for FileMapping {}

impl FileMapping {
    /// Maps the first `bytes` bytes of `file`; what is behind them reads as zeroes, and is not of the file. Fails if
    /// the host refuses.
    pub fn new(file: &File, bytes: u64, read_only: bool) -> io::Result<FileMapping> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = bytes.checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_large)?;
        let whole = len.checked_add(HUGE_PAGE).ok_or_else(too_large)?;
        let access = if read_only { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), whole, access, kind, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let before = reserved.align_offset(HUGE_PAGE);
        let mapping = FileMapping { start: reserved.wrapping_byte_add(before), len };
        let behind = mapping.start.wrapping_byte_add(len);
        for (spare, len) in [(reserved, before), (behind, HUGE_PAGE - before)] {
            // SAFETY: the two ends of the mapping from above, which nobody else knows of. They stay mapped if
            // this fails, and nothing uses them.
            unsafe { libc::munmap(spare, len) };
        }
        let kind = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: it replaces a part of the mapping from above, which nobody else knows of.
        let file = unsafe { libc::mmap(mapping.start, bytes, access, kind, file.as_raw_fd(), 0) };
        match file == libc::MAP_FAILED {
            true => Err(io::Error::last_os_error()),
            false => Ok(mapping),
        }
    }

    /// Where it is in our address space.
    pub fn address(&self) -> u64 {
        self.start.addr() as u64
    }

    /// Its bytes, a multiple of 2 MiB.
    pub fn len(&self) -> u64 {
        self.len as u64
    }
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever shows it to a guest has taken it back before.
        unsafe { libc::munmap(self.start, self.len) };
    }
}
