//! Small kernels for tests, and files to hold them.

use std::fs::File;
use std::io::Write;

use super::{Initrd, Kernel, KernelError};

pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn open(bytes: &[u8]) -> Result<Kernel, KernelError> {
    Kernel::from_file(file(bytes), "kernel")
}

pub(crate) fn initrd(len: u64) -> Initrd {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    Initrd::from_file(file, "initrd").unwrap()
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Where the code of [`bzimage`] begins in its file, and how long it is.
pub(crate) const SETUP_LEN: usize = 2 * 512;
pub(crate) const CODE_LEN: usize = 0x1000;

/// A bzImage as Linux makes them today, with code of 4 KiB that is its own offset modulo 251.
pub(crate) fn bzimage() -> Vec<u8> {
    let mut image = vec![0; SETUP_LEN];
    image.extend((0..CODE_LEN).map(|offset| (offset % 251) as u8));
    let bytes = &mut image;
    put(bytes, 0x1F1, &[1]); // setup_sects
    put(bytes, 0x1F4, &(CODE_LEN as u32 / 16).to_le_bytes()); // syssize
    put(bytes, 0x1FE, &[0x55, 0xAA]);
    put(bytes, 0x200, &[0xEB, 0x6A]); // jump over the header
    put(bytes, 0x202, b"HdrS");
    put(bytes, 0x206, &0x020Fu16.to_le_bytes());
    put(bytes, 0x211, &[1]); // loadflags: LOADED_HIGH
    put(bytes, 0x22C, &0x7FFF_FFFFu32.to_le_bytes()); // initrd_addr_max
    put(bytes, 0x230, &0x20_0000u32.to_le_bytes()); // kernel_alignment
    put(bytes, 0x234, &[1, 21]); // relocatable, min_alignment
    put(bytes, 0x236, &0x7Fu16.to_le_bytes()); // xloadflags
    put(bytes, 0x238, &2047u32.to_le_bytes()); // cmdline_size
    put(bytes, 0x248, &0x200u32.to_le_bytes()); // payload_offset
    put(bytes, 0x24C, &0xE00u32.to_le_bytes()); // payload_length
    put(bytes, 0x258, &0x100_0000u64.to_le_bytes()); // pref_address
    put(bytes, 0x260, &0x40_0000u32.to_le_bytes()); // init_size
    image
}

/// A bzImage with this payload.
pub(crate) fn bzimage_of(payload: &[u8]) -> Vec<u8> {
    let mut image = bzimage();
    image.truncate(SETUP_LEN + 0x200);
    image.extend(payload);
    image.resize(image.len().next_multiple_of(16), 0);
    let code_len = image.len() - SETUP_LEN;
    put(&mut image, 0x1F4, &(code_len as u32 / 16).to_le_bytes());
    put(&mut image, 0x24C, &(payload.len() as u32).to_le_bytes());
    image
}

/// `bytes` as a payload: a block of LZ4 that has nothing but literals, and its length.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let rest = bytes.len().checked_sub(15).unwrap();
    let mut block = vec![0xF0];
    block.extend(vec![255; rest / 255]);
    block.push((rest % 255) as u8);
    block.extend(bytes);
    let lens = [block.len() as u32, bytes.len() as u32].map(u32::to_le_bytes);
    [&b"\x02\x21\x4C\x18"[..], &lens[0], &block, &lens[1]].concat()
}

/// The lower halves of virtual addresses in a vmlinux as they follow it in its payload.
pub(crate) fn with_relocations(vmlinux: &[u8], words: &[u32]) -> Vec<u8> {
    let table = words.iter().flat_map(|word| word.to_le_bytes());
    vmlinux.iter().copied().chain(table).collect()
}

/// A program header of an ELF file.
#[derive(Clone, Copy, Default)]
pub(crate) struct Program {
    pub kind: u32,
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub alignment: u64,
}

/// An ELF file for x86-64 with these program headers, followed by `rest` at offset 0x200.
pub(crate) fn elf(entry: u64, programs: &[Program], rest: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x200];
    put(&mut image, 0, &[0x7F, b'E', b'L', b'F', 2, 1, 1]);
    put(&mut image, 16, &2u16.to_le_bytes());
    put(&mut image, 18, &62u16.to_le_bytes());
    put(&mut image, 20, &1u32.to_le_bytes());
    put(&mut image, 24, &entry.to_le_bytes());
    put(&mut image, 32, &64u64.to_le_bytes());
    put(&mut image, 52, &64u16.to_le_bytes());
    put(&mut image, 54, &56u16.to_le_bytes());
    put(&mut image, 56, &(programs.len() as u16).to_le_bytes());
    for (index, program) in programs.iter().enumerate() {
        let at = 64 + 56 * index;
        put(&mut image, at, &program.kind.to_le_bytes());
        put(&mut image, at + 8, &program.offset.to_le_bytes());
        put(&mut image, at + 24, &program.address.to_le_bytes());
        put(&mut image, at + 32, &program.file_size.to_le_bytes());
        put(&mut image, at + 40, &program.memory_size.to_le_bytes());
        put(&mut image, at + 48, &program.alignment.to_le_bytes());
    }
    image.extend(rest);
    image
}

pub(crate) const LOAD: u32 = 1;
pub(crate) const NOTE: u32 = 4;

pub(crate) fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut note = vec![];
    note.extend((name.len() as u32).to_le_bytes());
    note.extend((descriptor.len() as u32).to_le_bytes());
    note.extend(kind.to_le_bytes());
    for part in [name, descriptor] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// A segment of 4 KiB at 16 MiB that takes 8 KiB of memory, at offset 0x200.
pub(crate) fn code() -> Program {
    Program {
        kind: LOAD,
        offset: 0x200,
        address: 0x100_0000,
        file_size: 0x1000,
        memory_size: 0x2000,
        alignment: 0x1000,
    }
}

pub(crate) fn code_bytes() -> Vec<u8> {
    (0..0x1000).map(|offset| (offset % 249) as u8).collect()
}

/// A vmlinux with [`code`], and with `notes` in a PT_NOTE if there are any.
pub(crate) fn vmlinux(notes: &[u8]) -> Vec<u8> {
    let mut programs = vec![code()];
    if !notes.is_empty() {
        programs.push(Program {
            kind: NOTE,
            offset: 0x1200,
            file_size: notes.len() as u64,
            memory_size: notes.len() as u64,
            alignment: 4,
            ..Default::default()
        });
    }
    elf(0x100_0010, &programs, &[&code_bytes()[..], notes].concat())
}

/// What Linux with CONFIG_PVH has among its notes.
pub(crate) fn pvh_notes() -> Vec<u8> {
    [
        note(b"Linux\0", 0x101, &[0]),
        note(b"GNU\0", 3, &[7; 20]),
        note(b"Xen\0", 6, b"linux\0"),
        note(b"Xen\0", 18, &0x100_0050u64.to_le_bytes()),
    ]
    .concat()
}
