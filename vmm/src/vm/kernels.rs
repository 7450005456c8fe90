//! Kernels unpacked once: found again by the SHA-256 of how they were packed, in a folder that nobody
//! but this user writes to.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arch::boot::{Kernel, Packed, UnpackError};
use sha2::{Digest, Sha256};

/// Where a bzImage is unpacked, and kept so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KernelCache {
    /// In `$XDG_CACHE_HOME/vmm/kernels`, else `~/.cache/vmm/kernels`; in the guest where that cannot be.
    #[default]
    OfUser,
    /// In this folder.
    At(PathBuf),
    /// In the guest, by itself.
    Off,
}

/// What stands for [`KernelCache::Off`].
const OFF: &str = "off";

impl From<&OsStr> for KernelCache {
    fn from(text: &OsStr) -> KernelCache {
        if text == OFF { KernelCache::Off } else { KernelCache::At(text.into()) }
    }
}

impl KernelCache {
    /// As it is said, if it was.
    pub fn said(&self) -> Option<String> {
        match self {
            KernelCache::OfUser => None,
            KernelCache::At(folder) => Some(folder.display().to_string()),
            KernelCache::Off => Some(OFF.to_string()),
        }
    }

    /// The folder, if there is to be one.
    fn folder(&self) -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match self {
            KernelCache::OfUser => {
                let home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
                let cache = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
                Some(cache.join("vmm/kernels"))
            }
            KernelCache::At(folder) => Some(folder.clone()),
            KernelCache::Off => None,
        }
    }
}

/// Kernels that a folder keeps; those that were used last.
const KEPT: usize = 8;
/// Links to them that it keeps; the newest.
const KEPT_ALIASES: usize = 64;
/// What is left of a process that was killed while it wrote is removed after this time.
const STALE: Duration = Duration::from_secs(600);
/// Ends the names of files that are being written.
const PART: &str = ".part";
/// A file that was changed so long ago has another time of change if it is changed again.
const SETTLED: Duration = Duration::from_secs(2);

/// `kernel`, but unpacked if it is a bzImage that can be, and can be kept so. Others unpack themselves; if
/// that is not what was asked for, the log says why.
pub fn unpacked(kernel: Kernel, cache: &KernelCache) -> Kernel {
    let Some(folder) = cache.folder() else { return kernel };
    let error = match unpack(&kernel, &folder) {
        Ok(Some(unpacked)) => return unpacked,
        Ok(None) => return kernel,
        Err(error) => error,
    };
    let line = format!("kernel {} unpacks itself: {error}", kernel.name());
    match (&error, cache) {
        (KernelsError::Keep(..), KernelCache::OfUser)
        | (KernelsError::Unpack(UnpackError::Packing) | KernelsError::Busy, _) => {
            tracing::info!("{line}");
        }
        _ => tracing::warn!("{line}"),
    }
    kernel
}

/// Why a bzImage was not unpacked.
#[derive(Debug, thiserror::Error)]
enum KernelsError {
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("cannot keep it in {0}: {1}")]
    Keep(PathBuf, io::Error),
    /// Where many start at once, one is to do it, and nobody to wait for that.
    #[error("another process unpacks it just now")]
    Busy,
}

fn unpack(kernel: &Kernel, folder: &Path) -> Result<Option<Kernel>, KernelsError> {
    let Some(packed) = Packed::of(kernel)? else { return Ok(None) };
    let kept = |name: &str| {
        let file = open(folder, name, packed.unpacked_len())?;
        kernel.unpacked(file).ok()
    };
    let alias = Alias::of(kernel, folder);
    if let Some(unpacked) = alias.as_ref().and_then(Alias::name).and_then(|name| kept(&name)) {
        return Ok(Some(unpacked));
    }
    let bytes = packed.read()?;
    let name: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(unpacked) = kept(&name) {
        alias.inspect(|alias| alias.set(&name));
        return Ok(Some(unpacked));
    }
    let cannot = |error| KernelsError::Keep(folder.into(), error);
    // Before the work: what could not be kept would have to be unpacked at each start, and a guest does
    // it faster.
    let part = Part::new(folder, &name).map_err(cannot)?;
    let mut part = part.ok_or(KernelsError::Busy)?;
    let file = part.write(&packed.unpack(&bytes)?).map_err(cannot)?;
    let unpacked = kernel.unpacked(file)?;
    part.keep().map_err(cannot)?;
    alias.inspect(|alias| alias.set(&name));
    Ok(Some(unpacked))
}

