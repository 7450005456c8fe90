//! Physical region pages: where a command's data is (NVMe base specification 1.4, 4.3).

use device_core::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use crate::abi::{PAGE, Status};

/// Most bytes of one transfer (MDTS of Identify Controller): 64 pages.
pub const MAX_TRANSFER: u32 = 256 << 10;
/// Most entries of PRP lists, those that lead to the next list left out.
const MAX_ENTRIES: usize = 64;

/// Goes through the `len` bytes that two PRP entries lead to, at most [`MAX_TRANSFER`], in order, in
/// pieces as large as can be; `visit` gets address and length of each, which need not be in RAM. Lists
/// are read once. Fails with the status of the command, or with what `visit` said.
pub fn walk(
    [first, second]: [u64; 2],
    len: u32,
    memory: &GuestRam,
    visit: &mut impl FnMut(u64, u32) -> Result<(), Status>,
) -> Result<(), Status> {
    if first & 3 != 0 {
        return Err(Status::PRP_OFFSET);
    }
    if len == 0 {
        return Ok(());
    }
    let to_page_end = PAGE.wrapping_sub(first % PAGE) as u32; // 1 to 4096
    let mut run = Run { start: first, len: len.min(to_page_end) };
    let rest = len.saturating_sub(run.len);
    if rest == 0 {
        // The second entry is reserved, whatever it holds.
        return visit(run.start, run.len);
    }
    if rest <= PAGE as u32 {
        run.add(second, rest, visit)?;
    } else {
        list(second, rest, memory, &mut run, visit)?;
    }
    visit(run.start, run.len)
}

/// Neighbouring pages on their way to become one piece.
struct Run {
    start: u64,
    len: u32,
}

impl Run {
    /// Adds the page at `page`, of which the first `len` bytes count.
    fn add(
        &mut self,
        page: u64,
        len: u32,
        visit: &mut impl FnMut(u64, u32) -> Result<(), Status>,
    ) -> Result<(), Status> {
        if !page.is_multiple_of(PAGE) {
            return Err(Status::PRP_OFFSET);
        }
        if self.start.checked_add(self.len.into()) == Some(page) {
            self.len = self.len.saturating_add(len);
            return Ok(());
        }
        visit(self.start, self.len)?;
        *self = Run { start: page, len };
        Ok(())
    }
}

/// Goes through the list at `at`, and those that follow it. The slots of a list go to the end of its
/// page; the last leads to the next list if not all entries fit.
fn list(
    at: u64,
    len: u32,
    memory: &GuestRam,
    run: &mut Run,
    visit: &mut impl FnMut(u64, u32) -> Result<(), Status>,
) -> Result<(), Status> {
    let (mut at, mut left) = (at, len);
    // Each list but the first has room for a page at least, so this ends.
    while left > 0 {
        if at & 7 != 0 {
            return Err(Status::PRP_OFFSET);
        }
        let wanted = left.div_ceil(PAGE as u32) as usize;
        let slots = (PAGE.wrapping_sub(at % PAGE) / 8) as usize;
        let mut bytes = [[0; 8]; MAX_ENTRIES];
        let entries = bytes.get_mut(..wanted.min(slots)).ok_or(Status::INVALID_FIELD)?;
        let read = memory.read_slice(entries.as_flattened_mut(), GuestAddress(at));
        read.map_err(|_| Status::DATA_TRANSFER)?;
        let (next, pages) = match entries.split_last() {
            Some((last, before)) if wanted > slots => (Some(u64::from_le_bytes(*last)), before),
            _ => (None, &*entries),
        };
        for page in pages {
            let count = left.min(PAGE as u32);
            run.add(u64::from_le_bytes(*page), count, visit)?;
            left = left.saturating_sub(count);
        }
        if let Some(next) = next {
            if !next.is_multiple_of(PAGE) {
                return Err(Status::PRP_OFFSET);
            }
            at = next;
        }
    }
    Ok(())
}

/// Reads the `into.len()` bytes that the entries lead to, as a private copy. Fails if some are not RAM,
/// or there are more than [`MAX_TRANSFER`].
pub fn read(prps: [u64; 2], into: &mut [u8], memory: &GuestRam) -> Result<(), Status> {
    let len = u32::try_from(into.len()).map_err(|_| Status::INVALID_FIELD)?;
    let mut rest = into;
    walk(prps, len, memory, &mut |at, len| {
        let (now, later) =
            std::mem::take(&mut rest).split_at_mut_checked(len as usize).ok_or(Status::INTERNAL)?;
        rest = later;
        memory.read_slice(now, GuestAddress(at)).map_err(|_| Status::DATA_TRANSFER)
    })
}

/// Writes `bytes` to where the entries lead. Fails if some of that is not RAM, or there are more than
/// [`MAX_TRANSFER`]; then a part may be written.
pub fn write(prps: [u64; 2], bytes: &[u8], memory: &GuestRam) -> Result<(), Status> {
    let len = u32::try_from(bytes.len()).map_err(|_| Status::INVALID_FIELD)?;
    let mut rest = bytes;
    walk(prps, len, memory, &mut |at, len| {
        let (now, later) = rest.split_at_checked(len as usize).ok_or(Status::INTERNAL)?;
        rest = later;
        memory.write_slice(now, GuestAddress(at)).map_err(|_| Status::DATA_TRANSFER)
    })
}

#[cfg(test)]
#[path = "prp_test.rs"]
mod tests;
