//! Disks of any content: refused with a line, or led to files that lie on them.
#![no_main]

use arch::boot::{DiskBoot, ReadAt};
use fuzz::disks::{self, Content, Mapping};
use libfuzzer_sys::fuzz_target;

/// What is no image but a script for GRUB begins so.
const SCRIPT: &[u8] = b"grub.cfg:";
/// Bytes of files that are copied, to try more.
const MOST_COPIED: u64 = 1 << 20;

// An input is a disk, or the script of one that has a kernel or two.
fuzz_target!(|bytes: &[u8]| {
    let disk = match bytes.strip_prefix(SCRIPT) {
        Some(script) => disks::ext4(
            &[
                ("/boot/grub/grub.cfg", Content::File(script)),
                ("/boot/grub/grubenv", Content::File(b"saved_entry=1\n")),
                ("/loader/entries/a.conf", Content::File(b"linux /boot/vmlinuz-1\noptions $a\n")),
                ("/boot/vmlinuz-1", Content::File(b"kernel")),
                ("/boot/initrd.img-1", Content::Link("vmlinuz-1")),
            ],
            Mapping::Extents,
        ),
        None => bytes.to_vec(),
    };
    let boot = match DiskBoot::find(&disk, "disk") {
        Ok(boot) => boot,
        Err(error) => {
            let line = error.to_string();
            return assert!(!line.is_empty() && !line.contains('\n'), "{line}");
        }
    };
    assert!(boot.cmdline.contains("console=ttyS0"));
    for file in std::iter::once(&boot.kernel).chain(&boot.initrds) {
        if file.size <= MOST_COPIED {
            let mut out = Vec::new();
            file.copy(&disk, &mut out).expect("what was found is on the disk");
            assert_eq!(out.len() as u64, file.size);
        }
    }
    assert!(ReadAt::size(&disk).is_ok());
});
