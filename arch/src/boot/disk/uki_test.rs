//! Images as `ukify` makes them, and files that only look like one.

use proptest::prelude::*;

use super::super::samples::{self, Content, Mapping};
use super::super::source::{Budget, Region};
use super::*;

/// An EFI program with these sections.
pub fn uki(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| image[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(60, &0x80u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &X86_64.to_le_bytes());
    put(0x86, &(sections.len() as u16).to_le_bytes());
    put(0x94, &16u16.to_le_bytes());
    for (nth, (name, bytes)) in sections.iter().enumerate() {
        let (at, place) = (0xA8 + nth * 40, image.len() as u32);
        let mut put = |at: usize, value: &[u8]| image[at..at + value.len()].copy_from_slice(value);
        put(at, name.as_bytes());
        put(at + 8, &(bytes.len() as u32).to_le_bytes());
        put(at + 16, &(bytes.len() as u32).next_multiple_of(512).to_le_bytes());
        put(at + 20, &place.to_le_bytes());
        image.extend(*bytes);
        image.resize(image.len().next_multiple_of(512), 0);
    }
    image
}

/// Kernel, initrds and command line of what is booted.
fn booted(files: &[(&str, &[u8])]) -> Option<(Vec<u8>, Vec<Vec<u8>>, String)> {
    let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, Content::File(bytes))).collect();
    let disk = samples::ext4(&files, Mapping::Extents);
    let budget = Budget::default();
    let volume = Volume::open(Region::whole(&disk, disk.len() as u64, &budget), None);
    let found = boot(2, &volume).unwrap()?;
    assert_eq!(found.volume, 2);
    let bytes = |runs: &Vec<Run>| volume.files().unwrap().bytes(runs).unwrap();
    Some((bytes(&found.kernel), found.initrds.iter().map(bytes).collect(), found.options))
}

#[test]
fn the_newest_image_is_taken_apart() {
    let kernel: Vec<u8> = (0..3000).map(|at| (at % 251) as u8).collect();
    let new = uki(&[
        (".osrel", b"NAME=x"),
        (".cmdline", b"root=LABEL=x quiet\n\0"),
        (".initrd", b"initrd"),
        (".ucode", b"micro"),
        (".linux", &kernel),
        (".profile", b"ID=other"),
        (".cmdline", b"other"),
    ]);
    let old = uki(&[(".linux", b"old")]);
    let files: [(&str, &[u8]); 3] = [
        ("/EFI/Linux/os-6.9.efi", &old),
        ("/EFI/Linux/os-6.10.EFI", &new),
        ("/EFI/Linux/z.txt", b""),
    ];
    let (found, initrds, options) = booted(&files).unwrap();
    assert_eq!(found, kernel);
    assert_eq!(initrds, [b"micro".to_vec(), b"initrd".to_vec()]);
    assert_eq!(options, "root=LABEL=x quiet");
}

#[test]
fn other_programs_and_other_processors_are_passed_over() {
    let mut arm = uki(&[(".linux", b"arm")]);
    arm[0x84..0x86].copy_from_slice(&0xAA64u16.to_le_bytes());
    let tool = uki(&[(".text", b"code")]);
    let mut far = uki(&[(".linux", b"far")]);
    far[0xA8 + 20..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for file in [&arm, &tool, &far, &b"MZ".to_vec(), &vec![0; 4096]] {
        assert_eq!(booted(&[("/EFI/Linux/a-2.efi", file)]), None);
        let good = uki(&[(".linux", b"good")]);
        let files: [(&str, &[u8]); 2] =
            [("/EFI/Linux/a-2.efi", file), ("/EFI/Linux/a-1.efi", &good)];
        assert_eq!(booted(&files).unwrap().0, b"good");
    }
    assert_eq!(booted(&[]), None);
}

proptest! {
    #[test]
    fn any_header_is_read_or_passed_over(
        changes in prop::collection::vec((0usize..0x200, any::<u8>()), 0..20),
    ) {
        let mut image = uki(&[(".linux", b"kernel"), (".cmdline", b"a"), (".initrd", b"initrd")]);
        for (at, value) in changes {
            image[at] = value;
        }
        let _ = booted(&[("/EFI/Linux/a.efi", &image)]);
    }
}
