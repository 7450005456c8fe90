//! Which of two versions in the names of kernels is newer.

use std::cmp::Ordering;

/// Compares piece by piece: numbers by what they are worth, and before words; a tilde before nothing, as
/// release candidates have it (`rpm`'s and systemd's order, as far as kernels are named).
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let is_dull = |c: char| !c.is_ascii_alphanumeric() && c != '~';
        (one, other) = (one.trim_start_matches(is_dull), other.trim_start_matches(is_dull));
        match (one.strip_prefix('~'), other.strip_prefix('~')) {
            (Some(a), Some(b)) => {
                (one, other) = (a, b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        let (a, b);
        (a, one) = piece(one);
        (b, other) = piece(other);
        let order = match (is_number(a), is_number(b)) {
            (true, true) => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then(a.cmp(b))
            }
            (false, false) => a.cmp(b),
            // A number is newer than a word, as in 6.1.2 and 6.1.rc2.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn is_number(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_ascii_digit())
}

/// The letters, or the digits, that `text` begins with, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let digits = is_number(text);
    let is_other = |c: char| !c.is_ascii_alphanumeric() || c.is_ascii_digit() != digits;
    let end = text.find(is_other).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
#[path = "version_test.rs"]
mod tests;
