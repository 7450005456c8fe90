//! What both boot protocols tell a kernel, and the boot vCPU's first state.

use vm_memory::GuestAddress;

use super::image::Segment;
use crate::memory_map::MapEntry;

/// What both boot protocols tell a kernel, each in its own form.
pub(crate) struct BootFacts {
    /// Address of ACPI's root pointer.
    pub rsdp: GuestAddress,
    /// Where the initrd is, if there is one.
    pub initrd: Option<Segment>,
    /// Whether the kernel was put at random.
    pub is_random: bool,
    /// What kinds of memory there are.
    pub memory_map: Vec<MapEntry>,
}

/// Where and how the boot vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address of the first instruction.
    pub rip: u64,
    /// Address of the zero page (goes to RSI) or of PVH's start info (goes to RBX).
    pub boot_data: u64,
    /// State of the CPU there.
    pub mode: EntryMode,
}

/// State of the CPU that the kernel's entry point expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// Linux's 64-bit boot protocol: long mode, memory mapped to itself.
    Long64,
    /// PVH: 32-bit protected mode, no paging.
    Pvh32,
}
