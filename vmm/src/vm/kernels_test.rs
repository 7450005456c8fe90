//! A cache of one's own: filled once, found again, trusted only as far as nobody else can write there.

use std::os::unix::fs::PermissionsExt;

use arch::boot::KernelFormat;

use super::*;

const CODE: usize = 0x2000;

/// An ELF file with code at 16 MiB.
fn vmlinux(seed: u8) -> Vec<u8> {
    let mut elf = vec![0; 0x200];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x7F, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &[2, 0, 62, 0, 1]);
    put(24, &0x100_0000u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 1]);
    put(64, &[1]);
    put(72, &0x200u64.to_le_bytes());
    put(88, &0x100_0000u64.to_le_bytes());
    put(96, &(CODE as u64).to_le_bytes());
    put(104, &(CODE as u64).to_le_bytes());
    elf.extend((0..CODE).map(|at| (at % 251) as u8 ^ seed));
    elf
}

/// A bzImage with `payload` in it.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x600];
    image.extend(payload);
    image.resize(image.len().next_multiple_of(16).max(0x800), 0);
    let paragraphs = (image.len() - 0x400) / 16;
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1F1, &[1]);
    put(0x1F4, &(paragraphs as u32).to_le_bytes());
    put(0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(0x202, b"HdrS\x0F\x02");
    put(0x211, &[1]);
    put(0x22C, &0x7FFF_FFFFu32.to_le_bytes());
    put(0x230, &0x20_0000u32.to_le_bytes());
    put(0x236, &[0x7F]);
    put(0x238, &2047u32.to_le_bytes());
    put(0x248, &0x200u32.to_le_bytes());
    put(0x24C, &(payload.len() as u32).to_le_bytes());
    put(0x258, &0x100_0000u64.to_le_bytes());
    put(0x260, &0x40_0000u32.to_le_bytes());
    image
}

/// `elf` packed by LZ4.
fn payload(elf: &[u8]) -> Vec<u8> {
    let block = lz4_flex::block::compress(elf);
    let lens = [block.len() as u32, elf.len() as u32].map(u32::to_le_bytes);
    [&b"\x02\x21\x4C\x18"[..], &lens[0], &block, &lens[1]].concat()
}

fn kernel(bytes: &[u8]) -> Kernel {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Kernel::from_file(file, "kernel").unwrap()
}

/// Unpacks the kernel of this seed by way of `folder`; whether that worked.
fn unpacks(seed: u8, folder: &Path) -> bool {
    let elf = vmlinux(seed);
    let packed = kernel(&bzimage(&payload(&elf)));
    let before = packed.load_size();
    let unpacked = unpacked(packed, &KernelCache::At(folder.into()));
    assert_eq!(unpacked.format(), KernelFormat::BzImage);
    assert_ne!(before, CODE as u64);
    unpacked.load_size() == CODE as u64
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_kernel_is_unpacked_once_and_found_again() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("a/b");
    assert!(unpacks(1, &folder));
    let [file] = &files(&folder)[..] else { panic!("one file") };
    assert_eq!(fs::read(file).unwrap(), vmlinux(1));
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let first = fs::metadata(file).unwrap();
    assert_eq!(first.mode() & 0o777, 0o600);

    assert!(unpacks(1, &folder));
    assert_eq!(fs::metadata(file).unwrap().ino(), first.ino(), "it was written again");
    assert!(unpacks(2, &folder));
    assert_eq!(files(&folder).len(), 2, "another kernel has another name");
}

#[test]
fn a_file_that_rests_is_known_without_being_read() {
    let base = tempfile::tempdir().unwrap();
    let (folder, file) = (base.path().join("kept"), base.path().join("kernel"));
    fs::write(&file, bzimage(&payload(&vmlinux(1)))).unwrap();
    let cache = KernelCache::At(folder.clone());
    let unpacks = || unpacked(Kernel::open(&file).unwrap(), &cache).load_size() == CODE as u64;
    let links = || -> Vec<_> {
        files(&folder)
            .into_iter()
            .filter_map(|path| Some((fs::read_link(&path).ok()?, path)))
            .collect()
    };
    assert!(unpacks());
    assert_eq!(links(), [], "it may change yet, and nobody would see it");
    std::thread::sleep(SETTLED + Duration::from_millis(50));
    assert!(unpacks());
    let [(name, link)] = &links()[..] else { panic!("one link") };

    // Led astray it finds another kernel, so it is by the link that it finds any.
    let other = "0".repeat(64);
    fs::rename(folder.join(name), folder.join(&other)).unwrap();
    fs::remove_file(link).unwrap();
    symlink(&other, link).unwrap();
    assert!(unpacks());
    assert!(!folder.join(name).exists());

    // A link to nowhere, or away, is as good as none.
    for astray in [Path::new("nowhere"), &file, Path::new("../kernel")] {
        fs::remove_file(link).unwrap();
        symlink(astray, link).unwrap();
        assert!(unpacks());
        assert_eq!(links(), [(name.clone(), link.clone())]);
    }

    // What is written to the file is another kernel.
    fs::write(&file, bzimage(&payload(&vmlinux(2)))).unwrap();
    assert!(unpacks());
    assert_eq!(files(&folder).len(), 4, "three kernels, one of them twice, and a link");
}

