//! Which of two names a memory has beside its place until it is in that.

use serde::{Deserialize, Serialize};

/// One of the two, taken in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    #[default]
    A,
    B,
}

impl Turn {
    /// A part of the name.
    pub fn name(self) -> &'static str {
        match self {
            Turn::A => "a",
            Turn::B => "b",
        }
    }

    /// The next.
    pub fn other(self) -> Turn {
        match self {
            Turn::A => Turn::B,
            Turn::B => Turn::A,
        }
    }
}
