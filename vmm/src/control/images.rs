//! Images of disks at a fork: copies that share blocks with the machine's, or overlays above what that has been.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use device_core::files::Files;
use devices::block::image::{MOST_BASES, Source};

use crate::fork::error::ForkError;
use crate::fork::images::Copy;
use crate::fork::spec::ChildSpec;
use crate::fork::zygote::Zygote;
use crate::snapshot::spec::OtherImage;
use crate::vm::Vm;
use crate::vm::config::Config;

/// What the overlay is called in which a machine's own disk goes on: that of the image, this, and a number.
const OWN: &str = ".own-";
/// Numbers that are tried.
const MOST_OWN: u32 = 10_000;

/// Images of disks that are written: what there was, and what there is to be.
pub struct Images {
    /// As they were.
    before: Vec<OtherImage>,
    /// With the images that they will have.
    pub children: Vec<ChildSpec>,
    /// Those of the machine, if it goes on above what it had.
    pub own: Vec<OtherImage>,
    /// What was made for children.
    made: Vec<PathBuf>,
}

impl Images {
    /// Of a machine, and of children with copies of what it has.
    pub fn of(config: &Config, children: Vec<ChildSpec>) -> Images {
        let written = config.disks.iter().filter(|disk| !disk.read_only);
        let before = written.map(|disk| OtherImage {
            id: disk.id.clone(),
            path: disk.path.clone(),
            bases: disk.bases.clone(),
        });
        Images { before: before.collect(), children, own: Vec::new(), made: Vec::new() }
    }

    /// Makes those of the first child, while the machine is paused: copies; or, where there are none, the machine's
    /// disks stand on overlays from now on, and so will those of the children. Fails with all as it was.
    pub fn make_first(
        &mut self,
        zygote: &Zygote,
        vm: &Vm,
        files: &dyn Files,
    ) -> Result<(), ForkError> {
        let Some(first) = self.children.first().filter(|_| !self.before.is_empty()) else {
            return Ok(());
        };
        let copies = self.before.iter().zip(&first.images);
        let copies: Vec<_> =
            copies.map(|(from, to)| (from.path.clone(), to.path.clone())).collect();
        match zygote.copy(copies.clone()) {
            Err(ForkError::NoSharing(why)) => self.stand_above(zygote, vm, files, &why),
            copied => copied.map(|()| self.made.extend(copies.into_iter().map(|(_, copy)| copy))),
        }
    }

    /// Makes those of all others, of those of the first.
    pub fn make_others(&mut self, zygote: &Zygote) -> Result<(), ForkError> {
        if !self.own.is_empty() || self.before.is_empty() {
            return Ok(());
        }
        let Some((first, others)) = self.children.split_first() else { return Ok(()) };
        let pairs = |child: &ChildSpec| -> Vec<Copy> {
            let images = first.images.iter().zip(&child.images);
            images.map(|(first, its)| (first.path.clone(), its.path.clone())).collect()
        };
        let copies: Vec<Copy> = others.iter().flat_map(pairs).collect();
        if copies.is_empty() {
            return Ok(());
        }
        zygote.copy(copies.clone())?;
        self.made.extend(copies.into_iter().map(|(_, copy)| copy));
        Ok(())
    }

    /// `why` there are no copies is told where there can be no overlays either.
    fn stand_above(
        &mut self,
        zygote: &Zygote,
        vm: &Vm,
        files: &dyn Files,
        why: &str,
    ) -> Result<(), ForkError> {
        for OtherImage { id, path, bases } in &self.before {
            let not_above = |why: String| ForkError::NotAbove { id: id.clone(), why };
            let is_file =
                fs::metadata(path).is_ok_and(|about| !about.file_type().is_block_device());
            if !is_file {
                return Err(ForkError::NoSharing(why.to_string()));
            }
            if bases.len() >= MOST_BASES {
                return Err(not_above(format!(
                    "{} has {MOST_BASES} below it already; make one image of them: vmm disk flatten",
                    path.display()
                )));
            }
        }
        let theirs = self.children.iter().flat_map(|child| &child.images);
        let theirs: Vec<_> = theirs.map(|image| image.path.clone()).collect();
        zygote.make(theirs.clone())?;
        self.made = theirs;
        for at in 0..self.before.len() {
            if let Err(error) = self.stand_one_above(at, vm, files) {
                self.stand_as_before(vm, files);
                return Err(error);
            }
        }
        for child in &mut self.children {
            for (image, own) in child.images.iter_mut().zip(&self.own) {
                image.bases = own.bases.clone();
            }
        }
        Ok(())
    }

