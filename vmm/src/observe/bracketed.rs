//! Lines of the log as Firecracker writes them: `TIME [ID:THREAD:LEVEL:FILE:LINE] text`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What stands before the text.
pub struct Head<'a> {
    /// The machine's name.
    pub id: &'a str,
    /// Whether the level is told.
    pub level: bool,
    /// Whether source file and line are told.
    pub origin: bool,
}

impl Head<'_> {
    /// Writes an event as a line. Fails if `writer` does.
    pub fn format<S, N>(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let data = event.metadata();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let thread = std::thread::current();
        write!(writer, "{} [{}:{}", Utc(since), self.id, thread.name().unwrap_or("-"))?;
        if self.level {
            write!(writer, ":{}", data.level())?;
        }
        if self.origin {
            let (file, line) = (data.file().unwrap_or("-"), data.line().unwrap_or_default());
            write!(writer, ":{file}:{line}")?;
        }
        write!(writer, "] ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Time since 1970, as date and time of day of UTC with nanoseconds.
struct Utc(Duration);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let (days, second) = (self.0.as_secs() / DAY, self.0.as_secs() % DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let nanos = self.0.subsec_nanos();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}")
    }
}

/// Year, month and day of the `days`-th day after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    const OF_FOUR_CENTURIES: u64 = 146_097;
    // Days and years are counted from March of the year 0, so that a leap day is a year's last.
    let days = days + 719_468;
    let (era, of_era) = (days / OF_FOUR_CENTURIES, days % OF_FOUR_CENTURIES);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_and_a_time_of_day() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (1_767_322_985, "2026-01-02T03:03:05"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let shown = Utc(Duration::new(seconds, 123)).to_string();
            assert_eq!(shown, format!("{text}.000000123"));
        }
    }
}
