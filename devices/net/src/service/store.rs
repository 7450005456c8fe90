//! What the service tells: one JSON document, as the user put it, over what the machine says of itself.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of a document if nobody says otherwise.
pub const USUAL_LIMIT: usize = 51_200;

/// Why a document was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is nothing yet that could be changed.
    #[error("The MMDS data store is not initialized.")]
    NotInitialized,
    /// It would be larger than allowed.
    #[error("The MMDS patch request doesn't fit.")]
    TooLarge,
}

/// What a document is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// What the machine says of itself, if it does.
    pub machine: Option<Value>,
    /// What the user put.
    pub user: Option<Value>,
}

/// The document, shared by who writes and who reads it. A reader never waits for more than the exchange of a
/// pointer.
pub struct Store {
    limit: usize,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    documents: Documents,
    /// Both, merged.
    shown: Option<Arc<Value>>,
}

impl Documents {
    /// The user's over the machine's.
    fn merged(&self) -> Option<Value> {
        match (&self.machine, &self.user) {
            (Some(machine), Some(user)) => {
                let mut shown = machine.clone();
                merge(&mut shown, user.clone());
                Some(shown)
            }
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        }
    }
}

impl Store {
    /// An empty one, for at most `limit` bytes of compact JSON.
    pub fn new(limit: usize) -> Store {
        Store { limit, content: Mutex::default() }
    }

    /// Replaces the user's document. Fails, with nothing changed, if it is too large.
    pub fn put(&self, user: Value) -> Result<(), StoreError> {
        self.change(|content| {
            content.user = Some(user);
            Ok(())
        })
    }

    /// Merges into what is there (RFC 7396). Fails, with nothing changed, if nothing is, or if it would
    /// be too large.
    pub fn patch(&self, patch: Value) -> Result<(), StoreError> {
        self.change(|content| {
            match (&mut content.user, &content.machine) {
                (Some(user), _) => merge(user, patch),
                // Its nulls take away what the machine says.
                (user @ None, Some(_)) => *user = Some(patch),
                (None, None) => return Err(StoreError::NotInitialized),
            }
            Ok(())
        })
    }

    /// What the machine says of itself, from now on. Fails, with nothing changed, if all would be too large.
    pub fn set_machine(&self, machine: Value) -> Result<(), StoreError> {
        self.change(|content| {
            content.machine = Some(machine);
            Ok(())
        })
    }

    /// Changes what the machine says of itself, if it does. Fails, with nothing changed, if all would be too large.
    pub fn change_machine(&self, change: impl FnOnce(&mut Value)) -> Result<(), StoreError> {
        self.change(|content| {
            content.machine.as_mut().map(change);
            Ok(())
        })
    }

    /// The whole document, if there is one.
    pub fn get(&self) -> Option<Arc<Value>> {
        self.content().shown.clone()
    }

    /// What the document is made of.
    pub fn documents(&self) -> Documents {
        self.content().documents.clone()
    }

    /// Goes on with what another store told, however large, but for what was put into this one already.
    pub fn go_on(&self, documents: Documents) {
        let mut new = self.documents();
        new.machine = new.machine.or(documents.machine);
        new.user = new.user.or(documents.user);
        let shown = new.merged().map(Arc::new);
        *self.content() = Content { documents: new, shown };
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Documents) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Readers go on with the old one meanwhile; there is one writer, the machine's main thread.
        let mut documents = self.documents();
        change(&mut documents)?;
        let shown = documents.merged();
        if shown.as_ref().is_some_and(|shown| size(shown) > self.limit) {
            return Err(StoreError::TooLarge);
        }
        *self.content() = Content { documents, shown: shown.map(Arc::new) };
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON Merge Patch (RFC 7396, 2). Documents are no deeper than their parser lets them.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Bytes of compact JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// What is at `path` of a document: keys and indices with slashes between, as in a JSON pointer (RFC 6901);
/// more than one slash is like one.
pub fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = document;
    for (nth, part) in path.split('/').filter(|part| !part.is_empty()).enumerate() {
        let key = part.replace("~1", "/").replace("~0", "~");
        found = match found {
            Value::Array(items) => items.get(index(part)?)?,
            Value::Object(fields) => match fields.get(&key) {
                Some(value) => value,
                // EC2 keeps every version that there ever was, by its date.
                None if nth == 0 && is_version(&key) => fields.get(LATEST)?,
                None => return None,
            },
            _ => return None,
        };
    }
    Some(found)
}

/// The newest version of EC2's tree.
pub const LATEST: &str = "latest";

/// Whether it names a version of EC2's tree: `1.0`, or a date.
fn is_version(key: &str) -> bool {
    let is_date = key.len() == 10
        && key.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date || key == "1.0"
}

/// An index without a sign or zeros before it.
fn index(part: &str) -> Option<usize> {
    let plain = part.bytes().all(|byte| byte.is_ascii_digit());
    let padded = part.len() > 1 && part.starts_with('0');
    part.parse().ok().filter(|_| plain && !padded)
}

/// As IMDS shows it: text as it is, and of an object its keys, one to a line, those of objects with a slash
/// behind them. `None` for what has no such form.
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => {
            let mut lines: Vec<_> = fields
                .iter()
                .map(|(key, value)| if value.is_object() { format!("{key}/") } else { key.clone() })
                .collect();
            lines.sort_unstable();
            Some(lines.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
