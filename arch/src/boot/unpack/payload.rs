//! The ways in which Linux packs its kernels: scripts/Makefile.lib, `cmd_gzip` to `cmd_zstd22_with_size`.

use std::io::Read;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    /// The legacy frame of the `lz4` program, as `lz4 -l` makes it.
    Lz4,
    Xz,
    Zstd,
}

/// Bytes that tell one from the others.
pub(super) const MAGIC_LEN: usize = 6;

const MAGIC: [(&[u8], Packing); 4] = [
    (b"\x1F\x8B", Packing::Gzip),
    (LZ4_MAGIC, Packing::Lz4),
    (b"\xFD7zXZ\0", Packing::Xz),
    (b"\x28\xB5\x2F\xFD", Packing::Zstd),
];
const LZ4_MAGIC: &[u8] = b"\x02\x21\x4C\x18";
/// Most bytes that a block of LZ4's legacy frame has unpacked.
const LZ4_BLOCK: usize = 8 << 20;

impl Packing {
    /// By the first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|&(_, packing)| packing)
    }

    /// Unpacks `bytes`; stops or fails when that is more than `most` bytes. Fails if the reader of the
    /// packing does, with what it says.
    pub fn unpack(self, bytes: &[u8], most: usize) -> Result<Vec<u8>, String> {
        let mut unpacked = Vec::with_capacity(most);
        let enough = (most as u64).saturating_add(1);
        let read = match self {
            Self::Lz4 => return lz4(bytes, most),
            Self::Gzip => {
                flate2::read::GzDecoder::new(bytes).take(enough).read_to_end(&mut unpacked)
            }
            Self::Xz => {
                lzma_rust2::XzReader::new(bytes, false).take(enough).read_to_end(&mut unpacked)
            }
            Self::Zstd => ruzstd::decoding::StreamingDecoder::new(bytes)
                .map_err(|error| error.to_string())?
                .take(enough)
                .read_to_end(&mut unpacked),
        };
        read.map_err(|error| error.to_string())?;
        Ok(unpacked)
    }
}

/// Blocks, each after its packed length.
fn lz4(bytes: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let cut = || "a block of LZ4 is cut short".to_owned();
    let mut rest = bytes.strip_prefix(LZ4_MAGIC).unwrap_or_default();
    let mut unpacked = vec![0; most];
    let mut filled = 0usize;
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk().ok_or_else(cut)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (block, behind) = behind.split_at_checked(len).ok_or_else(cut)?;
        let room = unpacked.get_mut(filled..).unwrap_or_default();
        let room_len = room.len().min(LZ4_BLOCK);
        let room = room.get_mut(..room_len).unwrap_or_default();
        let got =
            lz4_flex::block::decompress_into(block, room).map_err(|error| error.to_string())?;
        filled = filled.saturating_add(got);
        rest = behind;
    }
    unpacked.truncate(filled);
    Ok(unpacked)
}
