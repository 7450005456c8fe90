//! What a user may say about the source of entropy.

use std::str::FromStr;

use device_core::limiter::Limits;
use device_core::per_second;

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
    /// A part that is no known key with a value.
    #[error(
        "{0:?} is unknown; write off, or bw=BYTES and iops=REQUESTS a second, such as bw=1M,iops=100"
    )]
    Unknown(String),
    /// A key that may be given once.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// A value that its key cannot have.
    #[error("{key}={value}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The text as given.
        value: String,
        /// What is wrong with it, in words.
        why: String,
    },
}

/// The command line's form: `bw=1M,iops=100`.
impl FromStr for EntropySpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<EntropySpec, ParseSpecError> {
        let mut limits = Limits::default();
        for part in text.split(',') {
            let unknown = || ParseSpecError::Unknown(part.to_string());
            let (key, value) = part.split_once('=').ok_or_else(unknown)?;
            let (key, place) = match key {
                "bw" => ("bw", &mut limits.bytes),
                "iops" => ("iops", &mut limits.operations),
                _ => return Err(unknown()),
            };
            let bad = |why: String| ParseSpecError::Value { key, value: value.to_string(), why };
            let rate = per_second::quota(value).map_err(|why| bad(why.to_string()))?;
            if place.replace(rate).is_some() {
                return Err(ParseSpecError::Twice(key));
            }
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
        assert!(error("bw=1M,rate=3").starts_with("\"rate=3\" is unknown"));
        assert_eq!(error("bw=1M,bw=2M"), "bw is given twice");
        assert!(error("bw=0").contains("would let nothing through"));
        assert!(error("iops=1.5").starts_with("iops=1.5: write a number"));
    }
}
