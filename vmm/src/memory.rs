//! Guest memory: sizes as users write them, and its mapping.

pub mod barrier;
pub mod base;
pub mod changes;
pub mod file;
pub mod pages;
pub mod reclaim;
pub mod resident;
pub mod restored;
pub mod sparse;
pub mod touched;
pub mod whole;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use arch::layout::AddressRange;
use device_core::dirty::DirtyPages;
use device_core::hot_region::Blocks;
use device_core::region::RamRegion;
use device_core::{GuestRam, Ram};
use vm_memory::{GuestAddress, GuestMemoryBackend, MmapRegion};

/// A number of bytes as users write it: digits and one of `K`, `M`, `G`, `T`, in powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a text is no size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("'{0}' is not a size; write digits and a unit, such as 512M or 2G")]
    Syntax(String),
    #[error("'{0}' has no unit; write K, M, G or T after the number, such as {0}M")]
    NoUnit(String),
    #[error("'{0}' is too large")]
    TooLarge(String),
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let syntax = || SizeError::Syntax(text.to_string());
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(syntax());
        }
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" => return Err(SizeError::NoUnit(text.to_string())),
            "K" | "KIB" => 10,
            "M" | "MIB" => 20,
            "G" | "GIB" => 30,
            "T" | "TIB" => 40,
            _ => return Err(syntax()),
        };
        let too_large = || SizeError::TooLarge(text.to_string());
        let number: u64 = digits.parse().map_err(|_| too_large())?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(too_large)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        match units.iter().find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// What the host backs guest memory with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Its usual pages, and transparent huge ones where it likes.
    #[default]
    Small,
    /// 2 MiB pages from the host's pool, all or nothing.
    Huge,
}

/// Size and alignment of a huge page, on all of x86-64.
const HUGE_PAGE: usize = 2 << 20;

/// What there is of memory in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of RAM.
    pub ram: u64,
    /// What is plugged while it runs, if anything is.
    pub hot: Option<HotExtent>,
}

/// Memory that is plugged while a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotExtent {
    /// Guest-physical addresses, above those of RAM.
    pub range: AddressRange,
    /// Bytes of what it is plugged in.
    pub block: u64,
}

impl Extent {
    /// RAM alone.
    pub fn of(ram: u64) -> Extent {
        Extent { ram, hot: None }
    }

    /// Makes its regions, in order of their addresses, each of what `mapping` makes of its bytes.
    fn regions(
        &self,
        mut mapping: impl FnMut(usize, bool) -> io::Result<Mapping>,
    ) -> io::Result<GuestRam> {
        let ram = arch::layout::ram_regions(self.ram).into_iter();
        let ram = ram.map(|(start, len)| (start, len, None));
        let hot = self.hot.map(|hot| {
            let len = hot.range.len();
            (GuestAddress(hot.range.start), len, Some(Arc::new(Blocks::new(len, hot.block))))
        });
        let region = |(start, len, blocks): (GuestAddress, u64, Option<Arc<Blocks>>)| {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            let mapping = mapping(len, blocks.is_some())?;
            RamRegion::new(mapping, start, blocks).ok_or(io::ErrorKind::InvalidInput.into())
        };
        let regions = ram.chain(hot).map(region).collect::<io::Result<Vec<_>>>()?;
        Ram::from_regions(regions).map(Arc::new).map_err(io::Error::other)
    }
}

/// Maps RAM of `bytes` bytes, as [`map_all`] does.
pub fn map(bytes: u64, pages: Pages) -> io::Result<GuestRam> {
    map_all(&Extent::of(bytes), pages)
}

/// Maps all memory of a machine, RAM below and above the PCI hole. Pages come when they are touched, huge
/// ones where the host has them; those of the pool are set aside now, but for what is plugged while the machine runs.
/// It stays mapped until [`release`]. Fails if the host has not that much memory, or not so many pages in its pool.
pub fn map_all(extent: &Extent, pages: Pages) -> io::Result<GuestRam> {
    extent.regions(|len, is_hot| {
        let mapping = match pages {
            Pages::Small => map_aligned(len)?,
            Pages::Huge => map_from_pool(len, is_hot)?,
        };
        leave_out_of_dumps(&mapping);
        Ok(mapping)
    })
}

unsafe extern "C" {
    /// The first byte of the program's image, and the first behind its code, by the linker.
    static __executable_start: u8;
    static etext: u8;
}

/// Lets go of the program's code and constants: most of what a start touched is not needed again, and
/// what is comes back from the page cache when it is.
pub fn forget_start() {
    let start = &raw const __executable_start;
    let start = start.wrapping_add(start.align_offset(PAGE));
    let len = (&raw const etext).addr().saturating_sub(start.addr()) & !(PAGE - 1);
    // SAFETY: the pages are mapped from the program's file and are never written, so that they read
    // the same when they come back.
    unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_DONTNEED) };
}

