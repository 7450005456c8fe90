//! A small Debian on a disk, as people have it: GPT, GRUB's menu, kernel and initrd in `/boot`, systemd, a getty
//! on the serial line, an ssh server. Made of packages once, and kept in the cache.

mod boot;
mod guest;
mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::cache::{Set, Work};
use crate::disk_image::{Contents, Partition, Use, with_gpt};
use crate::kernel::{Release, choose};
use crate::process::quiet;
use crate::programs;
pub use boot::{files as files_of_kernel, grub_menu, grub_of_firmware};
pub use guest::Guest;
pub use root::PASSWORD;
use root::Root;

/// What is on the disk besides the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// Nothing.
    Small,
    /// cloud-init, GRUB's tools, and those of EC2's guests.
    Cloud,
}

/// Packages of every edition besides the kernel: those that Debian calls essential, as far as they are used, and
/// what makes a system of them.
const PACKAGES: [&str; 26] = [
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dropbear-bin",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "kmod",
    "libc-bin",
    "login",
    "ncurses-base",
    "ncurses-bin",
    "sed",
    "systemd-sysv",
    "sysvinit-utils",
    "tar",
    "udev",
    "usr-is-merged",
    "util-linux",
];

/// Where cloud-init looks, and what it leaves alone, as its tools are not there.
const CLOUD_CONFIG: &str = "\
datasource_list: [ NoCloud, Ec2, None ]
grub_dpkg: { enabled: false }
locale: false
resize_rootfs: false
ssh_deletekeys: false
ssh_genkeytypes: []
";

/// The four stages of cloud-init.
const CLOUD_INIT: [&str; 4] = [
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-config.service",
    "cloud-final.service",
];

/// The kernel of the disk.
const RELEASE: Release = Release::Guest6_12;

/// The root's file system.
const ROOT_UUID: &str = "0c2d9a3e-5f4b-4a51-9d1c-7f6d1f2a3b4c";

const DISK: &str = "disk.raw";
const KEY: &str = "key";

impl Edition {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "debian",
            Self::Cloud => "debian-cloud",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Small => &[],
            Self::Cloud => &["amazon-ec2-utils", "cloud-init", "grub-common", "grub2-common"],
        }
    }

    /// Changes when old disks must not be used any more.
    fn recipe(self) -> &'static str {
        match self {
            Self::Small => "1",
            Self::Cloud => "3",
        }
    }

    /// Sets up what it has besides the usual.
    fn set_up(self, root: &Root) -> Result<()> {
        match self {
            Self::Small => Ok(()),
            Self::Cloud => {
                root.write("etc/cloud/cloud.cfg.d/90_dpkg.cfg", 0o644, CLOUD_CONFIG)?;
                root.enable(&CLOUD_INIT)
            }
        }
    }

    /// MiB of the root's partition.
    fn root_mib(self) -> u64 {
        match self {
            Self::Small => 160,
            Self::Cloud => 300,
        }
    }
}

/// A disk in the cache.
pub struct Debian {
    set: Set,
}

impl Debian {
    /// Opens a disk, making it first if the cache has none.
    pub fn open(edition: Edition) -> Result<Self> {
        let name = format!("disk-{}", edition.name());
        let set = Set::open(&name, edition.recipe(), |work| make(edition, work))?;
        Ok(Self { set })
    }

    /// Kernel, version and number of packages.
    pub fn origin(&self) -> &str {
        self.set.origin()
    }

    /// Checks the sums of all of it.
    pub fn check(&self) -> Result<()> {
        self.set.folder().map(drop)
    }

    /// A copy of the disk to be written, whose holes are holes.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--no-preserve=mode"]).arg(self.set.path(DISK)?).arg(path);
        quiet(&mut copy).map(drop)
    }

    /// What root is let in by, as dropbear's client reads it.
    pub fn key(&self) -> Result<PathBuf> {
        self.set.path(KEY)
    }
}

fn make(edition: Edition, work: &Work) -> Result<String> {
    programs::ensure(&programs::OF_DISKS)?;
    let (apt, folder, files) = (Apt::of_host(), work.scratch(), work.files());
    let tree = folder.join("root");
    let wanted = [&PACKAGES, edition.packages()].concat();
    let packages = apt.unpack_chosen(&wanted, &tree, |is_new| {
        let names = apt.with_all_needed(&wanted)?;
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut packages = apt.newest_of(&names)?;
        packages.push(choose(apt, RELEASE, is_new)?);
        Ok(packages)
    })?;
    let root = Root(&tree);
    root.set_up(&format!("UUID={ROOT_UUID} / ext4 defaults 0 0\n"))?;
    edition.set_up(&root)?;
    root.let_in(&files.join(KEY))?;
    let version = root.kernel()?;
    boot::put_initrd(&tree, &version)?;
    root.write("boot/grub/grub.cfg", 0o644, &boot::grub_menu(&version, ROOT_UUID))?;

    let efi = folder.join("efi");
    fs::create_dir_all(efi.join("EFI/debian"))?;
    fs::write(efi.join("EFI/debian/grub.cfg"), boot::grub_of_firmware(ROOT_UUID))?;
    let root = Contents::Ext4 { uuid: ROOT_UUID.into(), label: "root".into(), folder: tree };
    let efi = Contents::Fat { label: "EFI".into(), folder: efi };
    // In the places and by the numbers of Debian's cloud images.
    let parts = [
        (14, Use::Bios, 3, Contents::Nothing),
        (15, Use::Efi, 8, efi),
        (1, Use::Root, edition.root_mib(), root),
    ];
    let parts =
        parts.map(|(number, purpose, mib, contents)| Partition { number, purpose, mib, contents });
    with_gpt(&files.join(DISK), &parts)?;
    let kernel = packages.last().context("there is no kernel among the packages")?;
    Ok(format!("Debian of {} packages with {} {}", packages.len(), kernel.name, kernel.version))
}
