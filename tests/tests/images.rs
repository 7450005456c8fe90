//! Disks as distributions lay them out, made by the tools that they use: what vmm finds to boot on them.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tests::console::Console;
use tests::debian;
use tests::disk_image::{Contents, Partition, Use, with_gpt, without_partitions};
use tests::host::PATIENCE;
use tests::idle;
use tests::machine::Hypervisor;
use tests::process::Owned;
use tests::programs;

const ROOT: &str = "5a3fbe0c-0d4c-4f43-9f6b-0c6f3c5d7a11";
const BOOT: &str = "9c1d2f60-2a6e-4b0f-8a55-3f3b8e1c7d22";

/// Folders that become file systems, each with what is put into it.
struct Trees(TempDir);

impl Trees {
    fn new() -> Self {
        programs::ensure(&programs::OF_DISKS).unwrap();
        Self(tempfile::tempdir().unwrap())
    }

    fn disk(&self) -> PathBuf {
        self.0.path().join("disk.raw")
    }

    /// A tree of text files, and in `kernels` of the kernel that only halts, each with an initrd of its own name.
    fn tree(&self, name: &str, texts: &[(&str, &str)], kernels: &[(&str, &str)]) -> PathBuf {
        let root = self.0.path().join(name);
        let put = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let kernel = fs::read(idle::kernel(self.0.path()).unwrap()).unwrap();
        fs::create_dir_all(&root).unwrap();
        for (path, text) in texts {
            put(path, text.as_bytes());
        }
        for (path, initrd) in kernels {
            put(path, &kernel);
            put(initrd, initrd.as_bytes());
        }
        root
    }
}

fn ext4(folder: PathBuf, uuid: &str) -> Contents {
    Contents::Ext4 { uuid: uuid.into(), label: "fs".into(), folder }
}

fn fat(folder: PathBuf) -> Contents {
    Contents::Fat { label: "EFI".into(), folder }
}

fn partition(number: u8, purpose: Use, mib: u64, contents: Contents) -> Partition {
    Partition { number, purpose, mib, contents }
}

