//! bzImage: the setup header, Linux's Documentation/arch/x86/boot.rst.
//!
//! The header is read here and not by `linux_loader`'s loader, which checks neither the entry's width
//! nor `init_size`, and takes a header cut short for a whole one.

use linux_loader::loader::bootparam::{LOADED_HIGH, XLF_KERNEL_64, setup_header};
use vm_memory::ByteValued;

use super::file::InputFile;
use super::image::{Image, KernelError, KernelFormat, Part, Segment};
use crate::layout::HIGH_MEMORY;

const MAGIC: &[u8] = b"HdrS";
const MAGIC_AT: usize = 0x202;
const HEADER_AT: usize = 0x1F1;
/// The byte that says how far behind 0x202 the header ends.
const HEADER_END_AT: usize = 0x201;
const SECTOR: u64 = 512;
const MIN_VERSION: u16 = 0x020C;
/// The 64-bit entry point lies this far behind the load address.
const ENTRY_64: u64 = 0x200;
/// Unit of `syssize`.
const PARAGRAPH: u64 = 16;

/// Whether a file that begins with `start` has a setup header, or would have if it were longer.
pub(crate) fn is_bzimage(start: &[u8]) -> bool {
    start.get(MAGIC_AT..).is_some_and(|at| at.starts_with(MAGIC))
}

/// Checks the header in `start` (the first KiB, or all of a shorter file) against the file.
pub(crate) fn inspect(input: &InputFile, start: &[u8]) -> Result<Image, KernelError> {
    let header = read_header(input, start)?;
    check_protocol(input, &header)?;

    let setup_sectors = match header.setup_sects {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let setup_len = setup_sectors.saturating_add(1).saturating_mul(SECTOR);
    let code_len = u64::from(header.syssize).saturating_mul(PARAGRAPH);
    let damaged = |reason| KernelError::Damaged { name: input.name.clone(), reason };
    if code_len <= ENTRY_64 {
        return Err(damaged("its code is shorter than the way to its entry point"));
    }
    let file_end = setup_len.saturating_add(code_len);
    if file_end > input.len {
        return Err(KernelError::Truncated {
            name: input.name.clone(),
            part: "its code",
            needed: file_end,
            len: input.len,
        });
    }
    let payload_end =
        u64::from(header.payload_offset).saturating_add(u64::from(header.payload_length));
    if payload_end > code_len {
        return Err(damaged("its compressed payload lies outside its code"));
    }

    // Loaded where it unpacks itself to, the packed kernel's pages are used again by the unpacked one.
    let alignment = u64::from(header.kernel_alignment);
    if !alignment.is_power_of_two() {
        return Err(damaged("its alignment is not a power of two"));
    }
    let address = { header.pref_address }
        .checked_next_multiple_of(alignment)
        .filter(|&address| address >= HIGH_MEMORY)
        .ok_or(damaged("its preferred address is not usable"))?;
    let segment = Segment { offset: setup_len, len: code_len, address };
    let memory_end = address
        .checked_add(code_len.max(u64::from(header.init_size)))
        .ok_or(damaged("its preferred address is not usable"))?;
    let payload = Part {
        offset: setup_len.saturating_add(u64::from(header.payload_offset)),
        len: u64::from(header.payload_length),
    };
    Ok(Image {
        format: KernelFormat::BzImage,
        segments: vec![segment],
        entry: address.saturating_add(ENTRY_64),
        memory_end,
        cmdline_max: u64::from(header.cmdline_size),
        initrd_last: u64::from(header.initrd_addr_max),
        setup_header: Some(header),
        payload: (payload.len > 0).then_some(payload),
        relocations: None,
    })
}

/// The header with zeros for what the kernel's version of it does not have.
fn read_header(input: &InputFile, start: &[u8]) -> Result<setup_header, KernelError> {
    let end =
        start.get(HEADER_END_AT).map_or(MAGIC_AT, |&len| MAGIC_AT.saturating_add(usize::from(len)));
    let mut header = setup_header::default();
    let most = HEADER_AT.saturating_add(size_of::<setup_header>());
    let Some(bytes) = start.get(HEADER_AT..end.min(most)) else {
        return Err(KernelError::Truncated {
            name: input.name.clone(),
            part: "its setup header",
            needed: end as u64,
            len: input.len,
        });
    };
    for (to, from) in header.as_mut_slice().iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(header)
}

fn check_protocol(input: &InputFile, header: &setup_header) -> Result<(), KernelError> {
    let name = input.name.clone();
    let version = header.version;
    if version < MIN_VERSION {
        let [minor, major] = version.to_le_bytes();
        return Err(KernelError::OldProtocol { name, major, minor });
    }
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(KernelError::ThirtyTwoBit { name });
    }
    if header.loadflags & LOADED_HIGH == 0 {
        let reason = "its code wants to be loaded below 1 MiB";
        return Err(KernelError::Damaged { name, reason });
    }
    Ok(())
}
