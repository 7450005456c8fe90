//! Small kernels of each format, and files that are nearly one.

use arch::boot::{Initrd, Kernel, KernelError};

use crate::Seed;

/// The kernels that the loaders' own tests use.
#[path = "../../../../arch/src/boot/samples.rs"]
#[allow(dead_code)]
mod samples;
use samples::*;

pub fn all() -> Vec<Seed> {
    let bzimage_with = |at: usize, value: &[u8]| {
        let mut image = bzimage();
        put(&mut image, at, value);
        image
    };
    let elf_with = |at: usize, value: &[u8]| {
        let mut image = vmlinux(&pvh_notes());
        put(&mut image, at, value);
        image
    };
    let without_code = |programs: &[Program]| elf(0x100_0010, programs, &[]);
    let far = Program { address: 0x8000_0000, file_size: 0, ..code() };
    let low = Program { address: 0x1000, file_size: 0x100, memory_size: 0x100, ..code() };
    let wrapping = Program { address: u64::MAX - 0xfff, ..code() };
    let larger_file = Program { file_size: 0x3000, ..code() };
    let moves = [0, 0x8100_0008, 0, 0x8100_0100, 0, 0x8100_0020, 0x8100_0ffc];
    vec![
        ("bzimage", bzimage()),
        ("bzimage-old", bzimage_with(0x206, &0x0201u16.to_le_bytes())),
        ("bzimage-no-64-bit-entry", bzimage_with(0x236, &[0, 0])),
        ("bzimage-not-relocatable", bzimage_with(0x234, &[0])),
        ("bzimage-cut", bzimage()[..0x500].to_vec()),
        ("bzimage-most-setup", bzimage_with(0x1f1, &[64])),
        ("bzimage-no-setup-sectors", bzimage_with(0x1f1, &[0])),
        ("bzimage-large-init", bzimage_with(0x260, &0x1000_0000u32.to_le_bytes())),
        ("bzimage-wrapping-place", bzimage_with(0x258, &u64::MAX.to_le_bytes())),
        ("bzimage-short-cmdline", bzimage_with(0x238, &2u32.to_le_bytes())),
        ("bzimage-low-initrd", bzimage_with(0x22c, &0x10_0000u32.to_le_bytes())),
        ("bzimage-packed", bzimage_of(&stored(&vmlinux(&pvh_notes())))),
        ("bzimage-packed-to-move", bzimage_of(&stored(&with_relocations(&vmlinux(&[]), &moves)))),
        (
            "bzimage-packed-to-move-anew",
            bzimage_of(&stored(&with_relocations(&vmlinux(&[]), &moves[2..]))),
        ),
        ("bzimage-packed-nothing", bzimage_of(&stored(&[0; 15]))),
        ("bzimage-gzip", bzimage_of(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0")),
        ("bzimage-xz", bzimage_of(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x10\0\0\0")),
        ("bzimage-zstd", bzimage_of(b"\x28\xb5\x2f\xfd\x24\x01\x09\0\0x\0\0\0\0\x01\0\0\0")),
        ("vmlinux", vmlinux(&[])),
        ("vmlinux-pvh", vmlinux(&pvh_notes())),
        ("vmlinux-long-note", vmlinux(&note(b"Xen\0", 18, &[0; 64]))),
        ("vmlinux-cut-note", vmlinux(&note(b"Xen\0", 18, &0x100_0050u64.to_le_bytes())[..17])),
        ("vmlinux-other-note", vmlinux(&note(b"GNU\0", 3, &[7; 20]))),
        ("elf-32-bit", elf_with(4, &[1])),
        ("elf-big-endian", elf_with(5, &[2])),
        ("elf-other-machine", elf_with(18, &183u16.to_le_bytes())),
        ("elf-relocatable", elf_with(16, &1u16.to_le_bytes())),
        ("elf-entry-outside", elf_with(24, &0x10u64.to_le_bytes())),
        ("elf-many-headers", elf_with(56, &u16::MAX.to_le_bytes())),
        ("elf-headers-past-end", elf_with(32, &u64::MAX.to_le_bytes())),
        ("elf-no-segments", without_code(&[])),
        ("elf-far-segment", without_code(&[far])),
        ("elf-low-segment", elf(0x1010, &[low], &[0x90; 0x100])),
        ("elf-wrapping-segment", elf(0x100_0010, &[wrapping], &code_bytes())),
        ("elf-file-larger-than-memory", elf(0x100_0010, &[larger_file], &[0x90; 0x3000])),
        ("elf-overlapping-segments", elf(0x100_0010, &[code(), code()], &code_bytes())),
        ("empty", vec![]),
        ("text", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
    ]
}
