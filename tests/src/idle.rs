//! Kernels of a few bytes, for tests of what happens around a guest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Puts an ELF kernel into `folder` that halts for ever.
pub fn kernel(folder: &Path) -> Result<PathBuf> {
    made(folder, "idle", &[0xf4, 0xeb, 0xfd]) // hlt, and back to it
}

/// One that writes `x` to COM1 without pause.
pub fn chatty(folder: &Path) -> Result<PathBuf> {
    made(folder, "chatty", &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd]) // out, and back
}

/// An ELF kernel whose only code is `code`, entered as Linux's 64-bit protocol says.
fn made(folder: &Path, name: &str, code: &[u8]) -> Result<PathBuf> {
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
    put(CODE, code);
    let path = folder.join(name);
    fs::write(&path, elf).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
