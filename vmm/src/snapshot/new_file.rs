//! A file that is there whole, or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use device_core::files::Files;
use rustix::fs::FlockOperation;

/// A file on its way into its place; without [`NewFile::publish`] nothing stays of it.
pub struct NewFile<'a> {
    files: &'a dyn Files,
    file: File,
    /// Where it is now.
    now: PathBuf,
    place: PathBuf,
    /// Whether it stays there if this goes.
    stays: bool,
}

/// The name by which a file is beside its `place`, of which there are as many as `tag`s; nothing if that names no file.
pub fn name_beside(place: &Path, tag: &str) -> Option<PathBuf> {
    let mut hidden = OsString::from(".");
    hidden.push(place.file_name()?);
    hidden.push(format!(".{tag}.new"));
    Some(place.with_file_name(hidden))
}

impl NewFile<'_> {
    /// Has `files` make it beside its `place`, by the name with this `tag`, for its owner alone. What somebody left by that name
    /// who was killed is removed. Fails if that cannot be, if `place` names no file, or if somebody writes to it.
    pub fn beside<'a>(place: &Path, tag: &str, files: &'a dyn Files) -> io::Result<NewFile<'a>> {
        let now = name_beside(place, tag).ok_or(io::ErrorKind::IsADirectory)?;
        match files.open(&now, libc::O_RDWR) {
            // Who writes has it locked, and nobody else has.
            Ok(left) => lock(&left)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files.retire(&now)?;
        let file = files.open(&now, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
        lock(&file)?;
        Ok(NewFile { files, file, now, place: place.to_owned(), stays: false })
    }

    /// For who writes it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it goes.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whether it stays where it is if it does not come into its place.
    pub fn keep(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Returns once all that was written would survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Puts it in its place, instead of what was there: who has that open or mapped keeps it.
    pub fn publish(&mut self) -> io::Result<()> {
        let done = self.files.publish(&self.now, &self.place);
        self.stays = self.is_in_place();
        done
    }

    /// Whether it is in its place.
    pub fn is_in_place(&self) -> bool {
        let there = fs::metadata(&self.place).map(|there| (there.dev(), there.ino()));
        let own = self.file.metadata().map(|own| (own.dev(), own.ino()));
        matches!((there, own), (Ok(there), Ok(own)) if there == own)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.stays {
            // What stays is in nobody's way.
            let _ = self.files.remove_new(&self.now);
        }
    }
}

/// Fails if somebody else has the file locked.
fn lock(file: &File) -> io::Result<()> {
    let locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|error| match io::Error::from(error) {
        error if error.kind() == io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::ResourceBusy, "another snapshot is being written there")
        }
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use device_core::files::Own;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        fs::write(&place, "old").unwrap();
        let new = NewFile::beside(&place, "a", &Own).unwrap();
        new.file().write_all(b"half").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        drop(new);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");

        let held = File::open(&place).unwrap();
        let mut new = NewFile::beside(&place, "a", &Own).unwrap();
        assert!(!new.is_in_place());
        new.file().write_all(b"whole").unwrap();
        new.sync().unwrap();
        new.publish().unwrap();
        assert!(new.is_in_place());
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        assert_eq!(io::read_to_string(held).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_left_goes_and_what_somebody_writes_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("memory");
        let left = name_beside(&place, "b").unwrap();
        fs::write(&left, "half").unwrap();
        let mut new = NewFile::beside(&place, "b", &Own).unwrap();
        new.file().write_all(b"mine").unwrap();
        let refused = NewFile::beside(&place, "b", &Own).err().unwrap();
        assert!(refused.to_string().contains("being written"), "{refused}");
        assert_eq!(fs::read(&left).unwrap(), b"mine");
        let other = NewFile::beside(&place, "a", &Own).unwrap();
        drop(other);
        new.publish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
