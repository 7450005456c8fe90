//! What the integration tests tell `cargo verify` besides their results, in lines of their own.

use std::time::Duration;

/// Such a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// How long a test took.
    Took { time: Duration, test: String },
    /// How many guests a process has booted, and how many it has restored.
    Guests { booted: u32, restored: u32 },
}

const TOOK: &str = "took ";
const GUESTS: &str = "guests booted and restored: ";

impl Told {
    /// What a line tells, if it is one of these.
    pub fn read(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix(TOOK) {
            let (time, test) = rest.split_once(" s: ")?;
            let time = Duration::try_from_secs_f64(time.parse().ok()?).ok()?;
            return Some(Self::Took { time, test: test.to_owned() });
        }
        let (booted, restored) = line.strip_prefix(GUESTS)?.split_once(' ')?;
        Some(Self::Guests { booted: booted.parse().ok()?, restored: restored.parse().ok()? })
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Took { time, test } => write!(f, "{TOOK}{:.1} s: {test}", time.as_secs_f64()),
            Self::Guests { booted, restored } => write!(f, "{GUESTS}{booted} {restored}"),
        }
    }
}

#[cfg(test)]
#[path = "told_test.rs"]
mod tests;
