//! Files that lines are appended to: logs and metrics.

use std::io;
use std::path::{Path, PathBuf};

use device_core::output::{self, Before, Lines, Output};

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Opens `path` to append to; makes it, with mode 0600, if there is none. Writing never waits: what
/// a pipe has no room for is lost.
pub fn open(path: &Path) -> Result<Lines, OutputError> {
    let file = output::open(path, Before::Kept);
    let file = file.map_err(|source| OutputError { path: path.into(), source })?;
    Ok(Lines::new(Output::own(file)))
}