#[test]
fn links_do_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    for nth in 0..KEPT_ALIASES + 9 {
        symlink("0".repeat(64), folder.path().join(format!("{nth:x}-0-0-0.0"))).unwrap();
    }
    assert!(unpacks(1, folder.path()));
    assert_eq!(files(folder.path()).len(), KEPT_ALIASES + 1);
}

#[test]
fn what_is_kept_but_cut_or_spoilt_is_unpacked_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(unpacks(1, folder.path()));
    let file = files(folder.path()).remove(0);
    for spoilt in [vec![], vmlinux(1)[1..].to_vec(), vec![0; vmlinux(1).len()]] {
        fs::write(&file, spoilt).unwrap();
        assert!(unpacks(1, folder.path()));
        assert_eq!(fs::read(&file).unwrap(), vmlinux(1));
    }
}

#[test]
fn what_others_can_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    assert!(unpacks(1, folder.path()));
    let file = files(folder.path()).remove(0);
    let before = fs::metadata(&file).unwrap().ino();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
    assert!(unpacks(1, folder.path()));
    let now = fs::metadata(&file).unwrap();
    assert_ne!(now.ino(), before);
    assert_eq!(now.mode() & 0o777, 0o600);

    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    assert!(unpacks(1, folder.path()));
    assert!(fs::symlink_metadata(&file).unwrap().is_file());

    // Then the guest does it.
    fs::remove_file(&file).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!unpacks(1, folder.path()));
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn without_a_folder_the_guest_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for nowhere in [&file, &file.join("below"), Path::new("/proc/nobody/makes/this")] {
        assert!(!unpacks(1, nowhere));
    }
    assert_eq!(files(folder.path()), [file]);
}

#[test]
fn the_folder_does_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let old = |name: &str, age: Duration| {
        let path = folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    };
    let stale = old("left.7.part", STALE * 2);
    let fresh = old("of-another.8.part", STALE / 2);
    let other = old("README", STALE * 9);
    let unused = old(&"a".repeat(64), STALE);
    for seed in 0..KEPT as u8 {
        assert!(unpacks(seed, folder.path()));
    }
    assert!(!stale.exists() && !unused.exists());
    assert!(fresh.exists() && other.exists());
    assert_eq!(files(folder.path()).len(), KEPT + 2);
}

#[test]
fn while_somebody_unpacks_it_the_guest_does_it_too() {
    let folder = tempfile::tempdir().unwrap();
    assert!(unpacks(1, folder.path()));
    let kept = files(folder.path()).remove(0);
    let part = kept.with_extension("part");
    fs::rename(&kept, &part).unwrap();
    assert!(!unpacks(1, folder.path()));
    assert_eq!(files(folder.path()), std::slice::from_ref(&part), "it is another's");
    let long_ago = SystemTime::now() - STALE * 2;
    File::options().write(true).open(&part).unwrap().set_modified(long_ago).unwrap();
    assert!(unpacks(1, folder.path()));
    assert_eq!(files(folder.path()), [kept]);
}

#[test]
fn what_cannot_be_unpacked_unpacks_itself() {
    let folder = tempfile::tempdir().unwrap();
    let cache = KernelCache::At(folder.path().into());
    let no_kernel = payload(&[7; 5000]);
    let cut = &payload(&vmlinux(1))[8..];
    for payload in [&b"BZh9 and more"[..], &no_kernel, cut, &[]] {
        let image = bzimage(payload);
        let load_size = kernel(&image).load_size();
        assert_eq!(unpacked(kernel(&image), &cache).load_size(), load_size);
    }
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    let image = bzimage(&payload(&vmlinux(1)));
    let load_size = kernel(&image).load_size();
    assert_eq!(unpacked(kernel(&image), &KernelCache::Off).load_size(), load_size);
}

#[test]
fn it_is_said_as_it_was() {
    for text in ["off", "/var/cache/kernels", "relative"] {
        assert_eq!(KernelCache::from(OsStr::new(text)).said().as_deref(), Some(text));
    }
    assert_eq!(KernelCache::default().said(), None);
}
