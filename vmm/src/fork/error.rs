//! Why a machine was not forked, in one line.

use std::io;

use crate::vm::save::SaveError;

/// Why there are no children. The machine goes on as it was, and no child runs.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    #[error("{field}: {why}")]
    Spec { field: String, why: String },
    #[error(
        "this VMM starts no children; it serves no API, was started with --no-fork, or is a child that was to have none"
    )]
    NoZygote,
    #[error("{what} cannot be forked: {why}")]
    Unforked { what: String, why: &'static str },
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("its memory cannot be shared with children")]
    Memory(#[source] io::Error),
    #[error("the disk of cloud-init cannot be read")]
    Seed(#[source] io::Error),
    #[error("its state cannot be put into words")]
    Text(#[from] serde_json::Error),
    #[error("the process that starts children does not answer; this machine has no more children")]
    Gone(#[source] io::Error),
    #[error("no child runs: {0}")]
    NoSharing(String),
    #[error("the machine's disk {id:?} cannot go on above its image: {why}")]
    NotAbove { id: String, why: String },
    #[error("no child runs: {0}")]
    Child(String),
}
