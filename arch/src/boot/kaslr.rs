//! Where a kernel that can be moved goes: what arch/x86/boot/compressed/kaslr.c does for a kernel that
//! unpacks itself.

use super::cmdline::Cmdline;
use super::image::Image;

/// How far a kernel runs above the addresses that it was linked for, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// In guest-physical memory.
    pub physical: u64,
    /// In virtual memory, where its relocations say what changes.
    pub virtual_: u64,
}

/// `KERNEL_IMAGE_SIZE` of kernels with CONFIG_RANDOMIZE_BASE (arch/x86/include/asm/page_64_types.h): the
/// virtual memory for the image, from what is linked as address 0 on.
const KERNEL_ROOM: u64 = 1 << 30;

/// Chooses by two random numbers where `image` goes below `end`; `None` if it has no relocations, or if
/// the command line wants it where it was linked for.
pub(crate) fn choose(
    image: &Image,
    cmdline: &Cmdline,
    end: u64,
    random: [u64; 2],
) -> Option<Shift> {
    let (Some(_), Some(header)) = (&image.relocations, &image.setup_header) else { return None };
    if cmdline.has("nokaslr") {
        return None;
    }
    let start = image.memory_start();
    let alignment = u64::from(header.kernel_alignment);
    let size = image.memory_end.saturating_sub(start).max(u64::from(header.init_size));
    let [physical, virtual_] = random;
    let among = |room: u64, random: u64| {
        let spare = room.saturating_sub(start).saturating_sub(size);
        let slots = spare.checked_div(alignment).unwrap_or(0).saturating_add(1);
        random.checked_rem(slots).unwrap_or(0).saturating_mul(alignment)
    };
    // Who says what memory there is knows better where a kernel can be.
    let is_told = cmdline.has("mem") || cmdline.has("memmap");
    Some(Shift {
        physical: if is_told { 0 } else { among(end, physical) },
        virtual_: among(KERNEL_ROOM, virtual_),
    })
}

#[cfg(test)]
#[path = "kaslr_test.rs"]
mod tests;
