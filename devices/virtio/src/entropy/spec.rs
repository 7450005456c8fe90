//! What a user may say about the source of entropy.

use std::str::FromStr;

use device_core::limiter::Limits;
use device_core::options::{Given, OptionError, parts};

/// The entropy device. A machine has one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntropySpec {
    /// What it gives at most.
    pub limits: Limits,
}

impl EntropySpec {
    /// What it is called.
    pub const ID: &'static str = "rng";
}

/// Why a text describes no entropy device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// No option at all.
    #[error(
        "{0:?} is unknown; write off, or bw=BYTES and iops=REQUESTS a second, such as bw=1M,iops=100"
    )]
    Unknown(String),
    /// An option is none, or cannot be so.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// What is limited.
#[derive(Clone, Copy)]
enum Key {
    Bw,
    Iops,
}

const KEYS: [(Key, &str); 2] = [(Key::Bw, "bw"), (Key::Iops, "iops")];

/// The command line's form: `bw=1M,iops=100`.
impl FromStr for EntropySpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<EntropySpec, ParseSpecError> {
        let mut limits = Limits::default();
        for part in parts(text) {
            if !part.contains('=') {
                return Err(ParseSpecError::Unknown(part));
            }
            let given = Given::of(&part, &KEYS)?;
            let place = match given.key {
                Key::Bw => &mut limits.bytes,
                Key::Iops => &mut limits.operations,
            };
            given.put(place, given.quota()?)?;
        }
        Ok(EntropySpec { limits })
    }
}

#[cfg(test)]
mod tests {
    use device_core::rate::Quota;

    use super::*;

    #[test]
    fn limits_are_numbers_per_second() {
        let limits = |text: &str| text.parse::<EntropySpec>().map(|spec| spec.limits);
        let both =
            Limits { bytes: Quota::per_second(1_500_000), operations: Quota::per_second(100) };
        assert_eq!(limits("bw=1.5M,iops=100"), Ok(both));
        assert_eq!(
            limits("iops=1k"),
            Ok(Limits { bytes: None, operations: Quota::per_second(1000) })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<EntropySpec>().unwrap_err().to_string();
        assert!(error("").starts_with("\"\" is unknown; write off, or bw="));
        assert!(error("on").starts_with("\"on\" is unknown"));
        assert_eq!(error("bw=1M,rate=3"), "unknown key \"rate\"; known are bw, iops");
        assert_eq!(error("bw=1M,bw=2M"), "bw is given twice");
        assert!(error("bw=0").contains("would let nothing through"));
        assert!(error("iops=1.5").starts_with("iops=1.5: write a number"));
    }
}
