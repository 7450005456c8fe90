//! Payloads packed in every way, cut and untrue; relocations read and applied.

use std::io::Write;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::*;
use crate::boot::samples::{
    bzimage, bzimage_of, code_bytes, file, open, put, pvh_notes, stored, vmlinux, with_relocations,
};

const START: u64 = 0x100_0000;
const SIZE: usize = 0x2000;

/// Its last word is the length.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut packed = b"\x02\x21\x4C\x18".to_vec();
    for block in bytes.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend((block.len() as u32).to_le_bytes());
        packed.extend(block);
    }
    packed
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut packer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn with_len(mut packed: Vec<u8>, len: usize) -> Vec<u8> {
    packed.extend((len as u32).to_le_bytes());
    packed
}

/// The payload's length unpacked as it is said, its bytes, and what they unpack to.
type Unpacked = (usize, Vec<u8>, Result<Vec<u8>, UnpackError>);

fn unpack(payload: &[u8]) -> Result<Unpacked, UnpackError> {
    let kernel = open(&bzimage_of(payload)).unwrap();
    let packed = Packed::of(&kernel)?.expect("a bzImage has a payload");
    let bytes = packed.read()?;
    let unpacked = packed.unpack(&bytes);
    Ok((packed.unpacked_len(), bytes, unpacked))
}

#[test]
fn every_packing_of_linux_is_unpacked() {
    // More than one block of LZ4, and not a whole number of them.
    let bytes: Vec<_> = (0..9u32 << 20).map(|n| (n >> 9) as u8 ^ n as u8).collect();
    let ways: [(&str, Vec<u8>); 4] = [
        ("gzip", gzip(&bytes)),
        ("lz4", with_len(lz4(&bytes), bytes.len())),
        ("xz", with_len(xz(&bytes), bytes.len())),
        ("zstd", with_len(zstd(&bytes), bytes.len())),
    ];
    for (name, payload) in ways {
        let (len, read, unpacked) = unpack(&payload).unwrap();
        assert!(read == payload, "{name}");
        assert_eq!(len, bytes.len(), "{name}");
        assert!(unpacked.unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_block_of_nothing_but_literals_is_unpacked_too() {
    for len in [15, 269, 270, 271, 5000] {
        let bytes: Vec<_> = (0..len).map(|n| n as u8).collect();
        assert_eq!(unpack(&stored(&bytes)).unwrap().2.unwrap(), bytes);
    }
}

#[test]
fn a_payload_that_is_longer_or_shorter_than_it_says_is_damaged() {
    let bytes = code_bytes();
    for len in [1, bytes.len() - 1, bytes.len() + 1, 64 << 20] {
        for payload in [lz4(&bytes), xz(&bytes), zstd(&bytes)] {
            let error = unpack(&with_len(payload, len)).unwrap().2.unwrap_err();
            assert!(matches!(error, UnpackError::Damaged(_)), "{len}: {error}");
        }
    }
}

#[test]
fn what_says_to_be_larger_than_any_kernel_is_not_unpacked() {
    for len in [0, (512 << 20) + 1, u32::MAX as usize] {
        let error = unpack(&with_len(zstd(b"x"), len)).unwrap_err();
        assert!(matches!(error, UnpackError::Size(said) if said == len as u64), "{error}");
    }
}

#[test]
fn other_packings_are_the_kernels_own_affair() {
    for magic in [&b"BZh9"[..], b"\x5D\0\0\0", b"\x89LZO", b"", b"\x28\xB5"] {
        let error = unpack(&[magic, &[1; 9]].concat()).unwrap_err();
        assert!(matches!(error, UnpackError::Packing), "{error}");
    }
    let vmlinux = open(&vmlinux(&[])).unwrap();
    assert!(Packed::of(&vmlinux).unwrap().is_none());
    assert!(matches!(vmlinux.unpacked(file(b"x")), Err(UnpackError::Packing)));
}

proptest! {
    #[test]
    fn payloads_of_any_bytes_never_panic(which in 0usize..4, rest in proptest::collection::vec(any::<u8>(), 0..200), len in 0u32..1000) {
        let magic: [&[u8]; 4] = [b"\x1F\x8B\x08", b"\x02\x21\x4C\x18", b"\xFD7zXZ\0", b"\x28\xB5\x2F\xFD"];
        let payload = [magic[which], &rest, &len.to_le_bytes()].concat();
        if let Ok((len, _, Ok(unpacked))) = unpack(&payload) {
            prop_assert_eq!(unpacked.len(), len);
        }
    }
}

fn relocatable(words: &[u32]) -> Vec<u8> {
    with_relocations(&vmlinux(&[]), words)
}

fn unpacked(elf: &[u8]) -> Result<Kernel, UnpackError> {
    open(&bzimage()).unwrap().unpacked(file(elf))
}

/// The lower half of the virtual address of a byte of the image.
fn place(offset: u32) -> u32 {
    0x8100_0000 + offset
}

/// The image before and after a shift.
fn shifted(words: &[u32], shift: u64) -> (Vec<u8>, Result<Vec<u8>, RelocationError>) {
    shifted_file(&relocatable(words), shift)
}

fn shifted_file(elf: &[u8], shift: u64) -> (Vec<u8>, Result<Vec<u8>, RelocationError>) {
    let kernel = unpacked(elf).unwrap();
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(START), SIZE)]).unwrap();
    let before = [code_bytes(), vec![0; SIZE - code_bytes().len()]].concat();
    memory.write_slice(&before, GuestAddress(START)).unwrap();
    let image = memory.get_slice(GuestAddress(START), SIZE).unwrap();
    let table = kernel.image.relocations.unwrap();
    let applied = relocate(&image, START, shift, &table, &kernel.input);
    let mut after = vec![0; SIZE];
    memory.read_slice(&mut after, GuestAddress(START)).unwrap();
    (before, applied.map(|()| after))
}

