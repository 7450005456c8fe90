//! Tests of what is taken as an image and what is not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const WRITABLE: Mode = Mode { read_only: false, direct: false };
const READ_ONLY: Mode = Mode { read_only: true, direct: false };

fn file(folder: &TempDir, name: &str, bytes: u64) -> PathBuf {
    let path = folder.path().join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

fn refusal(path: &Path, mode: Mode) -> String {
    let error = Image::open(path, mode).expect_err("it is to be refused");
    crate::control::ChangeError::of(&error).0
}

/// B2.
#[test]
fn bytes_beyond_the_last_whole_sector_are_not_the_guests() {
    let folder = TempDir::new().unwrap();
    for (bytes, size) in
        [(0, 0), (512, 512), (1023, 512), (1 << 20, 1 << 20), ((1 << 20) + 1, 1 << 20)]
    {
        let image = Image::open(&file(&folder, "disk", bytes), WRITABLE).unwrap();
        assert_eq!(image.size(), size);
    }
    let said = refusal(&file(&folder, "small", 511), WRITABLE);
    assert!(said.contains("has 511 bytes, less than a sector of 512"), "{said}");
}

/// B13.
#[test]
fn a_guests_logical_block_is_a_sector_whatever_the_file_says() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "disk", 1 << 20);
    for direct in [false, true] {
        let facts = Image::open(&path, Mode { direct, ..WRITABLE }).unwrap().facts();
        assert_eq!((facts.logical, facts.size, facts.read_only), (512, 1 << 20, false));
        assert!(facts.physical_exponent <= 11 && facts.discard_granularity.is_power_of_two());
    }
}

/// B64.
#[test]
fn an_image_is_written_by_one_and_read_by_many() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "disk", 1 << 20);
    let other = folder.path().join("other");
    symlink(&path, &other).unwrap();

    let writer = Image::open(&path, WRITABLE).unwrap();
    for mode in [WRITABLE, READ_ONLY] {
        let said = refusal(&other, mode);
        assert!(said.contains("is in use by another process, which holds a lock on it"), "{said}");
    }
    drop(writer);
    let readers = [(); 2].map(|()| Image::open(&path, READ_ONLY).unwrap());
    assert!(matches!(Image::open(&path, WRITABLE), Err(OpenError::Locked { .. })));
    drop(readers);
    Image::open(&path, WRITABLE).unwrap();
}

#[test]
fn nothing_but_files_and_block_devices_is_opened() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // A pipe would have us wait for ever.
    for path in [folder.path(), &pipe, Path::new("/dev/null"), Path::new("/dev/tty")] {
        if path.exists() {
            let said = refusal(path, READ_ONLY);
            assert!(said.ends_with("is neither a regular file nor a block device"), "{said}");
        }
    }
    let said = refusal(&folder.path().join("absent"), WRITABLE);
    assert!(said.starts_with("cannot open") && said.contains("No such file"), "{said}");
}

#[test]
fn images_of_other_formats_are_refused_with_the_way_to_convert_them() {
    let folder = TempDir::new().unwrap();
    for (magic, format) in [
        (&b"QFI\xfb"[..], "qcow2"),
        (b"conectix", "VHD"),
        (b"vhdxfile", "VHDX"),
        (b"KDMV", "VMDK"),
        (b"# Disk DescriptorFile", "VMDK"),
        (b"<<< Oracle VM VirtualBox Disk Image >>>", "VDI"),
    ] {
        let path = file(&folder, "disk", 1 << 20);
        let mut open = OpenOptions::new().write(true).open(&path).unwrap();
        open.write_all(magic).unwrap();
        let said = refusal(&path, WRITABLE);
        assert!(said.contains(&format!("is a {format} image")), "{said}");
        assert!(said.contains("qemu-img convert -O raw"), "{said}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn direct_io_that_the_file_system_has_wants_aligned_blocks() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "disk", 1 << 20);
    match Image::open(&path, Mode { direct: true, ..WRITABLE }) {
        Ok(image) => {
            let wanted = image.alignment().unwrap();
            assert!(wanted.fits(0, u64::from(wanted.block)) && !wanted.fits(256, 512));
            assert!(!wanted.takes(&libc::iovec { iov_base: 1 as _, iov_len: 4096 }));
            assert!(wanted.takes(&libc::iovec { iov_base: 8192 as _, iov_len: 8192 }));
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("has no direct I/O; leave it off"), "{said}");
        }
    }
}
