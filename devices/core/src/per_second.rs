//! Numbers per second, as people write them.

use crate::rate::{self, Quota};

/// Why a text is no number per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is no number, or has a unit that there is not.
    #[error("write a number and perhaps k, M, G or T, such as 2.5G")]
    Form,
    /// It has more than 64 bits.
    #[error("it is too large")]
    TooLarge,
    /// It is a limit that lets nothing through.
    #[error("{}", rate::NOTHING)]
    Zero,
}

/// The limit that `text` is. Fails as [`parse`] does, and for 0.
pub fn quota(text: &str) -> Result<Quota, RateError> {
    Quota::per_second(parse(text)?).ok_or(RateError::Zero)
}

/// The number of `text`, which may have a decimal point and a unit of thousands: `500M`, `2.5G`. Fails if it is
/// no whole number, or more than 64 bits hold.
pub fn parse(text: &str) -> Result<u64, RateError> {
    let (number, zeros) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 3),
        Some((at, 'M')) => (text.get(..at), 6),
        Some((at, 'G')) => (text.get(..at), 9),
        Some((at, 'T')) => (text.get(..at), 12),
        _ => (Some(text), 0usize),
    };
    let (whole, part) = match number.unwrap_or_default().split_once('.') {
        Some((whole, part)) if !part.is_empty() => (whole, part.trim_end_matches('0')),
        Some(_) => return Err(RateError::Form),
        None => (number.unwrap_or_default(), ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > zeros {
        return Err(RateError::Form);
    }
    let text = format!("{whole}{part}{}", "0".repeat(zeros.saturating_sub(part.len())));
    text.parse().map_err(|_| RateError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_have_a_point_and_a_unit() {
        for (text, number) in [
            ("0", 0),
            ("1500", 1500),
            ("1.500k", 1500),
            ("100K", 100_000),
            ("2.5G", 2_500_000_000),
            ("18446744T", 18_446_744_000_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_number_or_too_large_is_refused() {
        for text in ["", "G", "-1G", "1.G", "1.5", "1.2345k", "1 k", "1Kk", "0x5", "½k"] {
            assert_eq!(parse(text), Err(RateError::Form), "{text}");
        }
        for text in ["18446744073709551616", "99999999999T"] {
            assert_eq!(parse(text), Err(RateError::TooLarge), "{text}");
        }
    }
}
