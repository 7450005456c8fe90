//! Files as a small writer puts them there, which another reader reads alike.

use proptest::prelude::*;

use super::super::samples::{self, Content, Mapping};
use super::super::source::Budget;
use super::super::walk;
use super::*;
use Content::{File, Hole, Link};

fn with<T>(disk: &[u8], look: impl FnOnce(&Ext4) -> T) -> T {
    let (disk, budget) = (disk.to_vec(), Budget::default());
    let files = Ext4::open(Region::whole(&disk, disk.len() as u64, &budget)).unwrap();
    look(&files)
}

fn read(disk: &[u8], path: &str) -> Option<Vec<u8>> {
    with(disk, |files| {
        let node = walk::find(files, path).unwrap()?;
        Some(files.read(&node, 1 << 20).unwrap())
    })
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn files_are_read_by_extents_and_by_block_maps() {
    // Within the inode's own numbers, behind one indirection, and behind two.
    for len in [0, 1, 1024, 12 * 1024, 12 * 1024 + 1, 100_000, 500_000] {
        for mapping in [Mapping::Extents, Mapping::Blocks] {
            let bytes = pattern(len);
            let disk = samples::ext4(&[("/boot/vmlinuz-6.1", File(&bytes))], mapping);
            assert_eq!(read(&disk, "/boot/vmlinuz-6.1").unwrap(), bytes, "{len}");
        }
    }
}

#[test]
fn another_reader_finds_the_same_files() {
    let kernel = pattern(70_000);
    let long = format!("/boot/{}", "x".repeat(80));
    let files = [
        ("/boot/vmlinuz", File(&kernel)),
        ("/etc/hole", Hole(5000)),
        ("/etc/fstab", File(b"none")),
        ("/short", Link("etc/fstab")),
        ("/long", Link(&long)),
    ];
    for mapping in [Mapping::Extents, Mapping::Blocks] {
        let disk = samples::ext4(&files, mapping);
        let other = ext4_view::Ext4::load(Box::new(disk.clone())).unwrap();
        for path in ["/boot/vmlinuz", "/etc/hole", "/etc/fstab", "/short"] {
            assert_eq!(read(&disk, path).unwrap(), other.read(path).unwrap(), "{path}");
        }
        assert_eq!(other.uuid().to_string(), samples::UUID);
        assert_eq!(other.label().to_str().unwrap(), samples::LABEL);
        with(&disk, |files| {
            assert_eq!((&*files.uuid, &*files.label), (samples::UUID, samples::LABEL));
            let link = walk::find(files, "/").unwrap().unwrap();
            let mut target = None;
            files
                .visit(&link, &mut |name, id| {
                    if name == "long" {
                        target = Some(files.node(id).unwrap());
                    }
                    true
                })
                .unwrap();
            assert_eq!(files.read(&target.unwrap(), 4096).unwrap(), long.as_bytes());
        });
    }
}

#[test]
fn folders_of_several_blocks_are_read_to_their_end() {
    let names: Vec<_> = (0..100).map(|nth| format!("/boot/a-file-with-a-name-{nth:03}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), File(b"x"))).collect();
    let disk = samples::ext4(&files, Mapping::Extents);
    with(&disk, |files| {
        let found = walk::names(files, "/boot").unwrap();
        assert_eq!(found.len(), 100);
        assert_eq!(found[99], "a-file-with-a-name-099");
    });
}

#[test]
fn holes_are_zeros_and_reserved_extents_too() {
    let bytes = pattern(3000);
    let files = [("/hole", Hole(5000)), ("/reserved", File(&bytes))];
    let mut disk = samples::ext4(&files, Mapping::Extents);
    assert_eq!(read(&disk, "/hole").unwrap(), [0; 5000]);
    // Its inode is the thirteenth; the extent's length is behind the tree's header and the first block.
    let extent = samples::BLOCK * 5 + 12 * 128 + 0x28 + 12;
    assert_eq!(disk[extent + 4], 3);
    disk[extent + 5] = 0x80;
    assert_eq!(read(&disk, "/reserved").unwrap(), [0; 3000]);
}

#[test]
fn what_is_larger_than_asked_for_is_refused_before_it_is_read() {
    let disk = samples::ext4(&[("/huge", Hole(1 << 40))], Mapping::Extents);
    with(&disk, |files| {
        let node = walk::find(files, "/huge").unwrap().unwrap();
        let error = files.runs(&node, 1 << 30).unwrap_err();
        assert_eq!(error.to_string(), "it has 1099511627776 bytes, at most 1073741824 are taken");
    });
}

#[test]
fn features_that_put_files_elsewhere_are_refused_by_name() {
    for (feature, line) in [
        (0x1u32, "it is compressed, which is not known here"),
        (0x8000_0000, "it has a feature, which is not known here"),
    ] {
        let mut disk = samples::ext4(&[], Mapping::Extents);
        disk[1024 + 0x60..][..4].copy_from_slice(&(0x42 | feature).to_le_bytes());
        let budget = Budget::default();
        let error = Ext4::open(Region::whole(&disk, disk.len() as u64, &budget)).err();
        assert_eq!(error.unwrap().to_string(), line);
    }
}

/// The same disk with a group for each file, so that descriptors fill more than a block, and with `meta_bg`: the second
/// block of them is where the groups begin that it is of, maybe behind a copy of the superblock.
fn with_meta_groups(mut disk: Vec<u8>, compat: u32, read_only_compat: u32, copies: u64) -> Vec<u8> {
    const GROUPS: usize = 64;
    const PER_GROUP: usize = 16;
    let block = samples::BLOCK;
    let inodes = disk[block * 5..][..GROUPS * 128].to_vec();
    let second = 1 + 32 * PER_GROUP;
    let tables = second + 2;
    assert!(disk.len() < second * block);
    disk.resize((tables + GROUPS) * block, 0);
    for (group, inode) in inodes.chunks(128).enumerate() {
        let table = tables + group;
        disk[table * block..][..128].copy_from_slice(inode);
        let first = if group < 32 { 2 } else { second + copies as usize };
        let at = first * block + group % 32 * 32 + 8;
        disk[at..][..4].copy_from_slice(&(table as u32).to_le_bytes());
    }
    let mut set = |at: usize, value: u32| {
        disk[1024 + at..][..4].copy_from_slice(&value.to_le_bytes());
    };
    set(0x60, 0x42 | 0x10);
    for (at, value) in [
        (0x14, 1),
        (0x20, PER_GROUP as u32),
        (0x28, 1),
        (0x5c, compat),
        (0x64, read_only_compat),
        (0x104, 0),
        (0x24c, 32),
    ] {
        set(at, value);
    }
    disk
}

#[test]
fn descriptors_of_groups_are_found_wherever_meta_bg_puts_them() {
    let names: Vec<_> = (0..40).map(|nth| format!("/boot/file-{nth}")).collect();
    let contents: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let files: Vec<_> =
        names.iter().zip(&contents).map(|(name, bytes)| (name.as_str(), File(bytes))).collect();
    let plain = samples::ext4(&files, Mapping::Extents);
    // Sparse copies of the superblock, two of them of which one is there, and one in each group.
    for (compat, read_only_compat, copies) in [(0, 1, 0), (0x200, 0, 1), (0, 0, 1)] {
        let disk = with_meta_groups(plain.clone(), compat, read_only_compat, copies);
        for (name, bytes) in names.iter().zip(&contents) {
            assert_eq!(read(&disk, name).as_ref(), Some(bytes), "{name} {copies}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_change_of_an_image_makes_reading_panic_or_go_on(
        mapping in prop::sample::select(vec![Mapping::Extents, Mapping::Blocks]),
        // Superblock, descriptors, inodes and folders, and the map of the file's blocks.
        changes in prop::collection::vec((1024usize..90_000, any::<u8>()), 1..40),
    ) {
        let bytes = pattern(60_000);
        let files = [("/boot/a", File(&bytes)), ("/b", Link("/boot/a")), ("/c", Hole(9999))];
        let mut disk = samples::ext4(&files, mapping);
        for (at, value) in changes {
            if let Some(byte) = disk.get_mut(at) {
                *byte = value;
            }
        }
        let budget = Budget::default();
        if let Ok(files) = Ext4::open(Region::whole(&disk, disk.len() as u64, &budget)) {
            for path in ["/boot/a", "/b", "/c", "/boot/../b"] {
                if let Ok(Some(node)) = walk::find(&files, path)
                    && let Ok(bytes) = files.read(&node, 1 << 20)
                {
                    prop_assert_eq!(bytes.len() as u64, node.size);
                }
            }
            let _ = walk::names(&files, "/boot");
        }
    }
}
