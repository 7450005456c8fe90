//! What two snapshots have different.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::error::LoadError;
use super::memory_file::{PIECE, Sums};
use super::merge::Snapshot;

const PAGE: usize = 4096;
/// Lines of each part that are shown.
const MOST: usize = 100;

/// Tells it, one line for each thing. Both have all of their memory, or only how much they have of it is told. Fails if
/// a memory cannot be read.
pub fn tell(one: &Snapshot, other: &Snapshot) -> Result<String, LoadError> {
    let mut lines = Vec::new();
    let value = |snapshot: &Snapshot| {
        let body = snapshot.body();
        serde_json::json!({ "config": body.config, "state": body.state })
    };
    walk("", &value(one), &value(other), &mut lines);
    let mut text = String::new();
    let shown = lines.len().min(MOST);
    lines.drain(..shown).for_each(|line| text.push_str(&(line + "\n")));
    if !lines.is_empty() {
        text.push_str(&format!("and {} more\n", lines.len()));
    }
    let (sums, others) = (&one.body().memory, &other.body().memory);
    if sums.bytes != others.bytes {
        text.push_str(&format!("memory: {} bytes, {} bytes\n", sums.bytes, others.bytes));
    } else if sums.changed.is_some() || others.changed.is_some() {
        text.push_str(&format!("memory: {}, {}\n", amount(sums), amount(others)));
    } else {
        let pages = pages(one, other)?;
        text.push_str(&format!("memory: {} pages\n", pages.len()));
        let runs = runs(&pages);
        for (first, count) in runs.iter().take(MOST) {
            let (begin, len) = (first * PAGE as u64, count * PAGE as u64);
            // It cannot fail.
            let _ = writeln!(text, "memory at {begin:#x} of the file: {len:#x} bytes");
        }
        if runs.len() > MOST {
            text.push_str(&format!("and {} more\n", runs.len() - MOST));
        }
    }
    // Anybody may have written them.
    Ok(text.replace(|c: char| c.is_control() && c != '\n', "?"))
}

fn amount(sums: &Sums) -> String {
    let pages: Option<u64> =
        sums.changed.as_ref().map(|changed| changed.runs.iter().map(|(_, count)| count).sum());
    pages.map_or("all".to_string(), |pages| format!("{pages} pages that have changed"))
}

/// Adds what is different of two values, with where it is.
fn walk(at: &str, one: &Value, other: &Value, lines: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                walk(
                    &format!("{at}/{name}"),
                    value,
                    other.get(name).unwrap_or(&Value::Null),
                    lines,
                );
            }
            for (name, value) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
                walk(&format!("{at}/{name}"), &Value::Null, value, lines);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for index in 0..one.len().max(other.len()) {
                let value = |array: &[Value]| array.get(index).cloned().unwrap_or(Value::Null);
                walk(&format!("{at}/{index}"), &value(one), &value(other), lines);
            }
        }
        _ if one == other => {}
        _ => lines.push(format!("{at}: {}, {}", short(one), short(other))),
    }
}

/// The beginning of a value's text: it is for a line.
fn short(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Pages of both memories that are different, in order.
fn pages(one: &Snapshot, other: &Snapshot) -> Result<Vec<u64>, LoadError> {
    let bytes = one.body().memory.bytes;
    let sums = |snapshot: &Snapshot| snapshot.body().memory.pieces.clone().into_iter().peekable();
    let (mut ones, mut others) = (sums(one), sums(other));
    let mut buffers = (vec![0; PIECE], vec![0; PIECE]);
    let mut found = Vec::new();
    for number in 0..u32::try_from(bytes.div_ceil(PIECE as u64)).unwrap_or(u32::MAX) {
        let of_one = ones.next_if(|(at, _)| *at == number);
        if of_one == others.next_if(|(at, _)| *at == number) {
            continue;
        }
        let at = u64::from(number).saturating_mul(PIECE as u64);
        let size = usize::try_from(bytes.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
        let (one_part, other_part) = (
            buffers.0.get_mut(..size).unwrap_or_default(),
            buffers.1.get_mut(..size).unwrap_or_default(),
        );
        let read = |snapshot: &Snapshot, into: &mut [u8]| {
            let failed =
                |source: io::Error| LoadError::Memory { path: snapshot.memory.clone(), source };
            snapshot.file().read_exact_at(into, at).map_err(failed)
        };
        read(one, one_part)?;
        read(other, other_part)?;
        let both = one_part.chunks(PAGE).zip(other_part.chunks(PAGE));
        let different = (at / PAGE as u64..).zip(both).filter(|(_, (one, other))| one != other);
        found.extend(different.map(|(page, _)| page));
    }
    Ok(found)
}

/// Pages as runs, each as the first and their number.
fn runs(pages: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some((first, count)) if first.saturating_add(*count) == page => {
                *count = count.saturating_add(1);
            }
            _ => runs.push((page, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_different_is_named_by_its_place() {
        let mut lines = Vec::new();
        let one = json!({ "a": [1, { "b": 2 }], "c": "x", "d": null, "e": 1 });
        let other = json!({ "a": [1, { "b": 3 }, 4], "c": "x".repeat(50), "d": null, "f": 1 });
        walk("", &one, &other, &mut lines);
        let long = format!("\"{}...", "x".repeat(39));
        let wanted = [
            "/a/1/b: 2, 3".to_string(),
            "/a/2: null, 4".to_string(),
            format!("/c: \"x\", {long}"),
            "/e: 1, null".to_string(),
            "/f: null, 1".to_string(),
        ];
        assert_eq!(lines, wanted);
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 1), (9, 2)]);
    }
}
