//! Images one above the other: how they are opened, and which of them has what of the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use device_core::files::{Files, Own};

use super::header::{CLUSTER, Identity, nanoseconds};
use super::overlay::{ContentError, MOST_BASES, Overlay};
use super::{Alignment, Image, Medium, Mode, OpenError};

/// Where the bytes of a disk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// A raw image; or an overlay, if there are bases.
    pub path: &'a Path,
    /// What is below it: overlays, the nearest first, and in the end a raw image.
    pub bases: &'a [PathBuf],
}

impl<'a> Source<'a> {
    /// A raw image.
    pub fn raw(path: &'a Path) -> Source<'a> {
        Source { path, bases: &[] }
    }
}

/// By which file of an image something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place(u8);

impl Place {
    /// How many there are.
    pub const COUNT: usize = 2 * (MOST_BASES + 1);
    /// The image's own, as it was asked for.
    pub const FILE: Place = Place(0);
    /// The image's own, through the page cache.
    pub const CACHED: Place = Place(1);

    /// Of what is so many below the image.
    pub fn new(below: u8, cached: bool) -> Place {
        Place(below.saturating_mul(2) | u8::from(cached))
    }

    /// Whether it goes through the page cache, of an image that otherwise does not.
    pub fn is_cached(self) -> bool {
        self.0 & 1 != 0
    }

    /// How many below the image.
    pub fn below(self) -> usize {
        usize::from(self.0 / 2)
    }

    /// Its number among all.
    pub fn index(self) -> u32 {
        self.0.into()
    }
}

/// What has a part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The image that is so many below, there.
    In { below: u8, at: u64 },
    /// Nothing: it reads as zeroes.
    Nowhere,
}

impl Image {
    /// Opens what is at `source` and takes its locks; an overlay that is not there, or is empty, is made. Fails if
    /// something is not there, is no image, does not fit what is above it, or is in use.
    pub fn open_source(
        source: &Source<'_>,
        mode: Mode,
        files: &dyn Files,
    ) -> Result<Image, OpenError> {
        let image = Image::open_source_unlocked(source, mode, files)?;
        image.lock()?;
        Ok(image)
    }

    /// Opens an overlay for reading, beside whoever writes to it: its own lock is not taken. Fails as
    /// [`Image::open_source`] does.
    pub fn open_beside(source: &Source<'_>) -> Result<Image, OpenError> {
        let mode = Mode { read_only: true, direct: false };
        let image = Image::open_source_unlocked(source, mode, &Own)?;
        image.look()?;
        Ok(image)
    }

    /// An overlay on `base` in a file of the test's own, for tests: of `size` bytes, and made, if the file is empty.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::unwrap_used)]
    pub fn above(base: Image, file: File, size: u64, alignment: Option<Alignment>) -> Image {
        let mut image = Image::on(file, size, false, alignment);
        let overlay = match image.file.metadata().unwrap().len() {
            0 => Overlay::create(&image.file, size, base.identity_as_base().unwrap()),
            _ => Overlay::read(&image.file, false),
        };
        image.overlay.set(overlay.unwrap()).unwrap();
        image.base = Some(Box::new(base));
        image
    }

