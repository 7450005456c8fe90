//! Tests of unpacking a bzImage, on small images made here.

use super::*;

/// A bzImage with one setup sector around a payload, and the size the build would append.
fn bzimage(packed: &[u8], size: usize) -> Vec<u8> {
    let mut image = vec![0; 2 * SECTOR];
    image[SETUP_SECTS] = 1;
    image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4]
        .copy_from_slice(&(packed.len() as u32 + 4).to_le_bytes());
    image.extend(packed);
    image.extend((size as u32).to_le_bytes());
    image
}

fn elf() -> Vec<u8> {
    b"\x7fELF".iter().copied().chain((0..10_000u32).map(|n| (n / 7) as u8)).collect()
}

fn lz4(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = LZ4_LEGACY.to_le_bytes().to_vec();
    for block in blocks {
        let packed = lz4_flex::block::compress(block);
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
    }
    out
}

#[test]
fn lz4_blocks_are_joined() {
    let elf = elf();
    let (a, b) = elf.split_at(4_000);
    assert_eq!(vmlinux(&bzimage(&lz4(&[a, b]), elf.len())).unwrap(), elf);
}

#[test]
fn zstd_is_unpacked() {
    let elf = elf();
    let packed = ruzstd::encoding::compress_to_vec(
        elf.as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    assert_eq!(vmlinux(&bzimage(&packed, elf.len())).unwrap(), elf);
}

#[test]
fn a_wrong_size_is_refused() {
    let elf = elf();
    assert!(vmlinux(&bzimage(&lz4(&[&elf]), elf.len() + 1)).is_err());
}

#[test]
fn truncated_images_are_refused() {
    let elf = elf();
    let image = bzimage(&lz4(&[&elf]), elf.len());
    for length in 0..image.len() {
        assert!(vmlinux(&image[..length]).is_err(), "length {length}");
    }
}
