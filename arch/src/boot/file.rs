//! Input files: opened without waiting, checked to be what can be loaded, read at offsets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no file {name}")]
    Missing { name: String },
    #[error("{name} is a directory")]
    Directory { name: String },
    #[error("{name} is no regular file; copy it into one first")]
    Special { name: String },
    #[error("{name} may not be read by this user")]
    Denied { name: String },
    #[error("{name} is empty")]
    Empty { name: String },
    #[error("{name} cannot be read")]
    Io { name: String, source: io::Error },
}

/// A regular file that is not empty, with the name that its errors carry.
#[derive(Debug)]
pub(crate) struct InputFile {
    pub file: File,
    pub name: String,
    pub len: u64,
}

impl InputFile {
    /// Opens `path`; never blocks, not even on a pipe.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        // Opening a pipe waits for its writer, so look first. What is opened is looked at again.
        let metadata = std::fs::metadata(path).map_err(|source| failure(&name, source))?;
        check_kind(&metadata, &name)?;
        let file = File::open(path).map_err(|source| failure(&name, source))?;
        Self::new(file, &name)
    }

    pub fn new(file: File, name: &str) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(|source| failure(name, source))?;
        check_kind(&metadata, name)?;
        if metadata.len() == 0 {
            let name = name.to_owned();
            return Err(FileError::Empty { name });
        }
        Ok(Self { file, name: name.to_owned(), len: metadata.len() })
    }

    /// Fills `buffer` from `offset` as far as the file goes; returns how many bytes that were.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FileError> {
        let mut filled = 0usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failure(&self.name, source)),
            }
        }
        Ok(filled)
    }
}

fn check_kind(metadata: &std::fs::Metadata, name: &str) -> Result<(), FileError> {
    let name = name.to_owned();
    match metadata {
        m if m.is_dir() => Err(FileError::Directory { name }),
        m if !m.is_file() => Err(FileError::Special { name }),
        _ => Ok(()),
    }
}

fn failure(name: &str, source: io::Error) -> FileError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { name },
        io::ErrorKind::PermissionDenied => FileError::Denied { name },
        _ => FileError::Io { name, source },
    }
}
