//! Initial file systems for kernels: newc archives made in memory, no shell tools, no root needed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::apt::Apt;
use crate::cache;
use crate::modules::Module;

/// Folders that the init scripts mount something on, or write to.
const FOLDERS: [&str; 11] =
    ["bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sys", "tmp", "var"];

/// An archive that grows entry by entry.
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// An archive with `init`, busybox under the names of its applets, and `modules`, listed in `/modules` by order.
    pub fn new(init: &str, modules: &[Module]) -> Result<Self> {
        let mut archive = Self { bytes: Vec::new(), inode: 0, folders: BTreeSet::new() };
        for folder in FOLDERS {
            archive.folder(folder)?;
        }
        archive.file("init", 0o755, init.as_bytes())?;
        archive.file("bin/busybox", 0o755, &busybox()?)?;
        let mut order = String::new();
        for module in modules {
            archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, &module.bytes)?;
            order += &format!("{}\n", module.name);
        }
        archive.file("modules", 0o644, order.as_bytes())?;
        Ok(archive)
    }

    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        let entry = self.entry(path, permissions).set_mode_file_type(ModeFileType::Regular);
        self.write(entry, content).with_context(|| format!("cannot add {path}"))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        let entry = self.entry(path, 0o777).set_mode_file_type(ModeFileType::Symlink);
        self.write(entry, target.as_bytes()).with_context(|| format!("cannot add {path}"))
    }

    fn folder(&mut self, path: &str) -> Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.collect::<Vec<_>>() {
            let folder = &path[..end];
            if self.folders.insert(folder.to_owned()) {
                let entry = self.entry(folder, 0o755).set_mode_file_type(ModeFileType::Directory);
                self.write(entry, b"").with_context(|| format!("cannot add {folder}"))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, permissions: u32) -> Builder {
        self.inode += 1;
        Builder::new(path).ino(self.inode).mode(permissions).nlink(1)
    }

    fn write(&mut self, entry: Builder, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = entry.write(&mut self.bytes, length);
        writer.write_all(content)?;
        writer.finish().map(drop)
    }

    /// The finished archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.bytes)?)
    }
}

/// An archive with nothing in it.
pub fn empty() -> Result<Vec<u8>> {
    Ok(trailer(Vec::new())?)
}

/// Debian's static busybox, checked.
pub fn busybox() -> Result<Vec<u8>> {
    busybox_set()?.read("busybox")
}

/// Its file: a program that runs on any host.
pub fn busybox_file() -> Result<PathBuf> {
    busybox_set()?.path("busybox")
}

/// Its package and version.
pub fn busybox_origin() -> Result<String> {
    Ok(busybox_set()?.origin().to_owned())
}

fn busybox_set() -> Result<cache::Set> {
    cache::Set::open("busybox", "1", |work| {
        let root = work.scratch();
        let package = Apt::of_host().unpack(&["busybox-static"], &root)?.remove(0);
        // Debian 13 moved /bin to /usr/bin.
        let places = ["bin/busybox", "usr/bin/busybox"].map(|place| root.join(place));
        let file =
            places.iter().find(|place| place.is_file()).context("the package has no busybox")?;
        std::fs::copy(file, work.files().join("busybox"))?;
        Ok(format!("{} {}", package.name, package.version))
    })
}

#[cfg(test)]
#[path = "initramfs_test.rs"]
mod tests;
