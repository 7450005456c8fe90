//! What the process that starts children of a machine may open, and with it all of them.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::landlock::{
    self, IOCTL_DEV, MAKE_REG, MAKE_SOCK, READ_DIR, READ_FILE, REMOVE_FILE, Rules, TRUNCATE,
    WRITE_FILE,
};

/// What a machine stands on, wherever its own files are, and how it is used.
const SYSTEM: [(&str, u64); 5] = [
    ("/dev/kvm", READ_FILE | WRITE_FILE | IOCTL_DEV),
    ("/dev/net/tun", READ_FILE | WRITE_FILE | IOCTL_DEV),
    ("/dev/null", READ_FILE | WRITE_FILE),
    ("/proc", READ_FILE | READ_DIR),
    ("/sys", READ_FILE | READ_DIR),
];
const OF_FILE: u64 = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV;
const OF_FOLDER: u64 = OF_FILE | MAKE_REG | MAKE_SOCK | REMOVE_FILE | READ_DIR;

/// Shuts the process in, for good, to `places`, each the bytes of a path, and to what every machine stands on. Where
/// the kernel has no Landlock nothing is shut. Fails if a place is not there, or the kernel refuses.
pub fn confine(places: &[Vec<u8>]) -> io::Result<()> {
    let Ok(abi) = landlock::version() else { return Ok(()) };
    super::install::no_new_privileges()?;
    let mut rules = Rules::new(abi)?;
    for place in places {
        let path = Path::new(OsStr::from_bytes(place));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = handle(path).map_err(named)?;
        let rights = if file.metadata().map_err(named)?.is_dir() { OF_FOLDER } else { OF_FILE };
        rules.grant(file.as_fd(), rights).map_err(named)?;
    }
    for (path, rights) in SYSTEM {
        // Not every host, and no jail, has all of them.
        if let Ok(file) = handle(Path::new(path)) {
            rules.grant(file.as_fd(), rights)?;
        }
    }
    rules.restrict()
}

fn handle(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)
}
