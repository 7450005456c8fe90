//! The ELF kernel inside a bzImage: found by the setup header, unpacked from LZ4 or Zstandard.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

// Linux/x86 boot protocol, "The Real-Mode Kernel Header".
const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

const LZ4_LEGACY: u32 = 0x184c_2102;
const LZ4_LEGACY_BLOCK: usize = 8 << 20;
const ZSTD: u32 = 0xfd2f_b528;

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let word =
        bytes.get(at..at + 4).with_context(|| format!("the file ends before offset {at:#x}"))?;
    Ok(u32::from_le_bytes(word.try_into()?))
}

/// The vmlinux of a bzImage (ELF, followed by its relocations).
pub fn vmlinux(bzimage: &[u8]) -> Result<Vec<u8>> {
    ensure!(bzimage.get(HEADER_MAGIC..HEADER_MAGIC + 4) == Some(b"HdrS"), "no Linux setup header");
    let sectors = match bzimage[SETUP_SECTS] {
        0 => 4,
        n => usize::from(n),
    };
    let start = (sectors + 1) * SECTOR + u32_at(bzimage, PAYLOAD_OFFSET)? as usize;
    let length = u32_at(bzimage, PAYLOAD_LENGTH)? as usize;
    let payload = bzimage.get(start..start + length).context("the payload ends beyond the file")?;
    // The build appends the unpacked size.
    let (packed, size) =
        payload.split_at_checked(length.saturating_sub(4)).context("the payload is empty")?;
    let size = u32_at(size, 0)? as usize;

    let elf = match u32_at(packed, 0)? {
        LZ4_LEGACY => lz4_legacy(&packed[4..])?,
        ZSTD => {
            let mut out = Vec::with_capacity(size);
            ruzstd::decoding::StreamingDecoder::new(packed)?.read_to_end(&mut out)?;
            out
        }
        magic => {
            bail!("the payload is packed in a way this tool does not know (magic {magic:#010x})")
        }
    };
    ensure!(elf.len() == size, "the payload unpacks to {} bytes, not {size}", elf.len());
    ensure!(elf.starts_with(b"\x7fELF"), "the payload is no ELF file");
    Ok(elf)
}

/// LZ4's legacy frame: blocks of up to 8 MiB, each after its packed length.
fn lz4_legacy(mut packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while !packed.is_empty() {
        let length = u32_at(packed, 0)? as usize;
        let block = packed.get(4..4 + length).context("an LZ4 block ends beyond the payload")?;
        out.extend(lz4_flex::block::decompress(block, LZ4_LEGACY_BLOCK)?);
        packed = &packed[4 + length..];
    }
    Ok(out)
}

#[cfg(test)]
#[path = "payload_test.rs"]
mod tests;