    /// The same without locks, which are to be taken before the image is used.
    pub(crate) fn open_source_unlocked(
        source: &Source<'_>,
        mode: Mode,
        files: &dyn Files,
    ) -> Result<Image, OpenError> {
        let Source { path, bases } = *source;
        let Some((nearest, rest)) = bases.split_first() else {
            return Image::open_unlocked(path, mode, files);
        };
        if bases.len() > MOST_BASES {
            return Err(OpenError::TooManyBases { path: path.into(), count: bases.len() });
        }
        let below = Source { path: nearest, bases: rest };
        let base = Image::open_source_unlocked(&below, Mode { read_only: true, ..mode }, files)?;
        let mut image = match Image::open_unlocked(path, mode, files) {
            Err(OpenError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !mode.read_only =>
            {
                let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
                let failed = |source| OpenError::Open { path: path.into(), source };
                files.open(path, flags).map_err(failed)?;
                Image::open_unlocked(path, mode, files)?
            }
            opened => opened?,
        };
        if image.medium != Medium::File {
            let source = ContentError::Device;
            return Err(OpenError::Overlay { path: path.into(), source });
        }
        for below in std::iter::successors(Some(&base), |image| image.base()) {
            if below.is_same_file(&image)? {
                return Err(OpenError::Itself { path: path.into() });
            }
        }
        image.alignment = stricter(image.alignment, base.alignment);
        image.base = Some(Box::new(base));
        Ok(image)
    }

    /// Looks at what is in an overlay that is locked, and in what is below.
    pub(super) fn look(&self) -> Result<(), OpenError> {
        let Some(base) = &self.base else { return Ok(()) };
        base.lock()?;
        let (path, file) = (&self.path, self.through_cache());
        let failed = |source| OpenError::Overlay { path: path.clone(), source };
        let is = base.identity_as_base().map_err(|error| failed(error.into()))?;
        if is.size == 0 {
            return Err(OpenError::Empty { path: base.path.clone(), bytes: 0 });
        }
        let len = file.metadata().map_err(|error| failed(error.into()))?.len();
        let overlay = match len {
            0 if !self.mode.read_only => Overlay::create(file, is.size, is),
            _ => Overlay::read(file, self.mode.read_only),
        };
        let overlay = overlay.map_err(failed)?;
        let was = overlay.header.base;
        let how = if was.size != is.size {
            Some(format!("it had {} bytes, and has {}", was.size, is.size))
        } else if was.modified != is.modified {
            Some(format!(
                "it has been written, or copied, since; if its bytes are the same all the same: vmm disk rebase {} {}",
                path.display(),
                base.path.display()
            ))
        } else {
            None
        };
        if let Some(how) = how {
            return Err(OpenError::OtherBase { path: path.clone(), base: base.path.clone(), how });
        }
        self.size.store(overlay.header.size, Ordering::Relaxed);
        // What it was before, if the lock was taken twice, is the same.
        let _ = self.overlay.set(overlay);
        Ok(())
    }

    /// Whether it is another's file, by whatever path.
    fn is_same_file(&self, other: &Image) -> Result<bool, OpenError> {
        let place = |image: &Image| {
            let facts = image.file.metadata();
            let facts =
                facts.map_err(|source| OpenError::Open { path: image.path.clone(), source });
            facts.map(|facts| (facts.dev(), facts.ino()))
        };
        Ok(place(self)? == place(other)?)
    }

    /// What an overlay knows of it as its base. Fails if the host does.
    pub fn identity_as_base(&self) -> io::Result<Identity> {
        let modified = match self.medium {
            Medium::File => nanoseconds(self.file.metadata()?.modified()?),
            Medium::Device { .. } => 0,
        };
        Ok(Identity { size: self.size(), modified })
    }

    /// What is so many below it; itself for 0.
    pub(crate) fn below(&self, count: usize) -> Option<&Image> {
        std::iter::successors(Some(self), |image| image.base()).nth(count)
    }

    /// The paths of all that is below it, the nearest first.
    pub fn bases(&self) -> Vec<PathBuf> {
        let images = std::iter::successors(self.base(), |image| image.base());
        images.map(|image| image.path.clone()).collect()
    }

    /// The file that `place` is; its own if there is none.
    pub(crate) fn at(&self, place: Place) -> &File {
        let image = match place.below() {
            0 => self,
            count => self.below(count).unwrap_or(self),
        };
        if place.is_cached() { image.through_cache() } else { image.file() }
    }

    /// What has the byte at `offset` of the disk, and how many more of `len` bytes.
    pub(crate) fn locate(&self, offset: u64, len: u64) -> (Part, u64) {
        let (mut image, mut below, mut len) = (self, 0u8, len);
        loop {
            let left = image.size().saturating_sub(offset);
            if left == 0 {
                return (Part::Nowhere, len);
            }
            len = len.min(left);
            let Some((overlay, base)) = image.overlay().zip(image.base()) else {
                return (Part::In { below, at: offset }, len);
            };
            let (has, run) = overlay.run(offset, len);
            len = run;
            if has {
                return (Part::In { below, at: overlay.place(offset) }, len);
            }
            (image, below) = (base, below.saturating_add(1));
        }
    }

    /// Fills `into` with what is at `offset` of the disk, whoever has it. Fails if that is not all on it, or the host
    /// does.
    pub fn read_disk_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(into.len() as u64) > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut into, mut offset) = (into, offset);
        while !into.is_empty() {
            let (part, len) = self.locate(offset, into.len() as u64);
            let here = into.len().min(len as usize).max(1);
            let Some((now, later)) = into.split_at_mut_checked(here) else { return Ok(()) };
            match part {
                Part::Nowhere => now.fill(0),
                Part::In { below, at } => {
                    self.at(Place::new(below, true)).read_exact_at(now, at)?;
                }
            }
            (into, offset) = (later, offset.saturating_add(here as u64));
        }
        Ok(())
    }

    /// Whether both have a file in common.
    pub(crate) fn shares_with(&self, other: &Image) -> bool {
        let all = |image| std::iter::successors(Some(image), |image: &&Image| image.base());
        all(self).any(|one| all(other).any(|other| one.is_same_as(other)))
    }

    /// Bytes of the disk that an overlay has itself; `None` if it is none.
    pub fn overlay_bytes(&self) -> Option<u64> {
        Some(self.overlay()?.map.count().saturating_mul(CLUSTER).min(self.size()))
    }

    /// Has the file of an overlay say what that has, so that somebody else can open it. For who has no request under
    /// way. What the host fails is lost.
    pub(crate) fn settle(&self) {
        if let Some(overlay) = self.overlay().filter(|_| !self.mode.read_only)
            && !self.is_lost()
            && let Err(error) = overlay.settle(self.through_cache())
        {
            self.lose(&error);
        }
    }
}

/// What both want.
fn stricter(one: Option<Alignment>, other: Option<Alignment>) -> Option<Alignment> {
    let (one, other) = (one?, other?);
    let (memory, block) = (one.memory.max(other.memory), one.block.max(other.block));
    Some(Alignment { memory, block })
}

#[cfg(test)]
#[path = "chain_test.rs"]
mod tests;
