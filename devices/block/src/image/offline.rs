//! What can be done to overlays that no machine has: made, made one image with what is below, put on another base.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use device_core::files::{Files, Own};

use super::header::{CLUSTER, Header, MOST_SIZE, PAGE};
use super::overlay::{ContentError, Overlay};
use super::{Image, Mode, OpenError, Part, Source};
use crate::request::SECTOR;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// An image is not to be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is to be made is there.
    #[error("{} is there already; name a file that is not", .0.display())]
    There(PathBuf),
    /// Not a size of a disk on this base.
    #[error(
        "{size} bytes; take a multiple of {SECTOR} that is no less than the {least} of the base, and at most {MOST_SIZE}"
    )]
    Size {
        /// Bytes that were asked for.
        size: u64,
        /// Bytes that it has to have.
        least: u64,
    },
    /// The host does not take what is to be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The host does not give what is to be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

/// What the file of an overlay says, without its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Of what disk it is, and on which base.
    pub header: Header,
    /// Bytes of the disk that it has itself.
    pub bytes: u64,
}

/// Looks at the overlay at `path`, beside whoever has it. Fails if it is none, or not whole.
pub fn look(path: &Path) -> Result<About, OpenError> {
    let failed = |source| OpenError::Overlay { path: path.into(), source };
    // Opening a pipe would wait.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = Own.open(path, flags);
    let file = opened.map_err(|source| OpenError::Open { path: path.into(), source })?;
    if !file.metadata().map_err(|error| failed(error.into()))?.is_file() {
        return Err(failed(ContentError::Device));
    }
    look_into(&file).map_err(failed)
}

/// The same of a file that is open, whoever has written it.
pub fn look_into(file: &File) -> Result<About, ContentError> {
    let overlay = Overlay::read(file, true)?;
    let bytes = overlay.map.count().saturating_mul(CLUSTER).min(overlay.header.size);
    Ok(About { header: overlay.header, bytes })
}

/// Opens all of a disk to read it, with locks as for that. Fails as a machine would.
pub fn open(source: &Source<'_>) -> Result<Image, OpenError> {
    Image::open_source(source, Mode { read_only: true, direct: false }, &Own)
}

/// Makes an overlay, of `size` bytes or as large as its base. Fails if something is in its place, or the base is not
/// to be had.
pub fn create(source: &Source<'_>, size: Option<u64>) -> Result<Header, OfflineError> {
    let Source { path, bases } = *source;
    let base = match bases.split_first() {
        Some((path, bases)) => open(&Source { path, bases })?,
        None => return Err(OpenError::NeedsBase { path: path.into() }.into()),
    };
    let (size, least) = (size.unwrap_or(base.size()), base.size());
    if size < least || !(SECTOR..=MOST_SIZE).contains(&size) || size % SECTOR != 0 {
        return Err(OfflineError::Size { size, least });
    }
    let failed = |source| OpenError::Overlay { path: path.into(), source };
    let is = base.identity_as_base().map_err(|error| failed(error.into()))?;
    let made = new_file(path, |file| match Overlay::create(file, size, is) {
        Err(ContentError::Host(error)) => Err(error),
        made => made.map_err(io::Error::other).and_then(|made| file.sync_all().map(|()| made)),
    })?;
    Ok(made.header)
}

/// Writes all of the disk at `source` to a new raw image at `to`, with holes where there is nothing but zeroes. Fails
/// if something is in its place, or what is at `source` is not to be had; then nothing is left there.
pub fn flatten(source: &Source<'_>, to: &Path) -> Result<u64, OfflineError> {
    let image = open(source)?;
    let mut read = Ok(());
    new_file(to, |file| {
        file.set_len(image.size())?;
        let copied = copy(&image, file)?;
        read = copied;
        file.sync_all()
    })?;
    if let Err(error) = read {
        // What is there is of no use.
        let _ = std::fs::remove_file(to);
        return Err(OfflineError::Read { path: source.path.into(), source: error });
    }
    Ok(image.size())
}

/// Fails if the host cannot write; what it cannot read is in the result.
fn copy(image: &Image, to: &File) -> io::Result<io::Result<()>> {
    let (size, mut offset) = (image.size(), 0u64);
    let mut bytes = vec![0; CLUSTER as usize];
    while offset < size {
        let (part, len) = image.locate(offset, size.saturating_sub(offset));
        if part == Part::Nowhere {
            offset = offset.saturating_add(len);
            continue;
        }
        let here = CLUSTER.min(len);
        let Some(bytes) = bytes.get_mut(..here as usize) else { break };
        if let Err(error) = image.read_disk_at(bytes, offset) {
            return Ok(Err(error));
        }
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, offset)?;
        }
        offset = offset.saturating_add(here);
    }
    Ok(Ok(()))
}

/// Has the overlay at `source` be on what it names as its base from now on, whose bytes are as those were that it was on:
/// that is for who asks to know. Fails if one of them is not to be had, or the base has another size.
pub fn rebase(source: &Source<'_>) -> Result<(), OfflineError> {
    let Source { path, bases } = *source;
    let base = match bases.split_first() {
        Some((path, bases)) => open(&Source { path, bases })?,
        None => return Err(OpenError::NeedsBase { path: path.into() }.into()),
    };
    let header = look(path)?.header;
    let is = base.identity_as_base();
    let is = is.map_err(|source| OfflineError::Read { path: base.path().into(), source })?;
    if is.size != header.base.size {
        let how = format!("it had {} bytes, and has {}", header.base.size, is.size);
        let base = base.path().into();
        return Err(OpenError::OtherBase { path: path.into(), base, how }.into());
    }
    let own = Image::open_unlocked(path, Mode { read_only: false, direct: false }, &Own)?;
    own.take_lock()?;
    let page: [u8; PAGE as usize] = Header { base: is, ..header }.to_page();
    let written = own.file().write_all_at(&page, 0).and_then(|()| own.file().sync_all());
    written.map_err(|source| OfflineError::Write { path: path.into(), source })
}

/// Makes a file that was not there, for its owner alone, and lets `fill` fill it. Fails as that does; then it is gone.
fn new_file<T>(path: &Path, fill: impl FnOnce(&File) -> io::Result<T>) -> Result<T, OfflineError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => OfflineError::There(path.into()),
        _ => OfflineError::Write { path: path.into(), source },
    };
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    let file = Own.open(path, flags).map_err(failed)?;
    fill(&file).map_err(|error| {
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}

#[cfg(test)]
#[path = "offline_test.rs"]
mod tests;
