//! Why a snapshot could not be written or read, in one line with the file's name.

use std::io;
use std::path::PathBuf;

use devices::net::control::NoSuchRequest;

use super::unwritten::Unwritten;
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
    #[error(
        "{}: it has memory that is not of the last snapshot, and changes cannot be added to it; name another file",
        .0.display()
    )]
    OtherMemory(PathBuf),
    #[error(
        "network card {0}: the host's kernel moves its frames (backend=vhost), and nobody tracks what it writes to \
         memory; write a snapshot of type Full, or start the machine with the card's backend=vmm or without tracking"
    )]
    Untracked(String),
    #[error("KVM does not tell which memory has changed")]
    Changes(#[source] io::Error),
    #[error("the host has no random bytes for its name")]
    Name(#[source] io::Error),
    #[error("cannot read the disk of cloud-init")]
    Seed(#[source] io::Error),
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
    #[error("its list of changed pages is not in order, or goes beyond the memory")]
    Runs,
    #[error("it is of {found}, and this vmm runs {own}")]
    Architecture { found: String, own: &'static str },
}

impl From<Unwritten> for CreateError {
    fn from(Unwritten { path, source }: Unwritten) -> CreateError {
        CreateError::Write { path, source }
    }
}

/// Why snapshots were not merged. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "snapshot {}: it has only what has changed since snapshot {wanted}; name that first",
        path.display()
    )]
    NotWhole { path: PathBuf, wanted: String },
    #[error("snapshot {}: it has all of its memory, and goes over no other", .0.display())]
    NoDiff(PathBuf),
    #[error(
        "snapshot {}: it is what has changed since snapshot {wanted}, and that before it is {found}",
        path.display()
    )]
    OtherBase { path: PathBuf, wanted: String, found: String },
    #[error("{}: it cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: it is no regular file", .0.display())]
    NoFile(PathBuf),
    #[error("{}: it has {found} bytes, and the memory {wanted}", path.display())]
    Length { path: PathBuf, found: u64, wanted: u64 },
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl From<Unwritten> for MergeError {
    fn from(Unwritten { path, source }: Unwritten) -> MergeError {
        MergeError::Write { path, source }
    }
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
    #[error(
        "memory {}: it has not all of the memory, or not of this snapshot; lay the changes over their base first, by \
         vmm snapshot merge",
        .0.display()
    )]
    NotMerged(PathBuf),
    #[error("record {}: it cannot be made", path.display())]
    Record { path: PathBuf, source: io::Error },
    #[error("the snapshot's configuration: {0}")]
    Config(String),
    #[error("the machine has no {kind} {id:?}")]
    Unknown { kind: &'static str, id: String },
    #[error("network card {id:?}")]
    Driver { id: String, source: NoSuchRequest },
    #[error("cannot keep the disk of cloud-init in memory")]
    Seed(#[source] io::Error),
    #[error("the snapshot names nothing that was booted")]
    NoBoot,
    #[error("it cannot go on as the machine that was forked")]
    Child(#[source] Box<RestoreError>),
    #[error("the machine cannot be here")]
    Arrive(#[source] Box<RestoreError>),
    #[error("a machine that was forked with it cannot go on")]
    Alone,
    #[error("snapshot {}", path.display())]
    Restore { path: PathBuf, source: Box<RestoreError> },
}
