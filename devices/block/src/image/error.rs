//! Why an image cannot be had.

use std::io;
use std::path::PathBuf;

use super::overlay::{ContentError, MOST_BASES};
use crate::request::SECTOR;

/// Why an image cannot be had. Says what to do, and names the file; each surface names its field.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or not for us.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A block device that someone has for himself, such as one that is mounted.
    #[error("{} is in use by the host or another process, such as mounted; release it first", path.display())]
    Claimed {
        /// The device.
        path: PathBuf,
    },
    /// Neither a file nor a block device.
    #[error("{} is neither a regular file nor a block device", path.display())]
    Kind {
        /// What it leads to.
        path: PathBuf,
    },
    /// Someone else has it.
    #[error(
        "{} is in use by another process, which holds a lock on it; stop that one, or give both the disk read-only",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Another format than raw.
    #[error("{} is a {format} image, and only raw ones are taken; convert it: qemu-img convert -O raw {} disk.raw",
        path.display(), path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: &'static str,
    },
    /// Something, but not a sector.
    #[error("{} has {bytes} bytes, less than a sector of {SECTOR}; make it larger: truncate -s 1G {}",
        path.display(), path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
    },
    /// An overlay, of which nobody said what is below it.
    #[error("{} is an overlay; name its base too: base=FILE", path.display())]
    NeedsBase {
        /// The file.
        path: PathBuf,
    },
    /// Not an overlay that is whole.
    #[error("{} cannot be an overlay", path.display())]
    Overlay {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ContentError,
    },
    /// An overlay on something else.
    #[error("{} is not as it was when the overlay {} was made on it: {how}", base.display(), path.display())]
    OtherBase {
        /// The overlay.
        path: PathBuf,
        /// What was named as its base.
        base: PathBuf,
        /// In what it differs.
        how: String,
    },
    /// An overlay that is below itself, too.
    #[error("{} cannot be an overlay on itself; name another file for what is written", path.display())]
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// More bases than a disk can have.
    #[error("{} has {count} bases below it, and a disk at most {MOST_BASES}; make one image of some: vmm disk flatten", path.display())]
    TooManyBases {
        /// The overlay.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The host's page cache cannot be passed by.
    #[error("the file system of {} has no direct I/O; leave it off for this image", path.display())]
    NoDirect {
        /// The file.
        path: PathBuf,
    },
}
