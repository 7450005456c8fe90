//! Input files: opened without waiting, checked to be what can be loaded, read at offsets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Why a file cannot be used at all; `role` says for what, as in "kernel".
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing is at the path.
    #[error("{role} {name} does not exist")]
    Missing {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
    },
    /// A directory is at the path.
    #[error("{role} {name} is a directory")]
    Directory {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
    },
    /// A pipe, socket or device is at the path.
    #[error("{role} {name} is no regular file; copy it into one first")]
    Special {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
    },
    /// Its permissions forbid it.
    #[error("{role} {name} may not be read by this user")]
    Denied {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
    },
    /// It has no bytes.
    #[error("{role} {name} is empty")]
    Empty {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
    },
    /// Any other failure of the host.
    #[error("{role} {name} cannot be read")]
    Io {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
        /// What the host said.
        source: io::Error,
    },
}

/// A regular file that is not empty, with the words that its errors carry.
#[derive(Debug)]
pub(crate) struct InputFile {
    /// Open for reading.
    pub file: File,
    /// What the file is for, as in "kernel".
    pub role: &'static str,
    /// Its path, or the name it was given for messages.
    pub name: String,
    /// Bytes of the file.
    pub len: u64,
}

impl InputFile {
    /// Opens `path`; never blocks, not even on a pipe. Fails unless it is a readable regular file that
    /// is not empty.
    pub fn open(role: &'static str, path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        // Opening a pipe waits for its writer, so look first. What is opened is looked at again.
        std::fs::metadata(path)
            .map_err(|source| failure(role, &name, source))
            .and_then(|metadata| check_kind(&metadata, role, &name))?;
        let file = File::open(path).map_err(|source| failure(role, &name, source))?;
        Self::new(role, file, &name)
    }

    /// The same of an open file.
    pub fn new(role: &'static str, file: File, name: &str) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(|source| failure(role, name, source))?;
        check_kind(&metadata, role, name)?;
        let name = name.to_owned();
        match metadata.len() {
            0 => Err(FileError::Empty { role, name }),
            len => Ok(Self { file, role, name, len }),
        }
    }

    /// Fills `buffer` from `offset` as far as the file goes; returns how many bytes that were. Fails if
    /// the host cannot read them.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FileError> {
        // Offsets from hostile headers may be beyond what the system call takes.
        if offset >= self.len {
            return Ok(0);
        }
        let mut filled = 0usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failure(self.role, &self.name, source)),
            }
        }
        Ok(filled)
    }
}

fn check_kind(
    metadata: &std::fs::Metadata,
    role: &'static str,
    name: &str,
) -> Result<(), FileError> {
    let name = name.to_owned();
    match metadata {
        m if m.is_dir() => Err(FileError::Directory { role, name }),
        m if !m.is_file() => Err(FileError::Special { role, name }),
        _ => Ok(()),
    }
}

fn failure(role: &'static str, name: &str, source: io::Error) -> FileError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { role, name },
        io::ErrorKind::PermissionDenied => FileError::Denied { role, name },
        _ => FileError::Io { role, name, source },
    }
}
