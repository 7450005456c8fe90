//! Who opens files for a machine: the process itself, or, once the guest runs, someone apart from it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens files by their paths.
pub trait Files: Send + Sync {
    /// Opens `path` as open(2) does with `flags`, `O_CLOEXEC` among them; a file that is made has mode 0600. Fails
    /// as that does, and if the path is none that may be opened.
    fn open(&self, path: &Path, flags: i32) -> io::Result<File>;

    /// Removes the file that was made at `path`. Fails if that is another, or was made long ago, or the host refuses.
    fn remove_new(&self, path: &Path) -> io::Result<()>;

    /// Puts the file that was made at `new` in the `place` of whatever file is there, in the same folder; returns once
    /// that would survive a power cut. Fails as [`Files::remove_new`] does, and if something else than a file is there.
    fn publish(&self, new: &Path, place: &Path) -> io::Result<()>;

    /// Removes the file at `path`, if there is one, whoever made it; returns once that would survive a power cut.
    /// Fails if something else is there, or a file that may not be written.
    fn retire(&self, path: &Path) -> io::Result<()>;
}

/// The process itself, with all that it may.
pub struct Own;

impl Files for Own {
    fn open(&self, path: &Path, flags: i32) -> io::Result<File> {
        let access = flags & libc::O_ACCMODE;
        let mut options = OpenOptions::new();
        options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY);
        // With O_EXCL it must be new; else O_EXCL has a meaning of its own, for block devices.
        options.create_new(flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL);
        options.mode(0o600).custom_flags(flags).open(path)
    }

    fn remove_new(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn publish(&self, new: &Path, place: &Path) -> io::Result<()> {
        fs::rename(new, place)?;
        sync_folder_of(place)
    }

    fn retire(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_folder_of(path),
        }
    }
}

/// Returns once what is in the folder of `path` would survive a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn files_are_opened_as_their_flags_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(Own.open(&path, libc::O_RDWR).is_err());
        let new = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        Own.open(&path, new).unwrap().write_all(b"text").unwrap();
        let again = Own.open(&path, new).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let mut text = String::new();
        Own.open(&path, libc::O_RDWR).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        let mut handle = Own.open(&path, libc::O_PATH).unwrap();
        assert_eq!(handle.metadata().unwrap().len(), 4);
        assert!(handle.read(&mut [0]).is_err());
    }

    #[test]
    fn a_new_file_takes_the_place_of_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (new, place) = (folder.path().join("new"), folder.path().join("place"));
        for (at, text) in [(&new, "new"), (&place, "old")] {
            fs::write(at, text).unwrap();
        }
        Own.publish(&new, &place).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        Own.retire(&place).unwrap();
        Own.retire(&place).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
