//! Images of disks for children: copies that share what they have with the original until one of them is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;

/// An image, and where a copy of it is to be.
pub type Copy = (PathBuf, PathBuf);

/// Why there are no copies, in one line.
#[derive(Debug)]
pub enum NoCopies {
    /// The file system shares no blocks.
    Shares(String),
    Others(String),
}

/// Makes each copy, for its owner alone. Fails, with none of them left, where something is in its place, or the file
/// system shares no blocks.
pub fn copy(copies: &[Copy]) -> Result<(), NoCopies> {
    for (nth, (from, to)) in copies.iter().enumerate() {
        if let Err(error) = copy_one(from, to) {
            remove(copies.iter().take(nth).map(|(_, to)| to.as_path()));
            return Err(match error {
                Error::Shares(error) => NoCopies::Shares(format!(
                    "{}: its file system cannot make a copy that shares its blocks ({error}); have it on XFS or \
                     btrfs, or the disk read-only",
                    from.display()
                )),
                Error::Open(path, error) => {
                    NoCopies::Others(format!("{}: {error}", path.display()))
                }
            });
        }
    }
    Ok(())
}

enum Error {
    Open(PathBuf, io::Error),
    Shares(Errno),
}

fn copy_one(from: &Path, to: &Path) -> Result<(), Error> {
    let open = |path: &Path, file: io::Result<File>| {
        file.map_err(|error| Error::Open(path.to_owned(), error))
    };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let source = open(from, OpenOptions::new().read(true).custom_flags(flags).open(from))?;
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let new = open(to, new)?;
    ioctl_ficlone(&new, &source).map_err(|error| {
        remove([to].into_iter());
        Error::Shares(error)
    })
}

/// Makes empty files, each for its owner alone. Fails with why in one line, and none of them left, where something is in
/// one's place.
pub fn make(files: &[PathBuf]) -> Result<(), String> {
    for (nth, path) in files.iter().enumerate() {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        if let Err(error) = made {
            remove(files.iter().take(nth).map(PathBuf::as_path));
            return Err(format!("{}: {error}", path.display()));
        }
    }
    Ok(())
}

/// Removes copies that nobody uses.
pub fn remove<'a>(copies: impl Iterator<Item = &'a Path>) {
    for copy in copies {
        // What stays is in nobody's way but its own.
        let _ = fs::remove_file(copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_of_what_failed_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("image"), "text").unwrap();
        fs::write(path("taken"), "precious").unwrap();
        let copies = [(path("image"), path("one")), (path("image"), path("taken"))];
        // Where the file system shares no blocks the first one says so.
        match copy(&copies).unwrap_err() {
            NoCopies::Shares(error) => assert!(error.contains("shares its blocks"), "{error}"),
            NoCopies::Others(error) => assert!(error.contains("taken"), "{error}"),
        }
        assert_eq!(fs::read(path("taken")).unwrap(), b"precious");
        assert!(!path("one").exists());
        let nothing = copy(&[(path("nothing"), path("two"))]);
        assert!(matches!(nothing, Err(NoCopies::Others(error)) if error.contains("nothing")));
        assert!(!path("two").exists());
        assert!(make(&[path("three"), path("taken")]).unwrap_err().contains("taken"));
        assert!(!path("three").exists());
        make(&[path("three")]).unwrap();
        assert_eq!(fs::metadata(path("three")).unwrap().len(), 0);
    }
}
