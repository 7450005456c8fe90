//! Kernel files: what they are, opened and judged by the reader of their format.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use super::file::InputFile;
use super::image::{Image, KernelError, KernelFormat};
use super::{bzimage, elf};

const ROLE: &str = "kernel";

/// An opened kernel whose headers have been read and found right.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) input: InputFile,
    pub(crate) image: Image,
}

impl Kernel {
    /// Opens a bzImage or an ELF vmlinux and checks all of its headers. Fails if the file cannot be
    /// read, or is no x86-64 kernel that either boot protocol can start.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        Self::inspect(InputFile::open(ROLE, path)?)
    }

    /// The same from an open file; `name` is for messages. Fails alike.
    pub fn from_file(file: File, name: &str) -> Result<Self, KernelError> {
        Self::inspect(InputFile::new(ROLE, file, name)?)
    }

    fn inspect(input: InputFile) -> Result<Self, KernelError> {
        let mut start = [0; START_LEN];
        let read = input.read_at(&mut start, 0)?;
        let start = start.get(..read).unwrap_or_default();
        let image = if elf::is_elf(start) {
            elf::inspect(&input)?
        } else if bzimage::is_bzimage(start) {
            bzimage::inspect(&input, start)?
        } else {
            return Err(KernelError::NotAKernel { name: input.name, guess: guess(start) });
        };
        Ok(Self { input, image })
    }

    /// Its path, or the name it was given for messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// What the host says of its file. Fails if that cannot be asked.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.input.file.metadata()
    }

    /// What kind of file it is.
    pub fn format(&self) -> KernelFormat {
        self.image.format
    }

    /// Longest command line that this kernel takes, in bytes without the final NUL.
    pub fn cmdline_max(&self) -> u64 {
        self.image.cmdline_max
    }

    /// Bytes that loading reads from the file.
    pub fn load_size(&self) -> u64 {
        let lens = self.image.segments.iter().map(|segment| segment.len);
        lens.fold(0, u64::saturating_add)
    }
}

/// Enough of a file to recognise it and to hold a bzImage's whole setup header.
const START_LEN: usize = 1024;

/// What a file that is no kernel may be, by its first bytes.
fn guess(start: &[u8]) -> &'static str {
    const SHORTEST: usize = 0x206;
    const KNOWN: &[(usize, &[u8], &str)] = &[
        (0, b"\x1F\x8B", "it is compressed by gzip; unpack it first"),
        (0, b"\xFD7zXZ", "it is compressed by xz; unpack it first"),
        (0, b"\x28\xB5\x2F\xFD", "it is compressed by zstd; unpack it first"),
        (0, b"\x02\x21\x4C\x18", "it is compressed by lz4; unpack it first"),
        (0, b"\x04\x22\x4D\x18", "it is compressed by lz4; unpack it first"),
        (0, b"BZh", "it is compressed by bzip2; unpack it first"),
        (56, b"ARM\x64", "it is an image for aarch64"),
        (0, b"070701", "it is a cpio archive, maybe the initrd"),
        (0, b"QFI\xFB", "it is a qcow2 disk image"),
        (0, b"#!", "it is a script"),
        (0, b"!<arch>", "it is an ar archive or a Debian package"),
    ];
    let known = KNOWN
        .iter()
        .find(|(offset, magic, _)| start.get(*offset..).is_some_and(|s| s.starts_with(magic)));
    match known {
        Some((_, _, guess)) => guess,
        None if start.len() < SHORTEST => "it is too short for one",
        None if start.starts_with(b"MZ") => "it is an EFI program without a Linux setup header",
        None => "it has neither a bzImage's setup header nor ELF's magic number",
    }
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;
