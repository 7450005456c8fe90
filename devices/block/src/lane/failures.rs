//! Tells whoever runs the machine that the host fails a disk's requests: a line a minute, however many they are.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::request::{Operation, Outcome};
use crate::task::{Call, Task};

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// What was told of one disk.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Option<Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Failures since, of which nothing was said.
    more: u64,
}

impl Failures {
    /// A request of disk `id` has ended for what a call on the image at `path` came to.
    pub(super) fn tell(&self, id: &str, path: &Path, task: &Task, ended: (Outcome, i32)) {
        let (outcome, result) = ended;
        if !matches!(outcome, Outcome::Medium | Outcome::NoSpace | Outcome::ReadOnly) {
            return;
        }
        let is_flush = match task.call() {
            Call::Sync => true,
            Call::Write { durable } => durable && outcome == Outcome::Medium,
            _ => false,
        };
        // The image tells of these itself.
        if is_flush {
            return;
        }
        let Some(more) = self.admit(Instant::now()) else { return };
        let verb = match task.request.operation {
            Operation::Read => "read",
            Operation::Compare => "compare",
            Operation::Write => "write",
            Operation::Flush => "flush",
            Operation::Discard => "discard",
            Operation::WriteZeroes { .. } => "zero",
        };
        let why = match result {
            0.. => "it has become shorter".to_owned(),
            errno => io::Error::from_raw_os_error(errno.wrapping_neg()).to_string(),
        };
        let since = match more {
            0 => String::new(),
            more => format!("; {more} more requests have failed since the last such line"),
        };
        let (path, offset) = (path.display(), task.offset());
        tracing::warn!("disk {id}: cannot {verb} {path} at byte {offset}: {why}{since}");
    }

    /// Whether there is to be a line now: how many failures came without one since the last.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *told {
            Some(told) if now.saturating_duration_since(told.at) < PAUSE => {
                told.more = told.more.saturating_add(1);
                None
            }
            told => Some(told.replace(Told { at: now, more: 0 }).map_or(0, |before| before.more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_minute_and_it_counts_the_rest() {
        let (failures, start) = (Failures::default(), Instant::now());
        assert_eq!(failures.admit(start), Some(0));
        for _ in 0..3 {
            assert_eq!(failures.admit(start + PAUSE / 2), None);
        }
        assert_eq!(failures.admit(start + PAUSE), Some(3));
        assert_eq!(failures.admit(start + PAUSE), None);
    }
}
