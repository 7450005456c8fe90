//! Why nothing can be booted from a disk.

use std::io;

use super::source::ReadError;

/// Why nothing can be booted from a disk; the disk's path stands in each line.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The host cannot read it.
    #[error("disk {name} cannot be read")]
    Host {
        /// The disk's path.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// It is an image in a format other than raw, or packed.
    #[error("disk {name} is no raw image: {guess}")]
    NotRaw {
        /// The disk's path.
        name: String,
        /// What it is, and what to do about it.
        guess: &'static str,
    },
    /// Its partition table is there but not to be understood.
    #[error("disk {name} cannot be booted from: {reason}")]
    Table {
        /// The disk's path.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// No kernel was found on it.
    #[error(
        "disk {name} has no kernel that was found: {reason}; give a kernel and its command line"
    )]
    NoKernel {
        /// The disk's path.
        name: String,
        /// What was looked at, part by part.
        reason: String,
    },
    /// A file that is to be booted is missing or cannot be read.
    #[error("disk {name}: {by} boots {file}, but {reason}")]
    File {
        /// The disk's path.
        name: String,
        /// What chose the file.
        by: String,
        /// The file, and where it is.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel for another processor.
    #[error(
        "disk {name} is for another processor: {file} is a kernel for aarch64; x86-64 is needed"
    )]
    OtherProcessor {
        /// The disk's path.
        name: String,
        /// The kernel, and where it is.
        file: String,
    },
}

impl DiskError {
    /// What `error` means for a disk that could not be understood.
    pub(crate) fn of(name: &str, error: ReadError) -> Self {
        let name = name.to_owned();
        match error {
            ReadError::Host(source) => Self::Host { name, source },
            error => Self::Table { name, reason: error.to_string() },
        }
    }
}
