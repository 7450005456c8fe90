//! A kernel that does nothing, for tests of what happens around a guest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Puts an ELF kernel into `folder` whose only code halts for ever, entered as Linux's 64-bit
/// protocol says.
pub fn kernel(folder: &Path) -> Result<PathBuf> {
    const ENTRY: u64 = 0x100_0000;
    const CODE: usize = 0x800;
    let mut elf = vec![0u8; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &[2, 0, 0x3e, 0]); // an executable for x86-64
    put(20, &[1]);
    put(24, &ENTRY.to_le_bytes());
    put(32, &[64]); // program headers
    put(52, &[64]);
    put(54, &[56, 0, 1, 0]);
    put(64, &[1, 0, 0, 0, 5, 0, 0, 0]); // to load
    put(72, &CODE.to_le_bytes());
    put(80, &ENTRY.to_le_bytes());
    put(88, &ENTRY.to_le_bytes());
    put(96, &CODE.to_le_bytes());
    put(104, &CODE.to_le_bytes());
    put(CODE, &[0xf4, 0xeb, 0xfd]); // hlt, and back to it
    let path = folder.join("idle");
    fs::write(&path, elf).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
