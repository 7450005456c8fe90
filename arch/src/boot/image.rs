//! A kernel as its headers describe it: where its parts go in memory, where it is entered, what is
//! wrong with it.

use linux_loader::loader::bootparam::setup_header;

use super::file::FileError;

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
