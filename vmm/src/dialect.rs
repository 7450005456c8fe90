//! Firecracker's JSON: bodies of requests and the configuration file, and their way to our own model.
//!
//! Field names, and what they mean, are those of its public API description; what stands beside them
//! in the same style is ours.

pub mod balloon;
pub mod cpu;
pub mod deprecated;
pub mod drives;
pub mod entropy;
pub mod file;
pub mod flow;
pub mod fork;
pub mod full;
pub mod hot_memory;
pub mod limiter;
pub mod machine;
pub mod migration;
pub mod mmds;
pub mod network;
mod objects;
pub mod pmem;
pub mod smbios;
pub mod snapshot;
pub mod vsock;
pub mod watch;

use serde::de::DeserializeOwned;

use crate::action::ActionError;
use crate::words;

/// Why a text is not what was expected of it; names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("{0}")]
    Json(String),
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
    #[error("a JSON object is expected, such as {{\"field\": \"value\"}}")]
    NoObject,
    #[error("nothing to change: the body has no field")]
    Nothing,
}

impl BodyError {
    /// The same of a text that is `part` of a larger one.
    fn within(self, part: &str) -> BodyError {
        BodyError::Json(match self {
            BodyError::Field { field, why } => format!("{part}.{field}: {why}"),
            other => format!("{part}: {other}"),
        })
    }
}

/// A field whose value makes no sense.
pub(crate) fn bad(field: &'static str, why: impl Into<String>) -> BodyError {
    BodyError::Field { field, why: why.into() }
}

/// The id in a body's `field` must be that of its path.
fn check_id(field: &'static str, path: &str, body: &str) -> Result<(), BodyError> {
    if path == body {
        return Ok(());
    }
    Err(bad(field, format!("{body:?} is not the id in the path, {path:?}")))
}

/// Reads one JSON object; unknown fields, double fields and anything behind it are errors.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, BodyError> {
    // The most usual mistake has a message of its own.
    if text.trim_ascii_start().first().is_some_and(|first| b"[\"0123456789-tfn".contains(first)) {
        return Err(BodyError::NoObject);
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(objects::Objects(&mut json)).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        // Where the text is broken the path says nothing.
        if error.is_data() && path != "." {
            BodyError::Json(format!("{path}: {error}"))
        } else {
            BodyError::Json(error.to_string())
        }
    })?;
    json.end().map_err(|error| BodyError::Json(error.to_string()))?;
    Ok(value)
}

/// The body of an answer that is a refusal.
pub fn fault(message: &str) -> String {
    serde_json::json!({ "fault_message": message }).to_string()
}

/// An error as one line, in the words of the API.
pub fn complaint(error: &ActionError) -> String {
    words::one_line(error.setting().map(|setting| setting.field()), error)
}

#[cfg(test)]
#[path = "dialect_test.rs"]
mod tests;
