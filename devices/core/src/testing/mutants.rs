//! States that are wrong in one place, for tests that loading them does no harm.

use serde_json::{Value, json};

/// All states that differ from `state` in one place: each value replaced by others of its type and by one of
/// another, each list cut, emptied or made longer, each field missing.
pub fn mutants(state: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = others(state);
    match state {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                found.extend(mutants(item).into_iter().map(|mutant| {
                    let mut items = items.clone();
                    items[n] = mutant;
                    Value::Array(items)
                }));
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut fewer = fields.clone();
                fewer.remove(name);
                found.push(Value::Object(fewer));
                found.extend(mutants(value).into_iter().map(|mutant| {
                    let mut fields = fields.clone();
                    fields[name] = mutant;
                    Value::Object(fields)
                }));
            }
        }
        _ => {}
    }
    found
}

/// What may stand in the place of `value`, apart from what is within it.
fn others(value: &Value) -> Vec<Value> {
    let mut others = match value {
        Value::Null => vec![json!(0), json!([]), json!("")],
        Value::Bool(on) => vec![json!(!on), json!(1)],
        Value::Number(number) => {
            let n = number.as_u64().unwrap_or_default();
            let near = [n.wrapping_add(1), n.wrapping_sub(1), n ^ 8, n << 1, n << 16];
            let bounds = [0, 1, 0x7fff, 0x8000, u64::from(u16::MAX), u64::from(u32::MAX), u64::MAX];
            let mut all: Vec<Value> = near.into_iter().chain(bounds).map(Value::from).collect();
            all.extend([json!(u8::MAX), json!(-1), json!(0.5), Value::Null, json!("1")]);
            all
        }
        Value::String(text) => {
            let half: String = text.chars().take(text.chars().count() / 2).collect();
            let flipped: String = text.chars().map(|c| if c == '0' { 'f' } else { '0' }).collect();
            vec![json!(""), json!(half), json!(flipped), json!(format!("{text}{text}")), json!(7)]
        }
        Value::Array(items) => {
            let mut all = vec![json!([]), json!({}), Value::Null];
            if let (Some(first), Some((_, but_last))) = (items.first(), items.split_last()) {
                all.push(json!(but_last));
                let mut longer = items.clone();
                longer.push(first.clone());
                all.push(Value::Array(longer));
            }
            all
        }
        Value::Object(_) => vec![Value::Null, json!([])],
    };
    others.retain(|other| other != value);
    others
}
