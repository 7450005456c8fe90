//! A file that is there whole, or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use device_core::files::Files;

/// A file on its way into its place; without [`NewFile::publish`] nothing stays of it.
pub struct NewFile<'a> {
    files: &'a dyn Files,
    file: File,
    /// Where it is now; empty once it is in its place.
    now: PathBuf,
    place: PathBuf,
}

impl NewFile<'_> {
    /// Has `files` make it beside its `place`, for its owner alone. Fails if that cannot be, or `place` names no file.
    pub fn beside<'a>(place: &Path, files: &'a dyn Files) -> io::Result<NewFile<'a>> {
        let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.new", std::process::id()));
        let now = place.with_file_name(hidden);
        // Of one who was killed while he wrote, and had our number.
        files.retire(&now)?;
        let file = files.open(&now, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
        Ok(NewFile { files, file, now, place: place.to_owned() })
    }

    /// For who writes it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns once all that was written would survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Puts it in its place, instead of what was there: who has that open or mapped keeps it.
    pub fn publish(mut self) -> io::Result<()> {
        self.files.publish(&self.now, &self.place)?;
        self.now = PathBuf::new();
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.now.as_os_str().is_empty() {
            // What stays is in nobody's way.
            let _ = self.files.remove_new(&self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use device_core::files::Own;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        fs::write(&place, "old").unwrap();
        let new = NewFile::beside(&place, &Own).unwrap();
        new.file().write_all(b"half").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        drop(new);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");

        let held = File::open(&place).unwrap();
        let new = NewFile::beside(&place, &Own).unwrap();
        new.file().write_all(b"whole").unwrap();
        new.sync().unwrap();
        new.publish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        assert_eq!(io::read_to_string(held).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
