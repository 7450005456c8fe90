//! A file that is there whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file on its way into its place; without [`NewFile::publish`] nothing stays of it.
pub struct NewFile {
    file: File,
    /// Where it is now; empty once it is in its place.
    now: PathBuf,
    place: PathBuf,
}

impl NewFile {
    /// Makes it beside its `place`, for its owner alone. Fails if that cannot be, or `place` names no file.
    pub fn beside(place: &Path) -> io::Result<NewFile> {
        let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.new", std::process::id()));
        let now = place.with_file_name(hidden);
        // Of one who was killed while he wrote, and had our number.
        match fs::remove_file(&now) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&now)?;
        Ok(NewFile { file, now, place: place.to_owned() })
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
        fs::rename(&self.now, &self.place)?;
        self.now = PathBuf::new();
        sync_folder_of(&self.place)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.now.as_os_str().is_empty() {
            // What stays is in nobody's way.
            let _ = fs::remove_file(&self.now);
        }
    }
}

/// Takes away what is at `place`, for good, if something is.
pub fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder_of(place),
    }
}

/// Returns once what is in the folder would survive a power cut.
fn sync_folder_of(place: &Path) -> io::Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        fs::write(&place, "old").unwrap();
        let new = NewFile::beside(&place).unwrap();
        new.file().write_all(b"half").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        drop(new);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");

        let held = File::open(&place).unwrap();
        let new = NewFile::beside(&place).unwrap();
        new.file().write_all(b"whole").unwrap();
        new.sync().unwrap();
        new.publish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        assert_eq!(io::read_to_string(held).unwrap(), "old");
        remove(&place).unwrap();
        remove(&place).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
