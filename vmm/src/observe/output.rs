//! Files that lines are appended to: logs and metrics.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Opens `path` to append to; makes it, with mode 0600, if there is none. Writing never blocks: what
/// a pipe has no room for is lost.
pub fn open(path: &Path) -> Result<File, OutputError> {
    // A pipe that nobody reads yet can be opened for both ways only.
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    file.map_err(|source| OutputError { path: path.into(), source })
}
