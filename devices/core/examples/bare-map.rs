//! What it costs to start a process that maps a file and writes to some of its pages: the floor of benchmarks of
//! restored machines.
//!
//! `bare-map FILE PAGES` writes to so many pages from the file's middle on, in its own copy, and prints the milliseconds of CPU
//! time that the process has taken.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, pages] = arguments.as_slice() else {
        return Err("usage: bare-map FILE PAGES".into());
    };
    let (file, pages) = (File::open(path)?, pages.parse::<usize>()?);
    let len = usize::try_from(file.metadata()?.len())?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error().into());
    }
    for at in (len / 2..len).step_by(PAGE).take(pages) {
        // SAFETY: it is in the mapping, which nobody else looks at.
        unsafe { start.cast::<u8>().wrapping_add(at).write_volatile(1) };
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    println!("{}", time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6);
    Ok(())
}
