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

/// One that writes `1` to COM1 if CPUID says that it is a guest (leaf 1, ECX bit 31), else `0`, and halts.
pub fn teller(folder: &Path) -> Result<PathBuf> {
    const CODE: &[u8] = &[
        0xb8, 1, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, // mov eax, 1; xor ecx, ecx; cpuid
        0xc1, 0xe9, 31, 0x80, 0xc1, b'0', // shr ecx, 31; add cl, '0'
        0x88, 0xc8, 0x66, 0xba, 0xf8, 0x03, 0xee, // mov al, cl; mov dx, 0x3f8; out
        0xf4, 0xeb, 0xfd, // hlt, and back to it
    ];
    made(folder, "teller", CODE)
}

/// One that writes 123 to guest-physical 0xc0000000, as guests made for Firecracker say that they are up, and
/// halts.
pub fn punctual(folder: &Path) -> Result<PathBuf> {
    const CODE: &[u8] = &[
        0xb8, 0, 0, 0, 0xc0, 0xc6, 0x00, 123, // mov eax, 0xc0000000; mov byte [rax], 123
        0xf4, 0xeb, 0xfd, // hlt, and back to it
    ];
    made(folder, "punctual", CODE)
}

/// What an [`echo`] does at a byte of COM1 instead of sending it back.
pub enum Deed {
    /// Writes a byte to a port.
    Out(u16, u8),
    /// Does what no processor can, where nobody handles it.
    Fault,
}

/// One that sends each byte back that comes by COM1, but does a deed at some.
pub fn echo(folder: &Path, deeds: &[(u8, Deed)]) -> Result<PathBuf> {
    // Wait for a byte as the line status register tells, and take it.
    let mut code = vec![0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xb2, 0xf8, 0xec];
    for (byte, deed) in deeds {
        let done = match deed {
            Deed::Out(port, value) => {
                let [low, high] = port.to_le_bytes();
                vec![0x66, 0xba, low, high, 0xb0, *value, 0xee] // mov dx, mov al, out
            }
            Deed::Fault => vec![0x0f, 0x0b], // ud2
        };
        code.extend([0x3c, *byte, 0x75, done.len() as u8]); // unless it is that one, leap over
        code.extend(done);
    }
    // Send it, and begin anew.
    code.extend([0xee, 0xeb]);
    let back = i8::try_from(code.len() + 1).context("more deeds than a short leap goes over")?;
    code.push(back.wrapping_neg() as u8);
    made(folder, "echo", &code)
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
