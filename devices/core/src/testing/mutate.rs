//! A state changed in places that bytes choose, for fuzzers.

use serde_json::{Value, json};

/// Bytes of one change: where, how, and to what.
const CHANGE: usize = 11;

/// Changes `state` once for each 11 of `bytes`.
pub fn mutate(state: &mut Value, bytes: &[u8]) {
    for change in bytes.chunks_exact(CHANGE) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]]));
        let number = u64::from_le_bytes(std::array::from_fn(|n| change[3 + n]));
        let count = count(state);
        let other = nth(state, &mut (number as usize % count)).cloned();
        let Some(found) = nth(state, &mut (place % count)) else { continue };
        match change[2] % 10 {
            0 => *found = json!(number),
            1 => *found = json!(number as u16),
            2 => *found = json!(number as u8),
            3 => *found = json!(number & 1 != 0),
            4 => *found = Value::Null,
            5 => *found = json!(format!("{number:x}")),
            6 => *found = other.unwrap_or_default(),
            7 => {
                if let Some(items) = found.as_array_mut() {
                    items.push(other.unwrap_or_default());
                }
            }
            8 => {
                if let Some(items) = found.as_array_mut() {
                    items.truncate(number as u8 as usize);
                }
            }
            _ => {
                if let Some(n) = found.as_u64() {
                    *found = json!(n ^ 1 << (number % 64));
                }
            }
        }
    }
}

/// Values in `state`, itself included.
fn count(state: &Value) -> usize {
    let within: usize = match state {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    };
    within + 1
}

/// The value that is so far behind the first; `left` is how far it still is.
fn nth<'a>(state: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(state);
    }
    *left -= 1;
    match state {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}
