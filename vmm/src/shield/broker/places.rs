//! Places that files may be opened in, and whether a path leads into one.
//!
//! What a path names is found by opening its folder, and asking whether that is, or lies in, one of the folders
//! that were given: by what they are, not by what they are called, so that it does not matter by which links somebody
//! comes. The file itself is then opened from that folder, and nothing else between.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;

/// Folders above one another; deeper ones are taken for none of ours.
const MOST_DEPTH: usize = 128;
/// Links that lead to one another, as in the kernel.
const MOST_LINKS: usize = 40;

pub type Identity = (u64, u64);

/// What tells a file or folder from all others, whatever its name.
pub fn identity(place: &OwnedFd) -> Result<Identity, Errno> {
    let about = fstat(place)?;
    Ok((about.st_dev, about.st_ino))
}

/// Opens a folder only to go from there.
fn folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Where a path leads: the folder that has it, and its name there, which is no link.
pub struct Found {
    folder: OwnedFd,
    name: std::ffi::OsString,
}

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The host's reason.
    Host(Errno),
    /// It is in none of the places.
    Outside,
}

impl From<Errno> for NotFound {
    fn from(errno: Errno) -> NotFound {
        NotFound::Host(errno)
    }
}

fn locate(path: &Path) -> Result<Found, Errno> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name.to_os_string(),
            _ => return Err(Errno::ISDIR),
        };
        let above = match path.parent() {
            Some(above) if above != Path::new("") => above.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let folder = folder(&above)?;
        match readlinkat(&folder, &name, Vec::new()) {
            Ok(link) => {
                use std::os::unix::ffi::OsStrExt;
                path = above.join(OsStr::from_bytes(link.as_bytes()));
            }
            // No link, or nothing yet.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(Found { folder, name }),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP)
}

/// A place that was given.
struct Place {
    /// The folder, or the folder of the one file.
    folder: Identity,
    /// The one file's name.
    only: Option<std::ffi::OsString>,
    /// The folder or file itself, only to be named.
    itself: OwnedFd,
}

/// All places that were given.
#[derive(Default)]
pub struct Places(Vec<Place>);

impl Places {
    /// Adds a folder with all beneath it, or a file. Fails if it is not there.
    pub fn add(&mut self, path: &Path) -> Result<(), Errno> {
        let place = match folder(path) {
            Ok(itself) => Place { folder: identity(&itself)?, only: None, itself },
            Err(Errno::NOTDIR) => {
                let Found { folder, name } = locate(path)?;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let itself = openat2(&folder, &name, flags, Mode::empty(), ResolveFlags::BENEATH)?;
                Place { folder: identity(&folder)?, only: Some(name), itself }
            }
            Err(error) => return Err(error),
        };
        self.0.push(place);
        Ok(())
    }

    /// Each place, and whether it is a folder.
    pub fn iter(&self) -> impl Iterator<Item = (&OwnedFd, bool)> {
        self.0.iter().map(|place| (&place.itself, place.only.is_none()))
    }

    /// Where `path` leads, if that is in one of the places.
    pub fn find(&self, path: &Path) -> Result<Found, NotFound> {
        let found = locate(path)?;
        if self.holds(&found)? {
            return Ok(found);
        }
        // Who names a place itself is told what is wrong with it.
        match folder(path).and_then(|folder| self.is_place(&folder)) {
            Ok(true) => Err(NotFound::Host(Errno::ISDIR)),
            _ => Err(NotFound::Outside),
        }
    }

    fn is_place(&self, folder: &OwnedFd) -> Result<bool, Errno> {
        let asked = identity(folder)?;
        Ok(self.0.iter().any(|place| place.only.is_none() && place.folder == asked))
    }

    /// Goes up from the folder until it is one of ours, or the root.
    fn holds(&self, found: &Found) -> Result<bool, Errno> {
        let first = identity(&found.folder)?;
        let is_only = |place: &Place| {
            place.folder == first && place.only.as_ref().is_some_and(|only| *only == found.name)
        };
        if self.0.iter().any(is_only) {
            return Ok(true);
        }
        let mut folders = self.0.iter().filter(|place| place.only.is_none()).peekable();
        if folders.peek().is_none() {
            return Ok(false);
        }
        let ours: Vec<_> = folders.map(|place| place.folder).collect();
        let (mut here, mut above) = (first, None);
        for _ in 0..MOST_DEPTH {
            if ours.contains(&here) {
                return Ok(true);
            }
            let below = above.as_ref().unwrap_or(&found.folder);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let next = openat2(below, "..", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
            let there = identity(&next)?;
            if there == here {
                return Ok(false);
            }
            (here, above) = (there, Some(next));
        }
        Ok(false)
    }
}

impl Found {
    /// Opens it, with mode 0600 if it is made. Fails as open(2) does, and if it has become a link.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::RUSR | Mode::WUSR,
            false => Mode::empty(),
        };
        let only_here = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.folder, &self.name, flags | OFlags::CLOEXEC, mode, only_here)
    }

    /// Removes it.
    pub fn remove(&self) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.folder, &self.name, rustix::fs::AtFlags::empty())
    }

    /// Gives it the name of `other`, in whose place it then is.
    pub fn replace(&self, other: &Found) -> Result<(), Errno> {
        let (from, to) = (&self.folder, &other.folder);
        rustix::fs::renameat_with(from, &self.name, to, &other.name, RenameFlags::empty())
    }

    /// Returns once what is in its folder would survive a power cut.
    pub fn sync_folder(&self) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(&self.folder, ".", flags, Mode::empty(), ResolveFlags::BENEATH)?;
        rustix::fs::fsync(folder)
    }

    /// Whether both are in one folder.
    pub fn is_beside(&self, other: &Found) -> Result<bool, Errno> {
        Ok(identity(&self.folder)? == identity(&other.folder)?)
    }

    /// Whether both name the same.
    pub fn is_same_as(&self, other: &Found) -> Result<bool, Errno> {
        Ok(self.name == other.name && self.is_beside(other)?)
    }
}

#[cfg(test)]
#[path = "places_test.rs"]
mod tests;
