//! Why there is no jail.

use std::fmt::Display;
use std::io;

/// What failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The host refused a step.
    #[error("{0}: {1}")]
    Step(String, io::Error),
    /// What was asked for, or what was found, is not to be.
    #[error("{0}")]
    Refused(String),
}

impl JailError {
    /// With a reason of its own.
    pub fn refused(why: impl Display) -> JailError {
        JailError::Refused(why.to_string())
    }
}

/// A result of the host's, of a step that has a name.
pub trait Step<T> {
    /// Says what could not be done.
    fn step(self, what: impl FnOnce() -> String) -> Result<T, JailError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, JailError> {
        self.map_err(|error| JailError::Step(what(), error.into()))
    }
}
