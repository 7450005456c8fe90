//! Kernel modules of a package: the wanted ones and what they need, unpacked, in loading order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use elf::ElfBytes;
use elf::endian::LittleEndian;

/// A module, ready for `insmod`.
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The modules below one `lib/modules/VERSION`.
struct Tree {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// Reads `wanted` and all they depend on; dependencies come first, modules built into the kernel are left out.
pub fn in_load_order(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut tree = Tree { files: BTreeMap::new(), builtin: BTreeSet::new() };
    tree.find(folder)?;
    let builtin = folder.join("modules.builtin");
    let list = fs::read_to_string(&builtin)
        .with_context(|| format!("cannot read {}", builtin.display()))?;
    tree.builtin = list.lines().filter_map(|line| name_of(Path::new(line))).collect();

    let mut order = Vec::new();
    for name in wanted {
        tree.add(name, &mut order)?;
    }
    Ok(order)
}

/// `kernel/drivers/net/virtio-net.ko.xz` is module `virtio_net`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

impl Tree {
    fn find(&mut self, folder: &Path) -> Result<()> {
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.find(&entry.path())?;
            } else if let Some(name) = name_of(&entry.path()) {
                self.files.insert(name, entry.path());
            }
        }
        Ok(())
    }

    fn add(&self, name: &str, order: &mut Vec<Module>) -> Result<()> {
        if self.builtin.contains(name) || order.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else { bail!("the kernel has no module {name}") };
        let mut bytes =
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if path.extension().is_some_and(|extension| extension == "xz") {
            // Busybox's insmod takes plain modules only.
            let mut plain = Vec::new();
            lzma_rust2::XzReader::new(bytes.as_slice(), false)
                .read_to_end(&mut plain)
                .with_context(|| format!("cannot unpack {}", path.display()))?;
            bytes = plain;
        }
        for needed in depends(&bytes)
            .with_context(|| format!("cannot read the dependencies of {}", path.display()))?
        {
            self.add(&needed, order)?;
        }
        order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// Names in the `depends=` entry of a module's `.modinfo`.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(module)?;
    let section = file.section_header_by_name(".modinfo")?.context("no .modinfo section")?;
    let (info, _) = file.section_data(&section)?;
    let list = info
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="))
        .unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    Ok(list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
#[path = "modules_test.rs"]
mod tests;
