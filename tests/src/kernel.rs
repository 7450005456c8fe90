//! The kernels of tests: Debian's, with the modules that are loaded in them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::modules::{self, Module};
use crate::{apt, cache, payload};

/// A kernel somebody boots here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Debian 12's cloud kernel, 6.1.
    Guest6_1,
    /// Debian 12's newer cloud kernel, 6.12.
    Guest6_12,
    /// Debian's kernel for PCs, which has the hypervisor's half of KVM.
    Testbed,
}

/// How a kernel is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    BzImage,
    /// The ELF file inside the bzImage, entered by PVH.
    Vmlinux,
}

/// The form in which files are kept; changes when old caches must not be used any more.
const RECIPE: &str = "1";

impl Release {
    pub const GUESTS: [Self; 2] = [Self::Guest6_1, Self::Guest6_12];

    /// Name as people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest6_1 => "6.1",
            Self::Guest6_12 => "6.12",
            Self::Testbed => "testbed",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Guest6_1 => "linux-image-cloud-amd64",
            Self::Guest6_12 => "linux-image-6.12-cloud-amd64",
            Self::Testbed => "linux-image-amd64",
        }
    }

    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => {
                &["virtio_pci", "virtio_net", "ena", "button", "evdev"]
            }
            Self::Testbed => &[
                "virtio_pci",
                "virtio_console",
                "9pnet_virtio",
                "9p",
                "overlay",
                "kvm_amd",
                "kvm_intel",
                "tun",
                "veth",
                "bridge",
            ],
        }
    }
}

/// A kernel in the cache.
pub struct Kernel {
    pub release: Release,
    set: cache::Set,
}

impl Kernel {
    /// Opens a kernel, fetching it first if the cache has none.
    pub fn open(release: Release) -> Result<Self> {
        let recipe = format!("{RECIPE} {}", release.modules().join(" "));
        let set = cache::Set::open(&format!("kernel-{}", release.name()), &recipe, |folder| {
            fill(release, folder)
        })?;
        Ok(Self { release, set })
    }

    /// Package and version.
    pub fn origin(&self) -> &str {
        self.set.origin()
    }

    /// The kernel file, checked.
    pub fn image(&self, format: Format) -> Result<PathBuf> {
        match format {
            Format::BzImage => self.set.path("bzImage"),
            Format::Vmlinux => self.set.path("vmlinux"),
        }
    }

    /// The modules in loading order, checked.
    pub fn modules(&self) -> Result<Vec<Module>> {
        let order = String::from_utf8(self.set.read("modules.order")?)?;
        order
            .lines()
            .map(|name| {
                Ok(Module {
                    name: name.to_owned(),
                    bytes: self.set.read(&format!("modules/{name}.ko"))?,
                })
            })
            .collect()
    }
}

fn fill(release: Release, folder: &Path) -> Result<String> {
    let package = apt::behind(release.package())?;
    let unpacked = tempfile::tempdir().context("cannot make a temporary folder")?;
    package.unpack(unpacked.path())?;

    let modules = only_entry(&unpacked.path().join("lib/modules"))?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let image = fs::read(unpacked.path().join(format!("boot/vmlinuz-{version}")))
        .context("the package has no kernel")?;
    fs::write(folder.join("bzImage"), &image)?;
    if release != Release::Testbed {
        let vmlinux = payload::vmlinux(&image).context("cannot unpack the kernel")?;
        fs::write(folder.join("vmlinux"), vmlinux)?;
    }

    fs::create_dir(folder.join("modules"))?;
    let mut order = String::new();
    for module in modules::in_load_order(&modules, release.modules())? {
        fs::write(folder.join(format!("modules/{}.ko", module.name)), &module.bytes)?;
        order += &format!("{}\n", module.name);
    }
    fs::write(folder.join("modules.order"), order)?;
    Ok(format!("{} {}", package.name, package.version))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.next().with_context(|| format!("{} is empty", folder.display()))??.path())
}
