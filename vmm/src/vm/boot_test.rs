//! What is opened for a machine that boots a disk, and what is said where nothing can be.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;
use crate::vm::kernels::KernelCache;
use crate::vm::samples::disks::{self, Content, LINUX, Mapping};
use crate::vm::samples::kernels as samples;
use crate::words::one_line;

const MEMORY: memory::Size = memory::Size(64 << 20);

/// What boots the disk with these files on its only partition.
fn on_disk(folder: &Path, files: &[(&str, Content)]) -> BootSpec {
    let path = folder.join("disk.raw");
    let volume = disks::ext4(files, Mapping::Extents);
    fs::write(&path, disks::gpt(&[(LINUX, 1, &volume)])).unwrap();
    spec(path)
}

fn spec(disk: PathBuf) -> BootSpec {
    BootSpec {
        kernel: BootFrom::Disk(disk, Vec::new()),
        initrd: None,
        cmdline: None,
        kernel_cache: KernelCache::Off,
    }
}

const ENTRY: &[u8] = b"linux /k\ninitrd /a\ninitrd /b\noptions root=PARTUUID=1 ro\n";

fn plan(spec: &BootSpec) -> Result<BootPlan, BootError> {
    let opened = Opened::of(spec)?;
    let cmdline = opened.cmdline().clone();
    opened.plan(cmdline, MEMORY)
}

#[test]
fn a_disk_is_planned_like_files() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = samples::bzimage();
    let spec = on_disk(
        folder.path(),
        &[
            ("/loader/entries/a.conf", Content::File(ENTRY)),
            ("/k", Content::File(&kernel)),
            ("/a", Content::File(b"first")),
            ("/b", Content::File(b"second")),
        ],
    );
    check(&spec).unwrap();
    let planned = plan(&BootSpec { cmdline: Some("single".into()), ..spec }).unwrap();
    assert!(planned.kernel().name().starts_with("/k of partition 1 of /"));
    assert_eq!(planned.kernel().format(), arch::boot::KernelFormat::BzImage);
    assert_eq!(planned.cmdline().as_str(), "root=PARTUUID=1 ro console=ttyS0 single");
    assert_eq!(planned.initrd().unwrap().size(), 16);
}

#[test]
fn parts_of_an_initrd_begin_at_multiples_of_four() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = samples::bzimage();
    let spec = on_disk(
        folder.path(),
        &[
            ("/loader/entries/a.conf", Content::File(ENTRY)),
            ("/k", Content::File(&kernel)),
            ("/a", Content::File(b"first")),
            ("/b", Content::File(b"second")),
        ],
    );
    let BootFrom::Disk(path, _) = &spec.kernel else { unreachable!() };
    let (disk, boot) = find(&Source::raw(path)).unwrap();
    let initrd = copied(&*disk, &boot.initrds).unwrap();
    let mut bytes = [0; 16];
    initrd.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"first\0\0\0second\0\0");
}

#[test]
fn what_cannot_boot_is_told_with_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let line = |error: BootError| {
        let line = one_line(Some(error.setting().option()), &error);
        line.replace(&folder.path().display().to_string(), "DIR")
    };
    let refused = |spec: &BootSpec| line(plan(spec).err().unwrap());
    let entry = ("/loader/entries/a.conf", Content::File(b"linux /k"));
    let nothing = folder.path().join("nothing");
    assert_eq!(
        line(check(&spec(nothing)).unwrap_err()),
        "--disk: disk DIR/nothing cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        line(check(&spec(folder.path().into())).unwrap_err()),
        "--disk: disk DIR is neither a file nor a block device"
    );
    assert_eq!(
        refused(&on_disk(folder.path(), &[])),
        "--disk: disk DIR/disk.raw has no kernel that was found: partition 1 (ext4) has none; give a kernel \
         and its command line"
    );
    assert_eq!(
        refused(&on_disk(folder.path(), &[entry, ("/k", Content::File(b"#!/bin/sh"))])),
        "--disk: /k of partition 1 of DIR/disk.raw is not a kernel: it is a script"
    );
    let mut large = samples::bzimage();
    samples::put(&mut large, 0x260, &0x1000_0000u32.to_le_bytes()); // init_size
    let entry = ("/loader/entries/a.conf", Content::File(b"linux /k"));
    assert_eq!(
        refused(&on_disk(folder.path(), &[entry, ("/k", Content::File(&large))])),
        "--mem: kernel /k of partition 1 of DIR/disk.raw is too large for the memory: it needs 272 MiB below \
         3 GiB, the machine has 64 MiB there"
    );
    let entry = ("/loader/entries/a.conf", Content::File("linux /k\noptions é".as_bytes()));
    let kernel = samples::bzimage();
    assert_eq!(
        refused(&on_disk(folder.path(), &[entry, ("/k", Content::File(&kernel))])),
        "--disk: disk DIR/disk.raw: the kernel command line has the character 'é' at position 0, but kernels \
         take ASCII only"
    );
}
