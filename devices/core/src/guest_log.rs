//! A limit on the log lines that a guest can cause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines allowed in a row.
const BURST: u32 = 8;
/// Time after which one more line is allowed.
const REFILL: Duration = Duration::from_secs(2);

/// A bucket of log lines; each source of guest-caused lines has one.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Option<Bucket>>);

#[derive(Debug)]
struct Bucket {
    lines: u32,
    filled: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// A full bucket: the first eight lines are admitted.
    pub const fn new() -> LogLimit {
        LogLimit(Mutex::new(None))
    }

    /// Whether a line may be written now: the number of lines suppressed since the last one, or
    /// `None` if this one is to be suppressed too.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = bucket.get_or_insert(Bucket { lines: BURST, filled: now, suppressed: 0 });
        let gained = now.saturating_duration_since(bucket.filled).as_secs() / REFILL.as_secs();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(BURST);
            bucket.lines = bucket.lines.saturating_add(gained).min(BURST);
            bucket.filled = now;
        }
        if bucket.lines == 0 {
            bucket.suppressed = bucket.suppressed.saturating_add(1);
            return None;
        }
        bucket.lines = bucket.lines.saturating_sub(1);
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

/// Logs a warning that a guest caused, within a [`LogLimit`].
#[macro_export]
macro_rules! guest_warn {
    ($limit:expr, $($message:tt)+) => {
        if let Some(suppressed) = $limit.admit(::std::time::Instant::now()) {
            if suppressed > 0 {
                ::tracing::warn!("{suppressed} more lines like the next were suppressed");
            }
            ::tracing::warn!($($message)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_burst_and_then_a_line_per_interval() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let burst = (0..100).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(burst, BURST as usize);
        assert_eq!(limit.admit(start + REFILL), Some(100 - u64::from(BURST)));
        assert_eq!(limit.admit(start + REFILL), None);
    }

    #[test]
    fn a_long_silence_refills_no_more_than_a_burst() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        while limit.admit(start).is_some() {}
        let later = start + Duration::from_secs(1_000_000);
        let burst = (0..100).filter(|_| limit.admit(later).is_some()).count();
        assert_eq!(burst, BURST as usize);
    }
}
