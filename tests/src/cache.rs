//! The cache of fetched files: each set has a manifest of SHA-256 sums that every use checks again. A testbed sees the
//! files of a host that has just done so, and does not: under emulation that takes it most of a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::host;
use crate::process::is_disk_full;

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `$VMM_CACHE`, else `$XDG_CACHE_HOME/vmm`, else `~/.cache/vmm`.
pub fn folder() -> Result<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("VMM_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("vmm")))
        .or_else(|| Some(set("HOME")?.join(".cache/vmm")))
        .context("none of VMM_CACHE, XDG_CACHE_HOME and HOME is set")
}

/// What a set was made from, and the sum of each of its files.
#[derive(Serialize, Deserialize)]
struct Manifest {
    /// Changes when the same package must be unpacked differently.
    recipe: String,
    origin: String,
    files: BTreeMap<String, String>,
}

/// A set of files that belong together, such as a kernel and its modules.
pub struct Set {
    folder: PathBuf,
    manifest: Manifest,
}

const MANIFEST: &str = "manifest.json";

/// Where a set is made, on the disk of the cache. All of it goes if the set does not come about.
pub struct Work {
    part: TempDir,
}

impl Work {
    /// What is in here becomes the set.
    pub fn files(&self) -> PathBuf {
        self.part.path().join("files")
    }

    /// For what it is made of.
    pub fn scratch(&self) -> PathBuf {
        self.part.path().join("scratch")
    }
}

/// Begins the names of locks, and of folders where sets are made.
const LOCK: &str = ".lock-";
const PART: &str = ".part-";

impl Set {
    /// Opens the set `name`, filling it first if it is missing or was made by another recipe.
    ///
    /// `fill` makes the files of the set and returns where they came from.
    pub fn open(
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Work) -> Result<String>,
    ) -> Result<Self> {
        Self::open_below(&folder()?, name, recipe, fill)
    }

    fn open_below(
        cache: &Path,
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Work) -> Result<String>,
    ) -> Result<Self> {
        let folder = cache.join(name);
        if let Some(set) = Self::load(&folder, recipe) {
            return Ok(set);
        }
        if host::in_testbed() {
            bail!("the cache has no {name}, and the testbed no network; fetch it outside");
        }
        fs::create_dir_all(cache)
            .with_context(|| format!("cannot make the cache folder {}", cache.display()))?;
        let lock = lock(cache, name)?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another process that fetches {name}");
            lock.lock().context("cannot lock the cache")?;
        }
        // Another process may have filled it meanwhile.
        if let Some(set) = Self::load(&folder, recipe) {
            return Ok(set);
        }
        remove_left_behind(cache, name);
        Self::make(cache, name, recipe, fill).map_err(|error| {
            if is_disk_full(&error) {
                let error = anyhow!("the disk of {} is full", cache.display());
                return error.context(format!(
                    "cannot fetch {name}; free space, or set VMM_CACHE to a folder elsewhere"
                ));
            }
            error.context(format!("cannot fetch {name}"))
        })
    }

    fn make(
        cache: &Path,
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Work) -> Result<String>,
    ) -> Result<Self> {
        let folder = cache.join(name);
        let part = tempfile::Builder::new()
            .prefix(&format!("{PART}{name}-"))
            .tempdir_in(cache)
            .with_context(|| format!("cannot write to {}", cache.display()))?;
        let work = Work { part };
        let files = work.files();
        fs::create_dir(&files)?;
        let origin = fill(&work)?;
        let mut sums = BTreeMap::new();
        keep(&files, &files, &mut sums)?;
        let manifest = Manifest { recipe: recipe.to_owned(), origin, files: sums };
        let mut file = File::create(files.join(MANIFEST))?;
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::rename(&files, &folder).with_context(|| format!("cannot fill {}", folder.display()))?;
        Ok(Self { folder, manifest })
    }

    fn load(folder: &Path, recipe: &str) -> Option<Self> {
        let manifest: Manifest =
            serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
        (manifest.recipe == recipe).then(|| Self { folder: folder.to_owned(), manifest })
    }

    /// Package and version the files came from.
    pub fn origin(&self) -> &str {
        &self.manifest.origin
    }

    /// A file's bytes, after a check of its sum unless this is a testbed.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(name);
        let wanted = self
            .manifest
            .files
            .get(name)
            .with_context(|| format!("{} is not in its manifest", path.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !host::in_testbed() && sha256(&bytes) != *wanted {
            bail!(
                "{} differs from its manifest; remove {} and run again to fetch it anew",
                path.display(),
                self.folder.display()
            );
        }
        Ok(bytes)
    }

    /// The set's folder, after a check of all sums.
    pub fn folder(&self) -> Result<PathBuf> {
        for name in self.manifest.files.keys() {
            self.read(name)?;
        }
        Ok(self.folder.clone())
    }

    /// A file's path, after a check of its sum, once per process; in a testbed without one.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        static CHECKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let path = self.folder.join(name);
        if host::in_testbed() {
            return Ok(path);
        }
        let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(&path) {
            self.read(name)?;
            checked.insert(path.clone());
        }
        Ok(path)
    }
}

/// Brings all files below `folder` to the disk, and returns their sums by their path from `root`.
fn keep(root: &Path, folder: &Path, sums: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            keep(root, &path, sums)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            sums.insert(name, sha256(&fs::read(&path)?));
            File::open(&path)?.sync_all()?;
        }
    }
    Ok(())
}

/// The lock of a set: held while it is made, and gone with the process that holds it.
fn lock(cache: &Path, name: &str) -> Result<File> {
    File::create(cache.join(format!("{LOCK}{name}"))).context("cannot lock the cache")
}

/// Removes what processes that were killed left behind: whoever lives holds the lock of his set.
fn remove_left_behind(cache: &Path, locked: &str) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let set = file.to_str().and_then(|file| file.strip_prefix(PART)?.rsplit_once('-'));
        let Some((set, _)) = set else { continue };
        let held = (set != locked).then(|| lock(cache, set));
        if held.is_none_or(|lock| lock.is_ok_and(|lock| lock.try_lock().is_ok())) {
            // Whoever comes later tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
