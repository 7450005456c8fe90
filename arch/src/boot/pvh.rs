//! PVH's start info, for an ELF kernel with Xen's note: docs/misc/pvh in Xen.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use super::facts::BootFacts;
use crate::layout::{CMDLINE, PVH_MEMORY_MAP, PVH_MODULES, PVH_START_INFO};

/// The version with a memory map.
const VERSION: u32 = 1;

/// Writes start info, list of modules (the initrd is the only one) and memory map.
pub(crate) fn write_start_info<M: GuestMemoryBackend>(
    memory: &M,
    facts: &BootFacts,
) -> Result<GuestAddress, GuestMemoryError> {
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        cmdline_paddr: CMDLINE.0,
        rsdp_paddr: facts.rsdp.0,
        memmap_paddr: PVH_MEMORY_MAP.0,
        ..Default::default()
    };
    if let Some(initrd) = facts.initrd {
        let module =
            hvm_modlist_entry { paddr: initrd.address, size: initrd.len, ..Default::default() };
        memory.write_obj(module, PVH_MODULES)?;
        info.nr_modules = 1;
        info.modlist_paddr = PVH_MODULES.0;
    }
    let mut at = PVH_MEMORY_MAP;
    for entry in &facts.memory_map {
        let line = hvm_memmap_table_entry {
            addr: entry.range.start,
            size: entry.range.len(),
            type_: entry.kind as u32,
            ..Default::default()
        };
        memory.write_obj(line, at)?;
        at = GuestAddress(at.0.saturating_add(size_of_val(&line) as u64));
        info.memmap_entries = info.memmap_entries.saturating_add(1);
    }
    memory.write_obj(info, PVH_START_INFO)?;
    Ok(PVH_START_INFO)
}
