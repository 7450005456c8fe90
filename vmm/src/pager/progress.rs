//! Whether pages come, by what the kernel tells of a `userfaultfd` and of this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// More than the kernel tells.
const MOST: usize = 1024;

/// What shows it: opened once, as a thread that is shut in has no paths.
pub struct Progress {
    /// Who waits (`fs/userfaultfd.c`, `userfaultfd_show_fdinfo`).
    waiting: File,
    /// Pages of the process (Linux `Documentation/filesystems/proc.rst`).
    pages: File,
    /// How many pages there were, and since when there are no more although somebody waits.
    stuck: Option<(u64, Instant)>,
}

impl Progress {
    /// Of the descriptor. Fails where there is no `/proc`.
    pub fn of(uffd: BorrowedFd<'_>) -> io::Result<Progress> {
        let waiting = File::open(format!("/proc/self/fdinfo/{}", uffd.as_raw_fd()))?;
        Ok(Progress { waiting, pages: File::open("/proc/self/statm")?, stuck: None })
    }

    /// For how long somebody has waited, and no page has come to anybody, as far as looks have shown.
    pub fn stands_still(&mut self, now: Instant) -> io::Result<Duration> {
        if waiting(&read(&self.waiting)?) == 0 {
            self.stuck = None;
            return Ok(Duration::ZERO);
        }
        let pages = resident(&read(&self.pages)?);
        match self.stuck {
            Some((before, since)) if before >= pages => Ok(now.saturating_duration_since(since)),
            _ => {
                self.stuck = Some((pages, now));
                Ok(Duration::ZERO)
            }
        }
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut text = [0; MOST];
    let len = file.read_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned())
}

/// Faults that are not resolved, of `fdinfo`: told to a reader or not.
fn waiting(text: &str) -> u64 {
    let total = text.lines().find_map(|line| line.strip_prefix("total:"));
    total.and_then(|total| total.trim().parse().ok()).unwrap_or(0)
}

/// The second number of `statm`.
fn resident(text: &str) -> u64 {
    text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_who_waits_and_how_many_pages_there_are() {
        assert_eq!(waiting("pos:\t0\nflags:\t02\npending:\t1\ntotal:\t3\nAPI:\taa:8:10\n"), 3);
        assert_eq!(waiting("pos:\t0\n"), 0);
        assert_eq!(resident("900 123 45 0 0 0 0\n"), 123);
    }
}