/// A symbolic link from what the host says of a kernel's file, which changes with it, to the name that
/// its bytes have: who finds it need not read them.
struct Alias<'a> {
    folder: &'a Path,
    path: PathBuf,
}

impl<'a> Alias<'a> {
    /// `None` for a file that the clock cannot tell from what it was a moment ago.
    fn of(kernel: &Kernel, folder: &'a Path) -> Option<Alias<'a>> {
        let file = kernel.metadata().ok()?;
        let changed = UNIX_EPOCH.checked_add(Duration::new(
            file.ctime().try_into().ok()?,
            file.ctime_nsec().try_into().ok()?,
        ))?;
        let is_old = changed.elapsed().is_ok_and(|age| age > SETTLED);
        let (device, inode, len) = (file.dev(), file.ino(), file.len());
        let (s, ns) = (file.ctime(), file.ctime_nsec());
        let path = folder.join(format!("{device:x}-{inode:x}-{len:x}-{s:x}.{ns:x}"));
        is_old.then_some(Alias { folder, path })
    }

    /// The name it leads to.
    fn name(&self) -> Option<String> {
        fs::read_link(&self.path)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
            .filter(|name| is_name(name))
    }

    /// What cannot be said so is found by its bytes the next time as well.
    fn set(&self, name: &str) {
        let _ = fs::remove_file(&self.path);
        let _ = symlink(name, &self.path).and_then(|()| tidy(self.folder));
    }
}

/// Whether whoever writes this file is long dead.
fn is_stale(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE))
}

/// Whether it is a SHA-256 in hexadecimal.
fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether nobody but this user can have written there.
fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// The kept kernel of this name, if it is there, ours and whole.
fn open(folder: &Path, name: &str, len: usize) -> Option<File> {
    if !is_ours(&fs::metadata(folder).ok()?) {
        return None;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = file.open(folder.join(name)).ok()?;
    let metadata = file.metadata().ok()?;
    let is_whole = metadata.is_file() && metadata.len() == len as u64;
    if !is_whole || !is_ours(&metadata) {
        return None;
    }
    // Those used last are kept; one that cannot be marked is as good.
    let _ = file.set_modified(SystemTime::now());
    Some(file)
}

/// A kernel that is being written, by one process, so that it is there whole or not at all.
struct Part<'a> {
    folder: &'a Path,
    name: &'a str,
    path: PathBuf,
    file: File,
}

impl<'a> Part<'a> {
    /// `None` while somebody else is at it.
    fn new(folder: &'a Path, name: &'a str) -> io::Result<Option<Part<'a>>> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if !is_ours(&fs::metadata(folder)?) {
            return Err(io::Error::other("others may write there"));
        }
        let path = folder.join(format!("{name}{PART}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !is_stale(&path) {
                    return Ok(None);
                }
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Some(Part { folder, name, path, file }))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<File> {
        self.file.write_all(bytes)?;
        self.file.try_clone()
    }

    fn keep(self) -> io::Result<()> {
        // Its length tells whether it is whole, so its bytes go first.
        self.file.sync_data()?;
        fs::rename(&self.path, self.folder.join(self.name))?;
        tidy(self.folder)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // It has another name once it is whole.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes kernels that were not used for longest, and what was left half written.
fn tidy(folder: &Path) -> io::Result<()> {
    let (mut kernels, mut aliases) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let Ok(used) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if name.ends_with(PART) && is_stale(&path) {
            // Somebody else may tidy up as well.
            let _ = fs::remove_file(path);
        } else if is_name(&name) {
            kernels.push((used, path));
        } else if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            aliases.push((used, path));
        }
    }
    for (mut files, most) in [(kernels, KEPT), (aliases, KEPT_ALIASES)] {
        files.sort();
        for (_, path) in files.iter().rev().skip(most) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "kernels_test.rs"]
mod tests;
