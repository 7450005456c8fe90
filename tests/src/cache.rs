//! The cache of fetched files: each set has a manifest of SHA-256 sums that every use checks again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host;

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

impl Set {
    /// Opens the set `name`, filling it first if it is missing or was made by another recipe.
    ///
    /// `fill` puts files into the folder it gets and returns where they came from.
    pub fn open(
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<Self> {
        Self::open_below(&folder()?, name, recipe, fill)
    }

    fn open_below(
        cache: &Path,
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Path) -> Result<String>,
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
        let lock = File::create(cache.join(".lock")).context("cannot lock the cache")?;
        lock.lock().context("cannot lock the cache")?;
        // Another process may have filled it meanwhile.
        if let Some(set) = Self::load(&folder, recipe) {
            return Ok(set);
        }
        let part = cache.join(format!("{name}.part"));
        for old in [&part, &folder] {
            if old.exists() {
                fs::remove_dir_all(old)
                    .with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        fs::create_dir(&part).with_context(|| format!("cannot make {}", part.display()))?;
        let origin = fill(&part).with_context(|| format!("cannot fetch {name}"))?;
        let mut files = BTreeMap::new();
        sums(&part, &part, &mut files)?;
        let manifest = Manifest { recipe: recipe.to_owned(), origin, files };
        fs::write(part.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        fs::rename(&part, &folder).with_context(|| format!("cannot fill {}", folder.display()))?;
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

    /// A file's bytes, after a check of its sum.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(name);
        let wanted = self
            .manifest
            .files
            .get(name)
            .with_context(|| format!("{} is not in its manifest", path.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if sha256(&bytes) != *wanted {
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

    /// A file's path, after a check of its sum; once per process, for kernels take a second under emulation.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        static CHECKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let path = self.folder.join(name);
        let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(&path) {
            self.read(name)?;
            checked.insert(path.clone());
        }
        Ok(path)
    }
}

/// Sums of all files below `folder`, by their path from `root`.
fn sums(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sums(root, &path, found)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            found.insert(name, sha256(&fs::read(&path)?));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
