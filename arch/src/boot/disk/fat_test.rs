//! Files as another writer of FAT puts them there.

use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem as Writer, FormatVolumeOptions, FsOptions, format_volume};
use proptest::prelude::*;

use super::super::source::{Budget, ReadAt};
use super::super::walk;
use super::*;

/// A file system of `len` bytes with files, in folders that are made as needed.
pub(crate) fn fat(len: usize, kind: FatType, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; len]);
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(512)
        .volume_label(*b"ESP        ")
        .volume_id(0x1234_ABCD);
    format_volume(&mut disk, options).unwrap();
    let writer = Writer::new(&mut disk, FsOptions::new()).unwrap();
    for (path, bytes) in files {
        let mut folder = writer.root_dir();
        let mut parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let name = parts.pop().unwrap();
        for part in parts {
            folder = folder.create_dir(part).unwrap();
        }
        folder.create_file(name).unwrap().write_all(bytes).unwrap();
    }
    drop(writer);
    disk.into_inner()
}

const KINDS: [(usize, FatType); 3] =
    [(1 << 20, FatType::Fat12), (8 << 20, FatType::Fat16), (40 << 20, FatType::Fat32)];

fn region<'a>(disk: &'a dyn ReadAt, budget: &'a Budget) -> Region<'a> {
    Region::whole(disk, disk.size().unwrap(), budget)
}

#[test]
fn files_with_short_and_long_names_are_found_in_all_three_kinds() {
    let large: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
    let long = "/loader/entries/6a9857a393724b7a981ebb5b8495b9ea-6.1.0-13-cloud-amd64.conf";
    let files: [(&str, &[u8]); 4] = [
        ("/EFI/BOOT/BOOTX64.EFI", b"MZ"),
        (long, b"linux /x"),
        ("/large", &large),
        ("/empty", b""),
    ];
    for (len, kind) in KINDS {
        let disk = fat(len, kind, &files);
        let budget = Budget::default();
        assert!(is_fat(&region(&disk, &budget)));
        let fat = Fat::open(region(&disk, &budget)).unwrap();
        assert_eq!((&*fat.uuid, &*fat.label), ("1234-ABCD", "ESP"));
        for (path, bytes) in &files {
            let node = walk::find(&fat, path).unwrap().unwrap();
            assert_eq!(&fat.read(&node, 1 << 20).unwrap(), bytes, "{path}");
        }
        assert!(walk::find(&fat, "/efi/boot/bootx64.efi").unwrap().is_some());
        assert!(walk::find(&fat, "/EFI/BOOT/nothing").unwrap().is_none());
        assert_eq!(walk::names(&fat, "/").unwrap(), ["EFI", "empty", "large", "loader"]);
        assert!(fat.read(&walk::find(&fat, "/large").unwrap().unwrap(), 99_999).is_err());
    }
}

#[test]
fn a_table_that_leads_back_ends() {
    let (len, kind) = KINDS[1];
    let mut disk = fat(len, kind, &[("/boot/x", &[7; 4096])]);
    // All clusters lead to the third.
    for entry in disk[512..][4..1024].chunks_exact_mut(2) {
        entry.copy_from_slice(&[3, 0]);
    }
    let budget = Budget::default();
    let fat = Fat::open(region(&disk, &budget)).unwrap();
    let _ = walk::find(&fat, "/boot/x");
    assert!(walk::names(&fat, "/boot").unwrap().len() <= 4096);
}

#[test]
fn other_boot_sectors_are_no_fat() {
    let budget = Budget::default();
    let mut sector = vec![0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    assert!(!is_fat(&region(&sector, &budget)));
    assert!(!is_fat(&region(&vec![], &budget)));
    let mut disk = fat(1 << 20, FatType::Fat12, &[]);
    disk[19..21].copy_from_slice(&[3, 0]); // shorter than its tables
    assert!(!is_fat(&region(&disk, &budget)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_change_of_an_image_makes_reading_panic_or_go_on(
        changes in prop::collection::vec((0usize..9000, any::<u8>()), 1..30),
    ) {
        let name = "/folder/with a long name.conf";
        let mut disk = fat(1 << 20, FatType::Fat12, &[(name, &[1; 5000]), ("/b", b"b")]);
        for (at, value) in changes {
            disk[at] = value;
        }
        let budget = Budget::default();
        if let Ok(fat) = Fat::open(region(&disk, &budget)) {
            for path in [name, "/b"] {
                if let Ok(Some(node)) = walk::find(&fat, path) {
                    let _ = fat.read(&node, 1 << 20);
                }
            }
            let _ = walk::names(&fat, "/folder");
        }
    }
}
