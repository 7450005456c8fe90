//! What a user may say about the balloon.

use std::str::FromStr;

use device_core::options::mib;

/// The balloon's pages, which are of 4 KiB whatever the guest's are, in a MiB.
pub const PAGES_PER_MIB: u32 = 256;

/// The balloon. A machine has one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalloonSpec {
    /// What the guest is to give up, in MiB.
    pub amount_mib: u32,
    /// The guest takes pages back before it runs out of memory.
    pub deflate_on_oom: bool,
    /// Seconds between two reports of the guest about its memory; 0 for none.
    pub statistics_s: u16,
    /// The guest tells of free pages on demand.
    pub hinting: bool,
    /// The guest tells of free pages all the time.
    pub reporting: bool,
}

impl BalloonSpec {
    /// What it is called.
    pub const ID: &'static str = "balloon";
}

/// Why a text describes no balloon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// No amount comes first.
    #[error("{0:?} is no amount of memory; write one in M or G first, such as 256M, or 0")]
    Amount(String),
    /// A part that is no known word.
    #[error("{0:?} is unknown; known are oom, hinting, reporting and stats=SECONDS")]
    Unknown(String),
    /// A word that may be given once.
    #[error("{0} is given twice")]
    Twice(String),
    /// The time between two reports is none.
    #[error("stats={0}: write seconds from 1 to 65535")]
    Seconds(String),
}

/// The command line's form: `256M,oom,reporting,stats=5`.
impl FromStr for BalloonSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<BalloonSpec, ParseSpecError> {
        let (first, rest) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
        let amount_mib = mib(first).ok_or_else(|| ParseSpecError::Amount(first.to_string()))?;
        let mut spec = BalloonSpec { amount_mib, ..BalloonSpec::default() };
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let twice = || ParseSpecError::Twice(part.to_string());
            let flag = match part {
                "oom" => &mut spec.deflate_on_oom,
                "hinting" => &mut spec.hinting,
                "reporting" => &mut spec.reporting,
                _ => {
                    let seconds = part.strip_prefix("stats=");
                    let seconds =
                        seconds.ok_or_else(|| ParseSpecError::Unknown(part.to_string()))?;
                    if spec.statistics_s != 0 {
                        return Err(ParseSpecError::Twice("stats".to_string()));
                    }
                    let given = seconds.parse().ok().filter(|seconds| *seconds > 0);
                    spec.statistics_s =
                        given.ok_or_else(|| ParseSpecError::Seconds(seconds.to_string()))?;
                    continue;
                }
            };
            if std::mem::replace(flag, true) {
                return Err(twice());
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_comes_first_and_words_behind_it() {
        let none = BalloonSpec::default();
        assert_eq!("0".parse(), Ok(none.clone()));
        assert_eq!("256M".parse(), Ok(BalloonSpec { amount_mib: 256, ..none.clone() }));
        assert_eq!("2G".parse(), Ok(BalloonSpec { amount_mib: 2048, ..none }));
        let all = BalloonSpec {
            amount_mib: 1,
            deflate_on_oom: true,
            statistics_s: 5,
            hinting: true,
            reporting: true,
        };
        assert_eq!("1M,oom,hinting,reporting,stats=5".parse(), Ok(all));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<BalloonSpec>().unwrap_err().to_string();
        for text in ["", "M", "256", "+1M", "reporting", "5000T", "1.5G"] {
            assert!(error(text).contains("is no amount of memory"), "{text}: {}", error(text));
        }
        assert!(error("0,reports").starts_with("\"reports\" is unknown; known are oom"));
        assert_eq!(error("0,oom,oom"), "oom is given twice");
        assert_eq!(error("0,stats=1,stats=2"), "stats is given twice");
        for seconds in ["0", "", "65536", "1s"] {
            assert!(error(&format!("0,stats={seconds}")).ends_with("seconds from 1 to 65535"));
        }
    }
}
