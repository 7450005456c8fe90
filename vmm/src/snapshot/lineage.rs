//! Which snapshots a machine comes from, so that what has changed can be laid over one of them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use super::memory_file::{self, Sums};

/// A snapshot that the machine was written to, or came from.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// Its memory.
    pub memory: Sums,
    /// Whether the file has all of that, and not only what has changed.
    pub is_whole: bool,
    /// The file with that, as it was then; nothing if the host does not tell.
    pub file: Option<FileId>,
}

impl Member {
    /// Whether `file` has what its file had.
    pub fn is_in(&self, file: &File) -> bool {
        if self.file.is_some() && FileId::of(file).ok() == self.file {
            return true;
        }
        let found = match &self.memory.changed {
            Some(changed) if !self.is_whole => memory_file::check_changed(file, changed),
            _ => memory_file::check(file, &self.memory),
        };
        matches!(found, Ok(None))
    }
}

/// The machine's snapshots that matter to the next.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// The last one.
    pub last: Member,
    /// The one since which changes are known: the last as well, where they are tracked.
    pub origin: Member,
}

impl Lineage {
    /// Of a machine that comes from the snapshot of this name, with all of its `memory` in `file`, if it
    /// comes from one.
    pub fn of_loaded(id: String, memory: Sums, file: Option<&File>) -> Lineage {
        let file = file.and_then(|file| FileId::of(file).ok());
        let member = Member { id, memory, is_whole: true, file };
        Lineage { last: member.clone(), origin: member }
    }
}

/// A file as it is at a moment. Whoever writes to it makes it another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl FileId {
    /// Of the open `file`. Fails if the host does not tell.
    pub fn of(file: &File) -> io::Result<FileId> {
        Ok(FileId::from(&file.metadata()?))
    }
}

impl From<&Metadata> for FileId {
    fn from(found: &Metadata) -> FileId {
        FileId {
            device: found.dev(),
            inode: found.ino(),
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}
