//! The files of a snapshot, as the host has them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

/// A folder with the files of one snapshot; goes with its owner.
pub struct Files(TempDir);

impl Files {
    pub fn new(folder: TempDir) -> Self {
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// With the state, by the name that vmm looks for.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// With the memory.
    pub fn memory(&self) -> PathBuf {
        self.folder().join("memory")
    }

    /// Has the host read all of it anew.
    pub fn forget(&self) -> Result<()> {
        for entry in fs::read_dir(self.folder())? {
            forget(&entry?.path())?;
        }
        Ok(())
    }

    /// Bytes of the memory that are not in holes.
    pub fn data_bytes(&self) -> Result<u64> {
        const BLOCK: u64 = 512;
        Ok(fs::metadata(self.memory())?.blocks() * BLOCK)
    }
}

/// Has the host read a file anew.
pub fn forget(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // What is not written yet would stay.
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}

/// Makes a file of `bytes` bytes with something in so many pages from its middle on, and holes else.
pub fn fill(path: &Path, bytes: u64, pages: usize) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes)?;
    let something = vec![0x5a; pages << 12];
    file.write_all_at(&something, bytes / 2)?;
    Ok(())
}
