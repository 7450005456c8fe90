//! A file that could not be written.

use std::io;
use std::path::{Path, PathBuf};

/// Which, and why.
#[derive(Debug)]
pub struct Unwritten {
    /// Its place.
    pub path: PathBuf,
    /// What the host said.
    pub source: io::Error,
}

/// Names the file of an error.
pub fn at(path: &Path) -> impl Fn(io::Error) -> Unwritten + '_ {
    |source| Unwritten { path: path.to_owned(), source }
}
