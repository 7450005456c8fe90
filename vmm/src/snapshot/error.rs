//! Why a snapshot could not be written or read, in one line with the file's name.

use std::io;
use std::path::PathBuf;

use crate::vm::restore::RestoreError;
use crate::vm::save::SaveError;

/// Why a snapshot was not written. The machine is paused, as it was, and no file has changed.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(
        "snapshot_path and mem_file_path are both {}; state and memory need a file each",
        .0.display()
    )]
    OneFile(PathBuf),
    #[error("{}: it is no regular file; name another", .0.display())]
    NoFile(PathBuf),
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{what} cannot be saved: {why}")]
    Unsaved { what: String, why: &'static str },
    #[error("its state cannot be put into words")]
    Text(#[from] serde_json::Error),
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it is no snapshot of vmm")]
    NotOurs,
    #[error("it has {found} bytes, and a snapshot's state has {least} to {most}")]
    Size { found: u64, least: u64, most: u64 },
    #[error(
        "its format is {found}; this vmm reads {known} and older: restore it by the vmm that wrote it"
    )]
    Newer { found: u32, known: u32 },
    #[error(
        "its parts have {told} bytes and it has {found}: it is cut off, or something was added"
    )]
    Length { told: u64, found: u64 },
    #[error("it is damaged: its digest is not that of its content")]
    Digest,
    #[error("its {part} is not as format {format} has it")]
    Form { part: &'static str, format: u32, source: serde_json::Error },
    #[error("it is of {found}, and this vmm runs {own}")]
    Architecture { found: String, own: &'static str },
}

/// Why a snapshot was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("snapshot {}", path.display())]
    Read { path: PathBuf, source: ReadError },
    #[error("memory {}: it cannot be read", path.display())]
    Memory { path: PathBuf, source: io::Error },
    #[error("memory {}: it is no regular file", .0.display())]
    MemoryIsNoFile(PathBuf),
    #[error("memory {}: it has {found} bytes, and the machine {wanted}", path.display())]
    MemoryLength { path: PathBuf, found: u64, wanted: u64 },
    #[error("memory {}: it is not the one of this snapshot, or damaged at {at:#x}", path.display())]
    OtherMemory { path: PathBuf, at: u64 },
    #[error("the snapshot's configuration: {0}")]
    Config(String),
    #[error("the snapshot has no {kind} {id:?}")]
    Unknown { kind: &'static str, id: String },
    #[error("the snapshot names nothing that was booted")]
    NoBoot,
    #[error("it cannot go on as the machine that was forked")]
    Child(#[source] Box<RestoreError>),
    #[error("a machine that was forked with it cannot go on")]
    Alone,
    #[error("snapshot {}", path.display())]
    Restore { path: PathBuf, source: Box<RestoreError> },
}
