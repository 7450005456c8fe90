//! The zero page of Linux's 64-bit boot protocol, for a bzImage or a vmlinux.

use linux_loader::loader::bootparam::{
    CAN_USE_HEAP, KASLR_FLAG, LOADED_HIGH, boot_e820_entry, boot_params, setup_header,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use super::facts::BootFacts;
use crate::layout::{CMDLINE, ZERO_PAGE};

/// "Undefined" boot loader, for those without a number of their own.
const LOADER_UNDEFINED: u8 = 0xFF;
const BOOT_FLAG: u16 = 0xAA55;
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// Version that a vmlinux, which has no header, is told.
const VERSION: u16 = 0x020F;

/// Writes the zero page with `header` from the kernel's file, or one of our own for a vmlinux.
pub(crate) fn write_zero_page<M: GuestMemoryBackend>(
    memory: &M,
    header: Option<setup_header>,
    facts: &BootFacts,
) -> Result<GuestAddress, GuestMemoryError> {
    let mut params = boot_params {
        hdr: header.unwrap_or(setup_header {
            boot_flag: BOOT_FLAG,
            header: MAGIC,
            version: VERSION,
            loadflags: LOADED_HIGH,
            ..Default::default()
        }),
        acpi_rsdp_addr: facts.rsdp.0,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    // There is no real-mode code whose heap could be used.
    params.hdr.loadflags &= !CAN_USE_HEAP;
    if facts.is_random {
        params.hdr.loadflags |= KASLR_FLAG;
    }
    params.hdr.cmd_line_ptr = CMDLINE.0 as u32;
    if let Some(initrd) = facts.initrd {
        // Below 4 GiB, as all low RAM is.
        params.hdr.ramdisk_image = initrd.address as u32;
        params.hdr.ramdisk_size = initrd.len as u32;
    }
    let mut table = { params.e820_table };
    for (line, entry) in table.iter_mut().zip(&facts.memory_map) {
        *line = boot_e820_entry {
            addr: entry.range.start,
            size: entry.range.len(),
            r#type: entry.kind as u32,
        };
        params.e820_entries = params.e820_entries.saturating_add(1);
    }
    params.e820_table = table;
    memory.write_obj(params, ZERO_PAGE)?;
    Ok(ZERO_PAGE)
}