    fn stand_one_above(&mut self, at: usize, vm: &Vm, files: &dyn Files) -> Result<(), ForkError> {
        let Some(OtherImage { id, path, bases }) = self.before.get(at).cloned() else {
            return Ok(());
        };
        let failed = |why: String| ForkError::NotAbove { id: id.clone(), why };
        let disk = vm.disks().iter().find(|disk| disk.id() == id);
        let disk = disk.ok_or_else(|| failed("it is on its way out".into()))?;
        let own = new_own(&path, files)
            .map_err(|error| failed(format!("no overlay can be made beside it: {error}")))?;
        let bases: Vec<_> = std::iter::once(path).chain(bases).collect();
        if let Err(error) = disk.replace(&Source { path: &own, bases: &bases }, files) {
            // It is empty.
            let _ = files.remove_new(&own);
            return Err(failed(error.to_string()));
        }
        self.own.push(OtherImage { id, path: own, bases });
        Ok(())
    }

    /// The machine's disks stand again as they did, while it has been paused all the time.
    pub fn stand_as_before(&mut self, vm: &Vm, files: &dyn Files) {
        for own in self.own.drain(..) {
            let was = self.before.iter().find(|before| before.id == own.id);
            let disk = vm.disks().iter().find(|disk| disk.id() == own.id);
            let Some((was, disk)) = was.zip(disk) else { continue };
            match disk.replace(&Source { path: &was.path, bases: &was.bases }, files) {
                // It has nothing.
                Ok(()) => drop(files.remove_new(&own.path)),
                Err(error) => {
                    let path = own.path.display();
                    tracing::error!("disk {} goes on in {path}: {error}", own.id);
                }
            }
        }
    }

    /// Removes what was made for children. What was in the place of one before is not among it.
    pub fn remove(self, zygote: &Zygote) {
        if !self.made.is_empty() {
            zygote.remove(self.made);
        }
    }
}

/// Makes an empty file for what is to stand on the image at `path`, with the first number that is free. Fails if there
/// is none, or the host refuses.
fn new_own(path: &Path, files: &dyn Files) -> io::Result<PathBuf> {
    let (stem, last) = stem(path);
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    for number in (last..MOST_OWN).map(|last| last + 1) {
        let mut own = stem.clone().into_os_string();
        own.push(format!("{OWN}{number}"));
        match files.open(Path::new(&own), flags) {
            Ok(_) => return Ok(own.into()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What an image was called before it was such an overlay, and its number then.
fn stem(path: &Path) -> (PathBuf, u32) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parts = name.rsplit_once(OWN);
    match parts.and_then(|(stem, number)| Some((stem, number.parse().ok()?))) {
        Some((stem, number)) => (path.with_file_name(stem), number),
        None => (path.to_owned(), 0),
    }
}

#[cfg(test)]
mod tests {
    use device_core::files::Own;

    use super::*;

    #[test]
    fn overlays_of_a_machines_own_are_numbered_and_take_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("disk.raw.own-2"), "taken").unwrap();
        let next = |name: &str| new_own(&path(name), &Own).unwrap();
        assert_eq!(next("disk.raw"), path("disk.raw.own-1"));
        assert_eq!(next("disk.raw.own-1"), path("disk.raw.own-3"));
        assert_eq!(next("disk.raw.own-x"), path("disk.raw.own-x.own-1"));
        assert_eq!(fs::read(path("disk.raw.own-2")).unwrap(), b"taken");
    }
}