/// Which words of the image change, by how much.
fn changes(words: &[u32], shift: u64) -> Vec<(usize, u64)> {
    let (before, after) = shifted(words, shift);
    let after = after.unwrap();
    let word = |bytes: &[u8], at| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let changed = |at: &usize| word(&before, *at) != word(&after, *at);
    let all = (0..SIZE).step_by(8).filter(changed);
    all.map(|at| (at, word(&after, at).wrapping_sub(word(&before, at)))).collect()
}

#[test]
fn relocations_change_what_they_name_and_nothing_else() {
    let three = [0, place(8), place(0x100), 0, place(0x20), 0, place(0x40), place(0x18)];
    let two = [0, place(8), place(0x100), 0, place(0x40), place(0x18)];
    let shift = 0x1230_0000u64;
    let mut expected = vec![(8, shift), (0x18, shift), (0x40, shift), (0x100, shift)];
    assert_eq!(changes(&two, shift), expected);
    // The lower half of the word alone: what it borrows stays in it.
    let old = u32::from_le_bytes(*code_bytes()[0x20..].first_chunk().unwrap());
    let new = old.wrapping_sub(shift as u32);
    expected.insert(2, (0x20, u64::from(new).wrapping_sub(u64::from(old))));
    assert_eq!(changes(&three, shift), expected);
}

#[test]
fn a_kernel_without_relocations_is_one_all_the_same() {
    let kernel = unpacked(&vmlinux(&pvh_notes())).unwrap();
    assert!(kernel.image.relocations.is_none());
    // Entered as the bzImage would enter it, and with what its header says.
    assert_eq!(kernel.format(), KernelFormat::BzImage);
    assert_eq!(kernel.image.entry, 0x100_0010);
    assert_eq!(kernel.cmdline_max(), 2047);
    assert!(kernel.image.setup_header.is_some());
}

#[test]
fn hostile_relocations_are_refused() {
    let last = SIZE as u32;
    let wrong: [&[u32]; 9] = [
        &[0],
        &[0, 0, 0, 0],
        &[place(8), 0, place(8)],
        &[0, place(last - 7), 0], // a word of 64 bits that ends behind the image
        &[0, 0, place(last - 3), 0], // of 32 bits, to be subtracted
        &[0, 0, place(last - 3)],
        &[0, 0, place(0) - 1],
        &[0, 0, 0x7FFF_FFFF],
        &[0, 0, 0, u32::MAX],
    ];
    for words in wrong {
        assert!(shifted(words, 1 << 21).1.is_err(), "{words:x?}");
    }
    assert!(shifted(&[0, place(last - 8), 0, place(last - 4)], 1 << 21).1.is_ok());
    let uneven = [relocatable(&[0, 0]), vec![1]].concat();
    assert!(matches!(shifted_file(&uneven, 1 << 21).1, Err(RelocationError::Table(_))));
}

#[test]
fn what_is_packed_has_to_be_a_kernel() {
    let mut headers_outside = vmlinux(&[]);
    put(&mut headers_outside, 40, &u64::MAX.to_le_bytes());
    put(&mut headers_outside, 58, &[64, 0, 1, 0]);
    for elf in [b"no kernel at all".to_vec(), vec![0x7F], headers_outside] {
        let error = unpacked(&elf).unwrap_err();
        assert!(matches!(error, UnpackError::Kernel(_)), "{error}");
    }
}
