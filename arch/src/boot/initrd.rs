//! The initial RAM disk: any bytes, as long as they are there.

use std::fs::File;
use std::path::Path;

use super::file::{FileError, InputFile};

const ROLE: &str = "initrd";

/// Why a file cannot be an initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// The file cannot be used at all.
    #[error(transparent)]
    File(#[from] FileError),
}

/// An opened initrd.
#[derive(Debug)]
pub struct Initrd {
    pub(crate) input: InputFile,
}

impl Initrd {
    /// Opens `path`. Fails unless it is a readable regular file that is not empty.
    pub fn open(path: &Path) -> Result<Self, InitrdError> {
        let input = InputFile::open(ROLE, path)?;
        Ok(Self { input })
    }

    /// The same from an open file; `name` is for messages. Fails unless it is a regular file that is not
    /// empty.
    pub fn from_file(file: File, name: &str) -> Result<Self, InitrdError> {
        let input = InputFile::new(ROLE, file, name)?;
        Ok(Self { input })
    }

    /// Its path, or the name it was given for messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Size in bytes, at least 1.
    pub fn size(&self) -> u64 {
        self.input.len
    }
}
