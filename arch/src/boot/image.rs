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

/// Why a file cannot be booted as a kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file cannot be used at all.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither a bzImage nor an ELF file.
    #[error("{name} is not a kernel: {guess}")]
    NotAKernel {
        /// The kernel's path.
        name: String,
        /// What it may be, by its first bytes.
        guess: &'static str,
    },
    /// A part that its headers promise is beyond the end of the file.
    #[error("kernel {name} is truncated: {part} needs {needed} bytes, the file has {len}")]
    Truncated {
        /// The kernel's path.
        name: String,
        /// What is missing, in words.
        part: &'static str,
        /// Bytes that the file would have with it.
        needed: u64,
        /// Bytes that the file has.
        len: u64,
    },
    /// A bzImage older than Linux 3.8 (Linux `Documentation/arch/x86/boot.rst`).
    #[error(
        "kernel {name} speaks boot protocol {major}.{minor:02}; at least 2.12 (Linux 3.8) is needed"
    )]
    OldProtocol {
        /// The kernel's path.
        name: String,
        /// Version of its boot protocol, high byte.
        major: u8,
        /// Version of its boot protocol, low byte.
        minor: u8,
    },
    /// A kernel without a 64-bit entry point.
    #[error("kernel {name} is for 32-bit processors; a 64-bit x86 kernel is needed")]
    ThirtyTwoBit {
        /// The kernel's path.
        name: String,
    },
    /// An ELF file for another architecture.
    #[error("kernel {name} is for another processor (ELF machine {machine}); x86-64 is needed")]
    OtherMachine {
        /// The kernel's path.
        name: String,
        /// The ELF header's `e_machine`.
        machine: u16,
    },
    /// Headers that contradict themselves or the boot protocol.
    #[error("kernel {name} is damaged: {reason}")]
    Damaged {
        /// The kernel's path.
        name: String,
        /// What is wrong, in words.
        reason: &'static str,
    },
}

/// A kernel file as its headers describe it; every part lies within the file.
#[derive(Debug)]
pub(crate) struct Image {
    /// What kind of file it is.
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
    /// Where a bzImage says that the kernel is packed.
    pub payload: Option<Part>,
    /// The table of what to change where the kernel runs elsewhere than it was linked for.
    pub relocations: Option<Part>,
}

impl Image {
    /// Lowest address of its parts.
    pub fn memory_start(&self) -> u64 {
        self.segments.iter().map(|segment| segment.address).min().unwrap_or(self.memory_end)
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Byte of the file where it begins.
    pub offset: u64,
    /// Bytes, not 0.
    pub len: u64,
}

/// A part of a file and its place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Byte of the file where it begins.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Guest-physical address.
    pub address: u64,
}

impl Segment {
    /// First address behind it.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.len)
    }
}
