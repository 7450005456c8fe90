//! The initial RAM disk: any bytes, as long as they are there.

use std::fs::File;
use std::path::Path;

use super::file::{FileError, InputFile};

const ROLE: &str = "initrd";

#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    #[error(transparent)]
    File(#[from] FileError),
}

/// An opened initrd.
#[derive(Debug)]
pub struct Initrd {
    pub(crate) input: InputFile,
}

impl Initrd {
    pub fn open(path: &Path) -> Result<Self, InitrdError> {
        let input = InputFile::open(ROLE, path)?;
        Ok(Self { input })
    }

    /// The same from an open file; `name` is for messages.
    pub fn from_file(file: File, name: &str) -> Result<Self, InitrdError> {
        let input = InputFile::new(ROLE, file, name)?;
        Ok(Self { input })
    }

    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.input.len
    }
}
