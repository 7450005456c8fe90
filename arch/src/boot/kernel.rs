//! Kernel files: what they are, where their parts go in memory, where they are entered.

use std::fs::File;
use std::path::Path;

use linux_loader::loader::bootparam::setup_header;

use super::file::{FileError, InputFile};
use super::{bzimage, elf};

const ROLE: &str = "kernel";

/// An opened kernel whose headers have been read and found right.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) input: InputFile,
    pub(crate) image: Image,
}

/// What kind of file it is and how it will be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelFormat {
    /// Compressed Linux, entered by the 64-bit boot protocol.
    BzImage,
    /// ELF with Xen's PVH note, entered by PVH.
    ElfPvh,
    /// ELF without that note, entered at its ELF entry point as the 64-bit boot protocol says.
    Elf,
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{name} is not a kernel: {guess}")]
    NotAKernel { name: String, guess: &'static str },
    #[error("kernel {name} is truncated: {part} needs {needed} bytes, the file has {len}")]
    Truncated { name: String, part: &'static str, needed: u64, len: u64 },
    #[error(
        "kernel {name} speaks boot protocol {major}.{minor:02}; at least 2.12 (Linux 3.8) is needed"
    )]
    OldProtocol { name: String, major: u8, minor: u8 },
    #[error("kernel {name} is for 32-bit processors; a 64-bit x86 kernel is needed")]
    ThirtyTwoBit { name: String },
    #[error("kernel {name} is for another processor (ELF machine {machine}); x86-64 is needed")]
    OtherMachine { name: String, machine: u16 },
    #[error("kernel {name} is damaged: {reason}")]
    Damaged { name: String, reason: &'static str },
}

/// A kernel file as its headers describe it; every part lies within the file.
#[derive(Debug)]
pub(crate) struct Image {
    pub format: KernelFormat,
    /// Parts to copy: each within the file, above 1 MiB, and with an end that does not overflow.
    pub segments: Vec<Segment>,
    /// Entry point as the format's protocol counts it; within a segment.
    pub entry: u64,
    /// End of all memory that the kernel uses before it looks at the memory map.
    pub memory_end: u64,
    /// Longest command line without its NUL.
    pub cmdline_max: u64,
    /// Last address that a byte of the initrd may have.
    pub initrd_last: u64,
    /// Of a bzImage, as far as the file has it.
    pub setup_header: Option<setup_header>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub offset: u64,
    pub len: u64,
    pub address: u64,
}

impl Segment {
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.len)
    }
}

impl Kernel {
    /// Opens a bzImage or an ELF vmlinux and checks all of its headers.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        Self::inspect(InputFile::open(ROLE, path)?)
    }

    /// The same from an open file; `name` is for messages.
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

    pub fn name(&self) -> &str {
        &self.input.name
    }

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
