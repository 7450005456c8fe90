//! What can be asked of snapshots.

use std::path::PathBuf;

/// Where a snapshot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSpec {
    /// The state.
    pub state: PathBuf,
    /// The memory.
    pub memory: PathBuf,
    /// Whether only that part of the memory is written that has changed since the last snapshot.
    pub is_diff: bool,
}

/// What to make a machine from, and how it differs from the one that was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSpec {
    /// The state.
    pub state: PathBuf,
    /// The memory.
    pub memory: PathBuf,
    /// Whether pages that the guest writes to are tracked from now on.
    pub track: bool,
    /// Whether the machine runs at once.
    pub resume: bool,
    /// TAPs in place of those that cards had, by the cards' ids.
    pub taps: Vec<(String, String)>,
    /// Images in place of those that disks had, by the disks' ids.
    pub images: Vec<(String, PathBuf)>,
    /// The vsock's socket in place of the one that it had.
    pub vsock: Option<PathBuf>,
    /// Whether the guest's clock goes on with the time that passed; if nobody says so, as the machine's face has it.
    pub advance: Option<bool>,
}

/// The files of a snapshot in a folder of its own.
pub const STATE: &str = "state";
/// See [`STATE`].
pub const MEMORY: &str = "memory";
