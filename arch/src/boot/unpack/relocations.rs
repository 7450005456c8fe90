//! What has to change in a kernel that runs at other virtual addresses than it was linked for: the table
//! that arch/x86/tools/relocs makes, as arch/x86/boot/compressed/misc.c reads it.
//!
//! ```text
//! end of the ELF file: 0, places of 64 bits [, 0, inverse places of 32 bits], 0, places of 32 bits
//! ```
//! Each place is the lower half of a virtual address. Linux before 6.15 has inverse ones: offsets from
//! a CPU's own area, which does not move when the kernel does.

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ByteValued, VolatileMemory, VolatileSlice};

use crate::boot::file::{FileError, InputFile};
use crate::boot::image::Part;

/// Where the kernel's image begins in virtual memory, Documentation/arch/x86/x86_64/mm.rst: what lies
/// there is the first byte of RAM.
const KERNEL_MAP: u64 = 0xFFFF_FFFF_8000_0000;

/// Why a kernel cannot be changed to run elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum RelocationError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no table of relocations as Linux makes them.
    #[error("its relocations are {0}")]
    Table(&'static str),
    /// A relocation would change what is not the kernel.
    #[error("a relocation lies outside of it")]
    Outside(#[from] vm_memory::VolatileMemoryError),
}

/// A place to change, lower half of its virtual address.
type Place = [u8; 4];

/// Changes `image`, which was linked for the guest-physical address `linked`, to run `shift` bytes above the
/// virtual addresses it was linked for, as the `table` in `input` says. Fails, with some of it changed, if
/// that is no such table or has places outside of the image.
pub(crate) fn relocate<B: BitmapSlice>(
    image: &VolatileSlice<'_, B>,
    linked: u64,
    shift: u64,
    table: &Part,
    input: &InputFile,
) -> Result<(), RelocationError> {
    let mut bytes = vec![0; table.len as usize];
    let read = input.read_at(&mut bytes, table.offset)?;
    let (places, rest) = bytes.as_chunks();
    if read != bytes.len() || !rest.is_empty() {
        return Err(RelocationError::Table("no whole words"));
    }
    let mut lists = places.split(|place: &Place| *place == [0; 4]);
    let (before, lists): (_, Vec<_>) = (lists.next(), lists.collect());
    let (add_64, subtract_32, add_32) = match (before, lists.as_slice()) {
        (Some([]), [add_64, add_32]) => (*add_64, [].as_slice(), *add_32),
        (Some([]), [add_64, subtract_32, add_32]) => (*add_64, *subtract_32, *add_32),
        _ => return Err(RelocationError::Table("neither two lists nor three")),
    };
    // 32-bit places have the lower half of an address; they are extended with its sign.
    let half = shift as u32;
    change(image, linked, add_64, |old: u64| old.wrapping_add(shift))?;
    change(image, linked, subtract_32, |old: u32| old.wrapping_sub(half))?;
    change(image, linked, add_32, |old: u32| old.wrapping_add(half))
}

fn change<T: ByteValued, B: BitmapSlice>(
    image: &VolatileSlice<'_, B>,
    linked: u64,
    places: &[Place],
    new: impl Fn(T) -> T,
) -> Result<(), RelocationError> {
    for place in places {
        let address = i64::from(i32::from_le_bytes(*place)) as u64;
        let offset = address.wrapping_sub(KERNEL_MAP).wrapping_sub(linked);
        let word = image.get_ref::<T>(offset as usize)?;
        word.store(new(word.load()));
    }
    Ok(())
}
