//! Kernel files, whole, cut short, hostile, and not kernels at all.

use super::*;
use crate::boot::image::Segment;
use crate::boot::samples::{
    self, CODE_LEN, Program, SETUP_LEN, bzimage, code, elf, note, open, put, vmlinux,
};

fn error(bytes: &[u8]) -> KernelError {
    open(bytes).unwrap_err()
}

fn reason(bytes: &[u8]) -> &'static str {
    match error(bytes) {
        KernelError::Damaged { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// A bzImage with one field changed.
fn changed(at: usize, value: &[u8]) -> Vec<u8> {
    let mut image = bzimage();
    put(&mut image, at, value);
    image
}

#[test]
fn a_bzimage_is_entered_in_64_bit_mode_behind_its_load_address() {
    let kernel = open(&bzimage()).unwrap();
    assert_eq!(kernel.format(), KernelFormat::BzImage);
    assert_eq!(kernel.image.entry, 0x100_0200);
    assert_eq!(kernel.image.memory_end, 0x140_0000);
    assert_eq!(kernel.cmdline_max(), 2047);
    assert_eq!(kernel.load_size(), CODE_LEN as u64);
    let expected = Segment { offset: SETUP_LEN as u64, len: CODE_LEN as u64, address: 0x100_0000 };
    assert_eq!(kernel.image.segments, [expected]);
}

#[test]
fn what_follows_the_code_is_not_loaded() {
    let signed = [bzimage(), vec![0xAB; 1472]].concat();
    assert_eq!(open(&signed).unwrap().load_size(), CODE_LEN as u64);
}

#[test]
fn zero_setup_sectors_mean_four() {
    let mut image = changed(0x1F1, &[0]);
    image.splice(SETUP_LEN..SETUP_LEN, vec![0; 3 * 512]);
    assert_eq!(open(&image).unwrap().image.segments[0].offset, 5 * 512);
}

#[test]
fn a_preferred_address_is_aligned_as_the_kernel_asks() {
    let kernel = open(&changed(0x258, &0x100_0001u64.to_le_bytes())).unwrap();
    assert_eq!(kernel.image.segments[0].address, 0x120_0000);
}

#[test]
fn code_larger_than_init_size_counts_in_full() {
    let kernel = open(&changed(0x260, &0u32.to_le_bytes())).unwrap();
    assert_eq!(kernel.image.memory_end, 0x100_0000 + CODE_LEN as u64);
}

#[test]
fn protocols_before_2_12_are_too_old() {
    for version in [0x0000u16, 0x0200, 0x0209, 0x020B] {
        let error = error(&changed(0x206, &version.to_le_bytes()));
        assert!(matches!(error, KernelError::OldProtocol { .. }), "{error}");
    }
    let text = error(&changed(0x206, &0x020Bu16.to_le_bytes())).to_string();
    assert!(text.contains("boot protocol 2.11"), "{text}");
    assert!(open(&changed(0x206, &0x020Cu16.to_le_bytes())).is_ok());
}

#[test]
fn a_32_bit_bzimage_is_refused() {
    let error = error(&changed(0x236, &0x7Eu16.to_le_bytes()));
    assert!(matches!(error, KernelError::ThirtyTwoBit { .. }), "{error}");
}

#[test]
fn impossible_setup_headers_are_damage() {
    let damages: [(usize, &[u8]); 8] = [
        (0x211, &[0]),                      // loaded low
        (0x230, &[0; 4]),                   // alignment 0
        (0x230, &[3, 0, 0, 0]),             // alignment 3
        (0x258, &[0; 8]),                   // preferred address 0
        (0x258, &[0xFF; 8]),                // preferred address without an end
        (0x248, &[0xFF; 8]),                // payload far outside
        (0x24C, &(0xE01u32).to_le_bytes()), // payload one byte too long
        (0x1F4, &[0x20, 0, 0, 0]),          // ends before its entry point
    ];
    for (at, value) in damages {
        assert!(!reason(&changed(at, value)).is_empty(), "{at:#x}");
    }
}

#[test]
fn every_truncation_of_a_bzimage_is_noticed() {
    let image = bzimage();
    for len in 1..image.len() {
        let error = error(&image[..len]);
        match len {
            ..0x206 => {
                assert!(matches!(error, KernelError::NotAKernel { .. }), "{len:#x}: {error}")
            }
            _ => assert!(matches!(error, KernelError::Truncated { .. }), "{len:#x}: {error}"),
        }
    }
}

#[test]
fn a_vmlinux_with_the_note_is_entered_by_pvh() {
    let kernel = open(&vmlinux(&samples::pvh_notes())).unwrap();
    assert_eq!(kernel.format(), KernelFormat::ElfPvh);
    assert_eq!(kernel.image.entry, 0x100_0050);
    assert_eq!(kernel.image.memory_end, 0x100_2000);
    assert_eq!(kernel.load_size(), 0x1000);
}

#[test]
fn a_vmlinux_without_the_note_is_entered_at_its_entry_point() {
    let other_owner = note(b"Zen\0", 18, &[0x50, 0, 0, 1]);
    for notes in [&[][..], &other_owner] {
        let kernel = open(&vmlinux(notes)).unwrap();
        assert_eq!(kernel.format(), KernelFormat::Elf);
        assert_eq!(kernel.image.entry, 0x100_0010);
    }
}

#[test]
fn the_note_is_found_in_every_form() {
    let short = note(b"Xen\0", 18, &0x100_0050u32.to_le_bytes());
    // The last note of a segment may lack its padding, and garbage after the note does not matter.
    let followed = [short.clone(), vec![0xFF; 40]].concat();
    for notes in [&short, &followed] {
        assert_eq!(open(&vmlinux(notes)).unwrap().image.entry, 0x100_0050);
    }
}

#[test]
fn notes_aligned_to_eight_bytes_are_read_so() {
    // As in .note.gnu.property: a descriptor of 12 bytes is followed by 4 of padding.
    let mut notes = note(b"GNU\0", 5, &[7; 12]);
    notes.resize(32, 0);
    notes.extend(note(b"Xen\0", 18, &0x100_0050u32.to_le_bytes()));
    let mut image = vmlinux(&notes);
    assert_eq!(open(&image).unwrap().format(), KernelFormat::Elf);
    put(&mut image, 64 + 56 + 48, &8u64.to_le_bytes());
    assert_eq!(open(&image).unwrap().image.entry, 0x100_0050);
}

#[test]
fn hostile_notes_are_refused_or_ignored() {
    assert_eq!(reason(&vmlinux(&note(b"Xen\0", 18, &[1, 2]))), "its PVH note is too short");
    let high = note(b"Xen\0", 18, &(1u64 << 32).to_le_bytes());
    assert_eq!(reason(&vmlinux(&high)), "its PVH entry point lies above 4 GiB");
    let outside = note(b"Xen\0", 18, &0x200_0000u32.to_le_bytes());
    assert_eq!(reason(&vmlinux(&outside)), "its entry point lies in none of its segments");
    for huge in [[0xFF; 12], [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 18, 0, 0, 0]] {
        assert_eq!(open(&vmlinux(&huge)).unwrap().format(), KernelFormat::Elf);
    }
}

#[test]
fn elf_files_that_are_no_x86_64_kernel_are_named_for_what_they_are() {
    let with = |at: usize, value: &[u8]| {
        let mut image = vmlinux(&[]);
        put(&mut image, at, value);
        error(&image)
    };
    let arm = with(18, &183u16.to_le_bytes());
    assert!(matches!(arm, KernelError::OtherMachine { machine: 183, .. }), "{arm}");
    let big_endian = with(5, &[2]);
    assert!(matches!(big_endian, KernelError::OtherMachine { .. }), "{big_endian}");
    let i386 = with(18, &3u16.to_le_bytes());
    assert!(matches!(i386, KernelError::ThirtyTwoBit { .. }), "{i386}");
    let class_32 = with(4, &[1]);
    assert!(matches!(class_32, KernelError::ThirtyTwoBit { .. }), "{class_32}");
    let object_file = with(16, &1u16.to_le_bytes());
    assert!(matches!(object_file, KernelError::NotAKernel { .. }), "{object_file}");
    let header_size = with(54, &55u16.to_le_bytes());
    assert!(matches!(header_size, KernelError::Damaged { .. }), "{header_size}");
    let far_headers = with(32, &u64::MAX.to_le_bytes());
    assert!(matches!(far_headers, KernelError::Truncated { .. }), "{far_headers}");
}

#[test]
fn hostile_segments_are_refused() {
    let with = |program: Program| elf(0x100_0010, &[program], &samples::code_bytes());
    let below = Program { address: 0xF_FFFF, ..code() };
    assert_eq!(reason(&with(below)), "a segment wants to be loaded below 1 MiB");
    let endless = Program { address: u64::MAX - 0x1000, ..code() };
    assert_eq!(reason(&with(endless)), "a segment ends beyond all addresses");
    let swollen = Program { memory_size: 0xFFF, ..code() };
    assert_eq!(reason(&with(swollen)), "a segment is larger in the file than in memory");
    let nothing = Program { file_size: 0, ..code() };
    assert_eq!(reason(&with(nothing)), "its entry point lies in none of its segments");
    for beyond in [Program { offset: 0x201, ..code() }, Program { offset: u64::MAX, ..code() }] {
        let error = error(&with(beyond));
        assert!(matches!(error, KernelError::Truncated { .. }), "{error}");
    }
    let many = elf(0x100_0010, &[code(); 2], &vec![0; 200 * 56]);
    let mut many = many;
    put(&mut many, 56, &129u16.to_le_bytes());
    assert_eq!(reason(&many), "it has more than 128 program headers");
}

#[test]
fn every_truncation_of_a_vmlinux_is_noticed() {
    let image = vmlinux(&samples::pvh_notes());
    for len in 4..image.len() {
        let error = error(&image[..len]);
        assert!(matches!(error, KernelError::Truncated { .. }), "{len:#x}: {error}");
    }
}

#[test]
fn other_files_are_named_for_what_they_look_like() {
    let long = |magic: &[u8]| [magic, &[0x11; 1000]].concat();
    for (bytes, word) in [
        (long(b"\x1F\x8B"), "gzip"),
        (long(b"\xFD7zXZ\0"), "xz"),
        (long(b"\x28\xB5\x2F\xFD"), "zstd"),
        (long(b"070701"), "cpio"),
        (long(b"#!/bin/sh\n"), "script"),
        (long(b"MZ"), "EFI"),
        (long(b"hello"), "neither"),
        (b"hi".to_vec(), "too short"),
        ([&[0; 56][..], b"ARM\x64"].concat(), "aarch64"),
    ] {
        let text = error(&bytes).to_string();
        assert!(text.starts_with("kernel is not a kernel: "), "{text}");
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let say = |path: &Path| Kernel::open(path).unwrap_err().to_string();
    let missing = dir.path().join("missing");
    assert_eq!(say(&missing), format!("kernel {} does not exist", missing.display()));
    assert!(say(dir.path()).ends_with("is a directory"));
    let empty = dir.path().join("empty");
    File::create(&empty).unwrap();
    assert!(say(&empty).ends_with("is empty"));
    assert!(say(Path::new("/dev/null")).contains("no regular file"));
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let error = Kernel::open(&pipe).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
}

#[test]
fn a_program_of_this_system_is_told_apart_from_a_kernel() {
    let program = std::env::current_exe().unwrap();
    let error = Kernel::open(&program).unwrap_err();
    assert!(error.to_string().contains("a program for an operating system"), "{error}");
}