/// What vmm's log says that it boots from a disk.
fn booted(disk: &Path) -> String {
    let Hypervisor::Vmm(vmm) = Hypervisor::ours().unwrap() else {
        unreachable!("ours is not QEMU")
    };
    let mut command = Command::new(vmm);
    command.arg("--disk").arg(disk).args(["--mem", "64M", "--serial", "none", "--no-api"]);
    command.args(["--log-level", "info"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut vmm = Owned::spawn(&mut command).unwrap();
    let log = Console::collect("vmm's log", vmm.child().stderr.take().unwrap());
    let said = log.wait(0, PATIENCE, "what it boots", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut told = lines.filter_map(|line| line.split_once(" boots "));
        told.next().map(|(_, what)| what.to_owned())
    });
    said.unwrap()
}

#[test]
fn debians_cloud_image_boots_by_the_menu_that_its_efi_partition_leads_to() {
    let (trees, version) = (Trees::new(), "6.1.0-9-cloud-amd64");
    let (kernel, initrd) = debian::files_of_kernel(version);
    let root = trees.tree(
        "root",
        &[("boot/grub/grub.cfg", &debian::grub_menu(version, ROOT)), ("etc/fstab", "#")],
        &[(kernel.trim_start_matches('/'), initrd.trim_start_matches('/'))],
    );
    let efi = trees.tree("efi", &[("EFI/debian/grub.cfg", &debian::grub_of_firmware(ROOT))], &[]);
    let partitions = [
        partition(14, Use::Bios, 1, Contents::Nothing),
        partition(15, Use::Efi, 4, fat(efi)),
        partition(1, Use::Root, 16, ext4(root, ROOT)),
    ];
    with_gpt(&trees.disk(), &partitions).unwrap();
    assert_eq!(
        booted(&trees.disk()),
        format!(
            "kernel {kernel} of partition 1 with initrd {initrd} of partition 1, by entry \"Debian GNU/Linux\" of \
             /EFI/debian/grub.cfg on partition 15: root=UUID={ROOT} ro net.ifnames=0 console=ttyS0 quiet"
        )
    );
}

#[test]
fn fedoras_image_boots_its_newest_entry_from_a_boot_partition() {
    let trees = Trees::new();
    let entry = |version: &str| {
        format!(
            "title Fedora Linux ({version})\nversion {version}\nlinux /vmlinuz-{version}\n\
             initrd /initramfs-{version}.img $tuned_initrd\noptions $kernelopts $tuned_params\n\
             grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class fedora\n"
        )
    };
    // As `grub2-editenv` pads it.
    let environment =
        format!("# GRUB Environment Block\nkernelopts=root=UUID={ROOT} ro rhgb\nboot_success=0\n");
    let environment = format!("{environment:#<1024}");
    let menu = "set timeout=1\nif [ -f ${config_directory}/grubenv ]; then\n  load_env -f ${config_directory}/grubenv\n\
                elif [ -s $prefix/grubenv ]; then\n  load_env\nfi\n\
                if [ x\"${feature_menuentry_id}\" = xy ]; then\n  menuentry_id_option=\"--id\"\nfi\n\
                insmod part_gpt\ninsmod ext2\n\
                if [ -z \"${kernelopts}\" ]; then\n  set kernelopts=\"root=UUID=none\"\nfi\n\
                insmod blscfg\nblscfg\n";
    let boot = trees.tree(
        "boot",
        &[
            ("grub2/grub.cfg", menu),
            ("grub2/grubenv", &environment),
            ("loader/entries/0123-6.5.6-300.fc39.x86_64.conf", &entry("6.5.6-300.fc39.x86_64")),
            ("loader/entries/0123-6.11.4-101.fc39.x86_64.conf", &entry("6.11.4-101.fc39.x86_64")),
        ],
        &[
            ("vmlinuz-6.5.6-300.fc39.x86_64", "initramfs-6.5.6-300.fc39.x86_64.img"),
            ("vmlinuz-6.11.4-101.fc39.x86_64", "initramfs-6.11.4-101.fc39.x86_64.img"),
        ],
    );
    let stub = format!(
        "search --no-floppy --root-dev-only --fs-uuid --set=dev {BOOT}\nset prefix=($dev)/grub2\n\
         export $prefix\nconfigfile $prefix/grub.cfg\n"
    );
    let efi = trees.tree("efi", &[("EFI/fedora/grub.cfg", &stub)], &[]);
    // What is on the root need not be read.
    let partitions = [
        partition(1, Use::Bios, 1, Contents::Nothing),
        partition(2, Use::Efi, 4, fat(efi)),
        partition(3, Use::Boot, 8, ext4(boot, BOOT)),
        partition(4, Use::Root, 8, Contents::Nothing),
    ];
    with_gpt(&trees.disk(), &partitions).unwrap();
    assert_eq!(
        booted(&trees.disk()),
        format!(
            "kernel /vmlinuz-6.11.4-101.fc39.x86_64 of partition 3 with initrd \
             /initramfs-6.11.4-101.fc39.x86_64.img of partition 3, by entry \
             \"Fedora Linux (6.11.4-101.fc39.x86_64)\" of /EFI/fedora/grub.cfg on partition 2: \
             root=UUID={ROOT} ro rhgb console=ttyS0"
        )
    );
}

#[test]
fn systemd_boots_default_entry_is_booted_from_the_efi_partition() {
    let trees = Trees::new();
    let entry = |version: &str| {
        format!(
            "title Debian GNU/Linux 12 (bookworm)\nversion {version}\nmachine-id 0123\nsort-key debian\n\
             options root=UUID={ROOT} ro quiet\nlinux /0123/{version}/linux\ninitrd /0123/{version}/initrd.img-{version}\n"
        )
    };
    let efi = trees.tree(
        "efi",
        &[
            ("loader/loader.conf", "timeout 3\ndefault 0123-6.1.0-9-amd64*\nconsole-mode keep\n"),
            ("loader/entries/0123-6.1.0-9-amd64.conf", &entry("6.1.0-9-amd64")),
            ("loader/entries/0123-6.1.0-13-amd64.conf", &entry("6.1.0-13-amd64")),
            ("EFI/systemd/systemd-bootx64.efi", "MZ"),
            ("EFI/BOOT/BOOTX64.EFI", "MZ"),
        ],
        &[
            ("0123/6.1.0-9-amd64/linux", "0123/6.1.0-9-amd64/initrd.img-6.1.0-9-amd64"),
            ("0123/6.1.0-13-amd64/linux", "0123/6.1.0-13-amd64/initrd.img-6.1.0-13-amd64"),
        ],
    );
    let root = trees.tree("root", &[("etc/fstab", "#")], &[]);
    let partitions =
        [partition(1, Use::Efi, 40, fat(efi)), partition(2, Use::Root, 8, ext4(root, ROOT))];
    with_gpt(&trees.disk(), &partitions).unwrap();
    assert_eq!(
        booted(&trees.disk()),
        format!(
            "kernel /0123/6.1.0-9-amd64/linux of partition 1 with initrd \
             /0123/6.1.0-9-amd64/initrd.img-6.1.0-9-amd64 of partition 1, by \
             /loader/entries/0123-6.1.0-9-amd64.conf on partition 1: root=UUID={ROOT} ro quiet console=ttyS0"
        )
    );
}

#[test]
fn a_disk_that_is_one_file_system_without_a_boot_loader_boots_its_newest_kernel() {
    let trees = Trees::new();
    let root = trees.tree(
        "root",
        &[("etc/fstab", "#")],
        &[("boot/vmlinuz-6.12.0", "boot/initrd.img-6.12.0")],
    );
    without_partitions(&trees.disk(), 16, &ext4(root, ROOT)).unwrap();
    assert_eq!(
        booted(&trees.disk()),
        format!(
            "kernel /boot/vmlinuz-6.12.0 of the disk with initrd /boot/initrd.img-6.12.0 of the disk, by the newest \
             kernel, as no boot loader's configuration was found: root=UUID={ROOT} ro rootwait console=ttyS0"
        )
    );
}
