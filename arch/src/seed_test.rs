//! The seed as another reader of FAT finds it.

use std::io::{Cursor, Read};

use fatfs::{FatType, FileSystem, FsOptions};
use proptest::prelude::*;

use super::*;

/// Its label, and the files in it.
fn read(disk: Vec<u8>) -> (String, Vec<(String, Vec<u8>)>) {
    let reader = FileSystem::new(Cursor::new(disk), FsOptions::new()).unwrap();
    assert_eq!(reader.fat_type(), FatType::Fat12);
    assert_eq!(reader.volume_label(), "CIDATA");
    let label = reader.read_volume_label_from_root_dir().unwrap().unwrap();
    let files = reader.root_dir().iter().map(|entry| {
        let entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.to_file().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, entry.len());
        (entry.file_name(), bytes)
    });
    (label, files.collect())
}

fn file(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.to_vec())
}

#[test]
fn the_files_have_the_names_that_cloud_init_looks_for() {
    let seed = Seed {
        user_data: b"#cloud-config\n".to_vec(),
        meta_data: meta_data("vm-1"),
        network_config: Some(b"version: 2\n".to_vec()),
    };
    let (label, files) = read(seed.to_disk().unwrap());
    assert_eq!(label, "CIDATA");
    assert_eq!(
        files,
        [
            file("meta-data", b"instance-id: vm-1\nlocal-hostname: vm-1\n"),
            file("user-data", b"#cloud-config\n"),
            file("network-config", b"version: 2\n"),
        ]
    );
    let without = Seed { network_config: None, ..seed };
    assert_eq!(read(without.to_disk().unwrap()).1.len(), 2);
}

#[test]
fn the_largest_files_fit_and_larger_ones_are_refused() {
    let most: Vec<u8> = (0..MOST_FILE).map(|at| (at % 251) as u8).collect();
    let seed = Seed {
        user_data: most.clone(),
        meta_data: most.clone(),
        network_config: Some(most.clone()),
    };
    let disk = seed.to_disk().unwrap();
    assert!(disk.len() < 4 << 20);
    assert!(read(disk).1.iter().all(|(_, bytes)| *bytes == most));
    let seed = Seed { user_data: vec![0; MOST_FILE + 1], ..Seed::default() };
    assert_eq!(
        seed.to_disk().unwrap_err().to_string(),
        "user-data has 1048577 bytes; at most 1048576 are taken"
    );
}

#[test]
fn the_same_files_make_the_same_disk_and_others_another_id() {
    let seed =
        |text: &[u8]| Seed { user_data: text.to_vec(), ..Seed::default() }.to_disk().unwrap();
    assert_eq!(seed(b"a"), seed(b"a"));
    assert_ne!(seed(b"a")[39..43], seed(b"b")[39..43]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn files_of_any_size_read_back(
        user in prop::collection::vec(any::<u8>(), 0..9000),
        meta in prop::collection::vec(any::<u8>(), 0..3000),
        network in prop::option::of(prop::collection::vec(any::<u8>(), 0..5000)),
    ) {
        let seed = Seed { user_data: user.clone(), meta_data: meta.clone(), network_config: network.clone() };
        let disk = seed.to_disk().unwrap();
        prop_assert_eq!(disk.len() % SECTOR, 0);
        let (_, files) = read(disk);
        prop_assert_eq!(&files[0].1, &meta);
        prop_assert_eq!(&files[1].1, &user);
        prop_assert_eq!(files.get(2).map(|(_, bytes)| bytes), network.as_ref());
    }
}
