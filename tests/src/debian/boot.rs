//! What starts a Debian on a disk: its initrd, and the configuration of its boot loader.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::initramfs::Archive;
use crate::modules;

const INIT: &str = include_str!("../../../resources/guest/disk-init");

/// Drivers that it takes to come to the root, on either bus and by either model of disk.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_mmio", "virtio_blk", "nvme", "ext4"];

/// An initrd for the kernel whose modules lie in `folder`.
pub fn initrd(folder: &Path) -> Result<Vec<u8>> {
    let modules = modules::in_load_order(folder, &MODULES)?;
    Archive::new(INIT, &modules)?.finish().context("cannot make an initrd")
}

/// Where the kernel `version` and its initrd lie on the root of a Debian.
pub fn files(version: &str) -> (String, String) {
    (format!("/boot/vmlinuz-{version}"), format!("/boot/initrd.img-{version}"))
}

/// What GRUB boots from a root with this UUID: the kernel, and in a submenu the same for whoever is in need.
pub fn grub_menu(version: &str, root_uuid: &str) -> String {
    let (kernel, initrd) = files(version);
    let entry = |title: &str, id: &str, words: &str| {
        format!(
            "menuentry '{title}' --class debian --class gnu-linux --class os $menuentry_id_option '{id}' {{\n\
             \tinsmod part_gpt\n\
             \tinsmod ext2\n\
             \tsearch --no-floppy --fs-uuid --set=root {root_uuid}\n\
             \techo 'Loading Linux {version} ...'\n\
             \tlinux {kernel} root=UUID={root_uuid} ro {words}\n\
             \tinitrd {initrd}\n\
             }}\n"
        )
    };
    let usual = entry("Debian GNU/Linux", "gnulinux-simple", "net.ifnames=0 console=ttyS0 quiet");
    let rescue = entry("Recovery mode", "gnulinux-recovery", "single");
    format!(
        "if [ -s $prefix/grubenv ]; then\n  load_env\nfi\n\
         if [ \"${{next_entry}}\" ]; then\n  set default=\"${{next_entry}}\"\nelse\n  set default=\"0\"\nfi\n\
         menuentry_id_option=\"--id\"\n\
         set timeout=5\n\
         {usual}submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {{\n{rescue}}}\n"
    )
}

/// What GRUB reads first where firmware started it: it leads to the root's.
pub fn grub_of_firmware(root_uuid: &str) -> String {
    format!(
        "search.fs_uuid {root_uuid} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    )
}

/// Puts kernel and initrd where [`files`] says, for a tree whose modules lie in `modules`.
pub fn put_initrd(root: &Path, version: &str) -> Result<()> {
    let modules = root.join("usr/lib/modules").join(version);
    let (_, initrd_path) = files(version);
    let path = root.join(initrd_path.trim_start_matches('/'));
    fs::write(&path, initrd(&modules)?).with_context(|| format!("cannot write {}", path.display()))
}
