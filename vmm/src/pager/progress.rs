//! Whether pages come, by what the kernel tells of a `userfaultfd` and of this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// More than the kernel tells.
const MOST: usize = 4096;

/// What shows it: opened once, as a thread that is shut in has no paths.
pub struct Progress {
    /// Who waits (`fs/userfaultfd.c`, `userfaultfd_show_fdinfo`).
    waiting: File,
    /// Memory of the process (Linux `Documentation/filesystems/proc.rst`).
    memory: File,
    /// How much memory there was, and since when there is no more although somebody waits.
    stuck: Option<(u64, Instant)>,
}

impl Progress {
    /// Of the descriptor. Fails where there is no `/proc`.
    pub fn of(uffd: BorrowedFd<'_>) -> io::Result<Progress> {
        let waiting = File::open(format!("/proc/self/fdinfo/{}", uffd.as_raw_fd()))?;
        Ok(Progress { waiting, memory: File::open("/proc/self/status")?, stuck: None })
    }

    /// For how long somebody has waited, and no page has come to anybody, as far as looks have shown.
    pub fn stands_still(&mut self, now: Instant) -> io::Result<Duration> {
        let (waiting, memory) = (read(&self.waiting)?, read(&self.memory)?);
        Ok(stood(&mut self.stuck, waits(&waiting), resident(&memory), now))
    }
}

/// For how long it has been `stuck`, of which this is one look more.
fn stood(
    stuck: &mut Option<(u64, Instant)>,
    somebody_waits: bool,
    resident: u64,
    now: Instant,
) -> Duration {
    let since = match *stuck {
        // What was given back is no page that came, and the next one that comes is.
        Some((before, since)) if resident <= before => since,
        _ => now,
    };
    *stuck = somebody_waits.then_some((resident, since));
    if somebody_waits { now.saturating_duration_since(since) } else { Duration::ZERO }
}

fn read(file: &File) -> io::Result<String> {
    let mut text = [0; MOST];
    let len = file.read_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned())
}

/// Whether there are faults that are not resolved, of `fdinfo`: told to a reader or not.
fn waits(text: &str) -> bool {
    let total = text.lines().find_map(|line| line.strip_prefix("total:"));
    total.and_then(|total| total.trim().parse::<u64>().ok()).is_some_and(|total| total > 0)
}

/// KiB of `status` that are there, in pages of any size: huge ones are no part of its `VmRSS`.
fn resident(text: &str) -> u64 {
    let of = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    };
    ["VmRSS:", "HugetlbPages:"].iter().filter_map(|name| of(name)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_who_waits_and_how_much_memory_there_is() {
        assert!(waits("pos:\t0\nflags:\t02\npending:\t1\ntotal:\t3\nAPI:\taa:8:10\n"));
        assert!(!waits("pos:\t0\npending:\t0\ntotal:\t0\n") && !waits("pos:\t0\n"));
        let status = "Name:\tvmm\nVmHWM:\t    9999 kB\nVmRSS:\t     123 kB\nVmSwap:\t       7 kB\n";
        assert_eq!(resident(status), 123);
        assert_eq!(resident(&format!("{status}HugetlbPages:\t    4096 kB\n")), 4219);
    }

    #[test]
    fn a_page_that_comes_ends_a_standstill_and_one_that_is_given_back_does_not() {
        let (mut stuck, begun) = (None, Instant::now());
        let mut look = |second, somebody_waits, resident| {
            let now = begun + Duration::from_secs(second);
            stood(&mut stuck, somebody_waits, resident, now).as_secs()
        };
        assert_eq!([look(0, true, 100), look(1, true, 100), look(2, true, 100)], [0, 1, 2]);
        assert_eq!([look(3, true, 101), look(4, true, 101)], [0, 1]);
        assert_eq!([look(5, true, 50), look(6, true, 50), look(7, true, 51)], [2, 3, 0]);
        assert_eq!([look(8, false, 51), look(9, true, 51), look(10, true, 51)], [0, 0, 1]);
    }
}