/// A dump of the process's memory is to be small, and to have nothing of the guest in it.
pub fn leave_out_of_dumps(memory: &Mapping) {
    // SAFETY: advice on a mapping, which keeps its content. Every kernel takes it.
    unsafe { libc::madvise(memory.as_ptr().cast(), memory.size(), libc::MADV_DONTDUMP) };
}

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Unmaps RAM of a machine that came to nothing. It stays if anyone still holds it.
pub fn release(ram: GuestRam) {
    let Ok(ram) = Arc::try_unwrap(ram) else {
        tracing::error!("guest memory is still in use and stays mapped");
        return;
    };
    for region in ram.iter() {
        // SAFETY: mapped by `map_all` with that length; nobody holds the memory any more, and the
        // region does not unmap it itself.
        unsafe { libc::munmap(region.as_ptr().cast(), region.size()) };
    }
}

/// What backs a region.
type Mapping = MmapRegion<DirtyPages>;

const ACCESS: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
const KIND: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Takes `len` bytes of anonymous memory at the start of a huge page, which nobody else knows of. KVM gives a guest huge
/// pages only where its addresses and ours agree below that size, and older kernels place no mapping so by
/// themselves.
fn take_aligned(len: usize) -> io::Result<*mut libc::c_void> {
    let whole = len.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), whole, ACCESS, KIND, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = start.align_offset(HUGE_PAGE);
    let ram = start.wrapping_byte_add(before);
    for (spare, len) in [(start, before), (ram.wrapping_byte_add(len), HUGE_PAGE - before)] {
        // SAFETY: the two ends of the mapping from above, which nobody else knows of. They stay
        // mapped if this fails, and nothing uses them.
        unsafe { libc::munmap(spare, len) };
    }
    Ok(ram)
}

/// Maps anonymous memory at the start of a huge page.
fn map_aligned(len: usize) -> io::Result<Mapping> {
    let ram = take_aligned(len)?;
    // SAFETY: advice on the mapping from above, which keeps its content; without huge pages in the
    // kernel it is refused, and small ones do as well.
    unsafe { libc::madvise(ram, len, libc::MADV_HUGEPAGE) };
    // SAFETY: `len` bytes from `ram` are mapped with that access and kind, and never unmapped.
    unsafe { MmapRegion::build_raw(ram.cast(), len, ACCESS, KIND) }.map_err(io::Error::other)
}

/// Maps huge pages of the host's pool; they are aligned by nature. The pool must have enough, unless they are to come
/// `later`.
fn map_from_pool(len: usize, later: bool) -> io::Result<Mapping> {
    const POOL: libc::c_int =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
    let kind = POOL | if later { libc::MAP_NORESERVE } else { 0 };

    // SAFETY: a new mapping, at a place that the kernel chooses.
    let ram = unsafe { libc::mmap(std::ptr::null_mut(), len, ACCESS, kind, -1, 0) };
    if ram == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `len` bytes from `ram` are mapped with that access and kind, and never unmapped.
    unsafe { MmapRegion::build_raw(ram.cast(), len, ACCESS, kind) }.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryRegion};

    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!("512M".parse(), Ok(Size(512 << 20)));
        assert_eq!("2g".parse(), Ok(Size(2 << 30)));
        assert_eq!("64KiB".parse(), Ok(Size(64 << 10)));
        assert_eq!("1T".parse(), Ok(Size(1 << 40)));
    }

    #[test]
    fn what_is_no_size_says_why() {
        let error = |text: &str| text.parse::<Size>().unwrap_err().to_string();
        assert!(error("512").contains("such as 512M"));
        assert!(error("").contains("not a size"));
        assert!(error("M").contains("not a size"));
        assert!(error("-1M").contains("not a size"));
        assert!(error("1.5G").contains("not a size"));
        assert!(error("1MB").contains("not a size"));
        assert!(error("99999999999999999999G").contains("too large"));
        assert!(error("99999999999T").contains("too large"));
    }

    #[test]
    fn a_size_prints_as_it_is_written() {
        for text in ["512M", "2G", "1T", "4K"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn ram_begins_at_a_huge_page_and_can_be_written_to_its_end() {
        for bytes in [4096, (1 << 20) + 4096, 5 << 30] {
            let ram = map(bytes, Pages::Small).unwrap();
            for region in ram.iter() {
                assert_eq!(region.as_ptr().align_offset(HUGE_PAGE), 0);
                assert_eq!(region.start_addr().0 % HUGE_PAGE as u64, 0);
                ram.write_obj(1u8, region.last_addr()).unwrap();
            }
        }
    }
}
