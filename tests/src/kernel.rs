//! The kernels of tests: Debian's, with the modules that are loaded in them.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Package, Unknown};
use crate::cache::{self, Work};
use crate::modules::{self, Module};
use crate::payload;

type Series = [u32; 2];

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

    /// Debian's package that stands for the newest one.
    fn meta_package(self) -> &'static str {
        match self {
            Self::Guest6_1 => "linux-image-cloud-amd64",
            Self::Guest6_12 => "linux-image-6.12-cloud-amd64",
            Self::Testbed => "linux-image-amd64",
        }
    }

    /// How the names of its packages end, after the version.
    fn flavour(self) -> &'static str {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => "-cloud-amd64",
            Self::Testbed => "-amd64",
        }
    }

    /// The first two numbers of its version, where these matter.
    fn series(self) -> Option<Series> {
        match self {
            Self::Guest6_1 => Some([6, 1]),
            Self::Guest6_12 => Some([6, 12]),
            Self::Testbed => None,
        }
    }

    /// The numbers in the name of a kernel's package of the right flavour, such as 6, 1, 0, 47.
    fn numbers(self, package: &str) -> Option<Vec<u32>> {
        let version = package.strip_prefix("linux-image-")?.strip_suffix(self.flavour())?;
        // More words, such as `rt`, are other flavours.
        let is_version =
            version.split('-').all(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
        let numbers: Vec<_> = numbers.map_while(|word| word.parse().ok()).collect();
        // Two numbers are a meta package.
        (is_version && numbers.len() > 2).then_some(numbers)
    }

    /// What is loaded besides where there are disks.
    fn modules_of_disks(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => &["virtio_blk", "nvme", "ext4"],
            Self::Testbed => &[],
        }
    }

    /// What is loaded besides where there is a vsock.
    fn modules_of_vsock(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => &["vmw_vsock_virtio_transport"],
            Self::Testbed => &[],
        }
    }

    /// What is loaded besides where memory is looked at.
    fn modules_of_memory(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => {
                &["virtio_rng", "virtio_balloon", "virtio_pmem", "nd_pmem", "ext4", "virtio_mem"]
            }
            Self::Testbed => &[],
        }
    }

    /// What is loaded besides where one has an XFS.
    fn modules_of_xfs(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => &["xfs"],
            Self::Testbed => &[],
        }
    }

    /// Lists of what is loaded besides, by their files' names.
    fn lists(self) -> [(&'static str, &'static [&'static str]); 4] {
        [
            ("modules.disks", self.modules_of_disks()),
            ("modules.memory", self.modules_of_memory()),
            ("modules.xfs", self.modules_of_xfs()),
            ("modules.vsock", self.modules_of_vsock()),
        ]
    }

    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Guest6_1 | Self::Guest6_12 => {
                &["virtio_pci", "virtio_mmio", "virtio_net", "ena", "button", "evdev"]
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
                "vhost_net",
                // For disks that fail.
                "brd",
                "dm_flakey",
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
        let lists = release.lists().map(|(_, modules)| modules.join(" "));
        let recipe = format!("{RECIPE} {} {}", release.modules().join(" "), lists.join(" "));
        let set = cache::Set::open(&format!("kernel-{}", release.name()), &recipe, |work| {
            fill(release, work)
        })?;
        Ok(Self { release, set })
    }

    /// Package and version.
    pub fn origin(&self) -> &str {
        self.set.origin()
    }

    /// Checks the sums of all of it.
    pub fn check(&self) -> Result<()> {
        self.set.folder().map(drop)
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
        self.listed("modules.order")
    }

    /// What is to be loaded after them where there are disks.
    pub fn modules_of_disks(&self) -> Result<Vec<Module>> {
        self.listed("modules.disks")
    }

    /// The same where memory is looked at.
    pub fn modules_of_memory(&self) -> Result<Vec<Module>> {
        self.listed("modules.memory")
    }

    /// What is to be loaded after these where there is an XFS.
    pub fn modules_of_xfs(&self) -> Result<Vec<Module>> {
        self.listed("modules.xfs")
    }

    /// What is to be loaded after them where there is a vsock.
    pub fn modules_of_vsock(&self) -> Result<Vec<Module>> {
        self.listed("modules.vsock")
    }

    fn listed(&self, list: &str) -> Result<Vec<Module>> {
        let order = String::from_utf8(self.set.read(list)?)?;
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

/// The package to take: what Debian's meta package stands for, if it is of the wanted series. Where
/// the newest lists have no such, the newest of the series, or of the nearest one, which is named.
pub(crate) fn choose(apt: &Apt, release: Release, is_new: bool) -> Result<Package> {
    let meta = release.meta_package();
    let is_wanted = |package: &Package| match (release.series(), release.numbers(&package.name)) {
        (Some(series), Some(numbers)) => numbers.starts_with(&series),
        (series, _) => series.is_none(),
    };
    match apt.behind(meta) {
        Ok(package) if is_wanted(&package) => return Ok(package),
        Ok(_) if !is_new => bail!(Unknown(vec![meta.to_owned()])),
        Err(error) if !is_new || !error.is::<Unknown>() => return Err(error),
        _ => (),
    }
    let names = apt.names("linux-image-")?;
    let mut known: Vec<_> = names
        .iter()
        .filter_map(|name| Some((nearness(&release.numbers(name)?, release.series())?, name)))
        .collect();
    known.sort();
    // Some names are known from dependencies only, or are installed and no longer to be had.
    let found = known.iter().find_map(|(_, name)| apt.newest(name).ok());
    let package = found.context(Unknown(vec![meta.to_owned()]))?;
    eprintln!(
        "Debian has no {meta} of the wanted series: kernel-{} is {} instead",
        release.name(),
        package.name
    );
    Ok(package)
}

/// What sorts kernels by how well they stand for one of a series: first those of it, then of the
/// next ones, then of those before; of one series the newest first.
type Nearness = (u8, Series, Reverse<Vec<u32>>);

fn nearness(numbers: &[u32], wanted: Option<Series>) -> Option<Nearness> {
    let series: Series = numbers.first_chunk().copied()?;
    let newest = Reverse(numbers.to_vec());
    let before = series.map(|number| u32::MAX - number);
    Some(match wanted {
        None => (0, before, newest),
        Some(wanted) if series >= wanted => (0, series, newest),
        Some(_) => (1, before, newest),
    })
}

fn fill(release: Release, work: &Work) -> Result<String> {
    let (apt, unpacked, folder) = (Apt::of_host(), work.scratch(), work.files());
    let package = apt
        .unpack_chosen(&[release.meta_package()], &unpacked, |is_new| {
            Ok(vec![choose(apt, release, is_new)?])
        })?
        .remove(0);

    let modules = only_entry(&unpacked.join("lib/modules"))?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let image = fs::read(unpacked.join(format!("boot/vmlinuz-{version}")))
        .context("the package has no kernel")?;
    fs::write(folder.join("bzImage"), &image)?;
    if release != Release::Testbed {
        let vmlinux = payload::vmlinux(&image).context("cannot unpack the kernel")?;
        fs::write(folder.join("vmlinux"), vmlinux)?;
    }

    fs::create_dir(folder.join("modules"))?;
    let always = modules::in_load_order(&modules, release.modules())?;
    let write = |list: &str, modules: &[Module]| -> Result<()> {
        let mut order = String::new();
        for module in modules {
            fs::write(folder.join(format!("modules/{}.ko", module.name)), &module.bytes)?;
            order += &format!("{}\n", module.name);
        }
        Ok(fs::write(folder.join(list), order)?)
    };
    write("modules.order", &always)?;
    for (list, wanted) in release.lists() {
        let wanted = [release.modules(), wanted].concat();
        let all = modules::in_load_order(&modules, &wanted)?;
        write(list, all.get(always.len()..).unwrap_or_default())?;
    }
    Ok(format!("{} {}", package.name, package.version))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.next().with_context(|| format!("{} is empty", folder.display()))??.path())
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;
