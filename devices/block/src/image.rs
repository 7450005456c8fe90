//! The image behind a disk: a raw file or a block device, opened once, locked, and known by its facts.

mod chain;
mod direct;
mod error;
mod facts;
mod foreign;
mod header;
mod host;
mod lock;
mod map;
mod medium;
pub mod offline;
mod overlay;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use device_core::files::{Files, Own};
use device_core::ready;

use facts::{facts, whole_sectors};

pub use chain::Source;
pub(crate) use chain::{Part, Place};
pub use direct::Alignment;
pub use error::OpenError;
pub use facts::Facts;
#[cfg(any(test, feature = "testing"))]
pub use header::sealed;
pub use header::{CLUSTER, Header, HeaderError, Identity};
pub(crate) use map::is_of;
pub(crate) use medium::Medium;
pub use overlay::{ContentError, MOST_BASES};
pub(crate) use overlay::{Overlay, map_at};

/// How long a lock may be left of a process that has ended: the kernel closes a ring of io_uring, and with it the
/// files that are registered there, some time after the process that had it.
const AFTERLIFE: Duration = Duration::from_secs(1);
/// Between two looks at such a lock.
const GLANCE: Duration = Duration::from_millis(10);

/// How an image is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// It is never written.
    pub read_only: bool,
    /// Reads and writes go past the host's page cache.
    pub direct: bool,
}

/// An open image. What is learned about it on the way is the same for all lanes.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    mode: Mode,
    file: File,
    /// The same through the page cache, for what direct I/O cannot do.
    cached: Option<File>,
    identity: (u64, u64),
    facts: Facts,
    medium: Medium,
    alignment: Option<Alignment>,
    size: AtomicU64,
    /// A flush has failed: what was written before may be lost, and the host says so but once.
    lost: AtomicBool,
    /// What the file system turned out not to have.
    lacks_discard: AtomicBool,
    lacks_punch: AtomicBool,
    lacks_zero: AtomicBool,
    /// What it is above, if it is an overlay.
    base: Option<Box<Image>>,
    /// Known with the lock.
    overlay: OnceLock<Overlay>,
}

impl Image {
    /// Opens the image at `path` and takes its lock. Fails if it is not there, is no raw image, or is in use.
    pub fn open(path: &Path, mode: Mode) -> Result<Image, OpenError> {
        Image::open_by(path, mode, &Own)
    }

    /// The same by `files`.
    pub fn open_by(path: &Path, mode: Mode, files: &dyn Files) -> Result<Image, OpenError> {
        let image = Image::open_unlocked(path, mode, files)?;
        image.lock()?;
        Ok(image)
    }

    /// An image of `size` zeroes in memory, for tests, that wants `alignment` as if it were opened for direct
    /// I/O.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::unwrap_used)]
    pub fn in_memory(size: u64, read_only: bool, alignment: Option<Alignment>) -> Image {
        let file = host::memory_file().unwrap();
        file.set_len(size).unwrap();
        Image::on(file, size, read_only, alignment)
    }

    /// The same on a file of the test's own.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::unwrap_used)]
    pub(crate) fn on(
        file: File,
        size: u64,
        read_only: bool,
        alignment: Option<Alignment>,
    ) -> Image {
        let about = file.metadata().unwrap();
        Image {
            path: PathBuf::from("memory"),
            mode: Mode { read_only, direct: alignment.is_some() },
            cached: alignment.map(|_| file.try_clone().unwrap()),
            identity: (about.dev(), about.ino()),
            facts: facts(&file, Medium::File, read_only, about.blksize()),
            file,
            medium: Medium::File,
            alignment,
            size: AtomicU64::new(size),
            lost: AtomicBool::new(false),
            lacks_discard: AtomicBool::new(false),
            lacks_punch: AtomicBool::new(false),
            lacks_zero: AtomicBool::new(false),
            base: None,
            overlay: OnceLock::new(),
        }
    }

    /// Opens it by `files`, without its lock, which is to be taken before the image is used.
    pub(crate) fn open_unlocked(
        path: &Path,
        mode: Mode,
        files: &dyn Files,
    ) -> Result<Image, OpenError> {
        let path = path.to_path_buf();
        let failed = |source| OpenError::Open { path: path.clone(), source };
        // What it is must be known before it is opened for good: opening a tape or a terminal can do
        // something, and a pipe can wait.
        let there = match files.open(&path, libc::O_PATH | libc::O_CLOEXEC) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(OpenError::Kind { path });
            }
            there => there.map_err(failed)?,
        };
        let kind = there.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(OpenError::Kind { path });
        }
        let is_device = kind.is_block_device();
        let open = |direct: bool, exclusive: bool| {
            let access = if mode.read_only { libc::O_RDONLY } else { libc::O_RDWR };
            let mut flags = libc::O_CLOEXEC | libc::O_NOCTTY | access;
            if direct {
                flags |= libc::O_DIRECT;
            }
            if exclusive {
                flags |= libc::O_EXCL;
            }
            files.open(&path, flags)
        };
        let exclusive = is_device && !mode.read_only;
        let cached = open(false, exclusive).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY) if exclusive => OpenError::Claimed { path: path.clone() },
            _ => OpenError::Open { path: path.clone(), source },
        })?;
        let about = cached.metadata().map_err(failed)?;
        if about.file_type() != kind {
            return Err(OpenError::Kind { path });
        }
        let identity = (about.dev(), about.ino());
        let (file, cached) = match mode.direct {
            false => (cached, None),
            true => {
                let direct = open(true, false).map_err(|source| match source.raw_os_error() {
                    Some(libc::EINVAL) => OpenError::NoDirect { path: path.clone() },
                    _ => OpenError::Open { path: path.clone(), source },
                })?;
                let about = direct.metadata().map_err(failed)?;
                if (about.dev(), about.ino()) != identity {
                    return Err(OpenError::Kind { path });
                }
                (direct, Some(cached))
            }
        };
        let medium = match is_device {
            true => Medium::Device { block: host::logical_block(&file).map_err(failed)? },
            false => Medium::File,
        };
        let alignment = match mode.direct {
            true => Some(
                direct::alignment(&file, medium)
                    .ok_or_else(|| OpenError::NoDirect { path: path.clone() })?,
            ),
            false => None,
        };
        let mode = Mode { read_only: mode.read_only || is_protected(&file, medium), ..mode };
        let facts = facts(&file, medium, mode.read_only, about.blksize());
        Ok(Image {
            path,
            mode,
            file,
            cached,
            identity,
            facts,
            medium,
            alignment,
            size: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            lacks_discard: AtomicBool::new(false),
            lacks_punch: AtomicBool::new(false),
            lacks_zero: AtomicBool::new(false),
            base: None,
            overlay: OnceLock::new(),
        })
    }

    /// Takes the lock, and then looks at what is in it. Fails if someone has it, or it is no raw image.
    pub(crate) fn lock(&self) -> Result<(), OpenError> {
        self.take_lock()?;
        if self.base.is_some() {
            return self.look();
        }
        let failed = |source| OpenError::Open { path: self.path.clone(), source };
        let mut head = [0; foreign::HEAD];
        let read = read_head(self.through_cache(), &mut head).map_err(failed)?;
        if head.starts_with(&header::MAGIC) {
            return Err(OpenError::NeedsBase { path: self.path.clone() });
        }
        if let Some(format) = foreign::format(head.get(..read).unwrap_or_default()) {
            return Err(OpenError::Format { path: self.path.clone(), format });
        }
        let bytes = self.measure().map_err(failed)?;
        let size = whole_sectors(bytes);
        // An empty file holds the place of an image that comes later.
        if size == 0 && bytes > 0 {
            return Err(OpenError::Empty { path: self.path.clone(), bytes });
        }
        if size < bytes {
            let (path, rest) = (self.path.display(), bytes.wrapping_sub(size));
            tracing::warn!(
                "{path}: its last {rest} bytes are no whole sector, and the guest does not see them"
            );
        }
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the lock alone, that of the image itself. Fails if someone has it.
    fn take_lock(&self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Open { path: self.path.clone(), source };
        let mut left = AFTERLIFE;
        while !lock::take(self.through_cache(), self.mode.read_only).map_err(failed)? {
            if left.is_zero() {
                return Err(OpenError::Locked { path: self.path.clone() });
            }
            ready::pause(GLANCE);
            left = left.saturating_sub(GLANCE);
        }
        Ok(())
    }

    /// Takes the lock once more after [`Image::unlock`], if nobody has it. False if someone has. Fails if the host does.
    pub(crate) fn relock(&self) -> io::Result<bool> {
        lock::take(self.through_cache(), self.mode.read_only)
    }

    /// Lets go of the lock, and those of its bases, while the image is still open.
    pub(crate) fn unlock(&self) {
        if let Err(error) = lock::release(self.through_cache()) {
            tracing::error!("{}: cannot release the lock: {error}", self.path.display());
        }
        if let Some(base) = &self.base {
            base.unlock();
        }
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is open; a device that the host protects is read-only however it was asked for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it is the same file or device as `other`, whatever the paths.
    pub fn is_same_as(&self, other: &Image) -> bool {
        self.identity == other.identity
    }

    /// What a guest may want to know.
    pub fn facts(&self) -> Facts {
        Facts { size: self.size(), ..self.facts }
    }

    /// Bytes that the guest sees.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether `path` leads to this device, which cannot be opened a second time: it is claimed for those who write it.
    pub(crate) fn is_claimed_at(&self, path: &Path) -> bool {
        let device =
            |about: std::fs::Metadata| about.file_type().is_block_device().then_some(about.rdev());
        let (here, there) = (self.file.metadata().ok(), std::fs::metadata(path).ok());
        let (here, there) = (here.and_then(device), there.and_then(device));
        !self.mode.read_only && here.is_some() && here == there
    }

    /// What failed before does not count any more.
    pub(crate) fn forgive(&self) {
        for flag in [&self.lost, &self.lacks_discard, &self.lacks_punch, &self.lacks_zero] {
            flag.store(false, Ordering::Relaxed);
        }
    }

    /// Bytes that the host says it has now; an overlay has always as many. Fails if the host does.
    pub fn measure(&self) -> io::Result<u64> {
        if let Some(overlay) = self.overlay() {
            return Ok(overlay.header.size);
        }
        match self.medium {
            Medium::File => Ok(self.file.metadata()?.len()),
            Medium::Device { .. } => host::device_size(&self.file),
        }
    }

    /// The guest sees so many bytes from now on, rounded down to sectors.
    pub(crate) fn resize(&self, bytes: u64) {
        self.size.store(whole_sectors(bytes), Ordering::Relaxed);
    }

    /// The file for reads and writes that are aligned as [`Image::alignment`] says.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file for those that are not.
    pub fn through_cache(&self) -> &File {
        self.cached.as_ref().unwrap_or(&self.file)
    }

    /// Both files, the second one only if there is one.
    pub fn files(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.file.as_fd(), self.cached.as_ref().map(AsFd::as_fd))
    }

    /// What it is above; `None` unless it is an overlay.
    pub fn base(&self) -> Option<&Image> {
        self.base.as_deref()
    }

    /// What it has of its disk, if it is an overlay.
    #[inline]
    pub(crate) fn overlay(&self) -> Option<&Overlay> {
        self.overlay.get()
    }

    /// What direct I/O wants; `None` if all goes through the page cache.
    #[inline]
    pub fn alignment(&self) -> Option<Alignment> {
        self.alignment
    }

    pub(crate) fn medium(&self) -> Medium {
        self.medium
    }

    /// Whether what was written before may be lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// A flush failed with `error`.
    pub fn lose(&self, error: &io::Error) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "{}: cannot flush: {error}; what the guest wrote may be lost, and its flushes fail until the image is replaced",
                self.path.display()
            );
        }
    }

    pub(crate) fn lacks(&self, what: Ability) -> bool {
        self.ability(what).load(Ordering::Relaxed)
    }

    /// The host has no such call for this image.
    pub(crate) fn set_lacks(&self, what: Ability) {
        if !self.ability(what).swap(true, Ordering::Relaxed) {
            tracing::info!("{}: the host cannot {} here", self.path.display(), what.verb());
        }
    }

    fn ability(&self, what: Ability) -> &AtomicBool {
        match what {
            Ability::Discard => &self.lacks_discard,
            Ability::Punch => &self.lacks_punch,
            Ability::Zero => &self.lacks_zero,
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // An io_uring that is gone may hold the file for a while longer, and so the lock.
        self.unlock();
    }
}

/// What not every file system and device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Discard a range of a device.
    Discard,
    /// Punch a hole into a file.
    Punch,
    /// Zero a range and keep its space.
    Zero,
}

impl Ability {
    fn verb(self) -> &'static str {
        match self {
            Ability::Discard => "discard",
            Ability::Punch => "punch holes",
            Ability::Zero => "zero ranges",
        }
    }
}

fn is_protected(file: &File, medium: Medium) -> bool {
    matches!(medium, Medium::Device { .. }) && host::is_read_only(file)
}

/// Fills `head` from the beginning of the file; how many bytes there are.
fn read_head(file: &File, head: &mut [u8]) -> io::Result<usize> {
    let mut read = 0usize;
    while let Some(rest) = head.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64) {
            Ok(0) => break,
            Ok(more) => read = read.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
