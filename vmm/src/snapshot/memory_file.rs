//! The memory's file: regions one behind the other in order of their addresses, with holes where memory is zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use device_core::Ram;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::memory::touched::Touched;

/// What is looked at, summed up and written at once.
pub const PIECE: usize = 2 << 20;
const PAGE: usize = 4096;
/// Bytes to tell at most how much was written.
const ZEROES: [u8; PAGE] = [0; PAGE];

/// What a file is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// All of it.
    pub bytes: u64,
    /// What is not in holes.
    pub data_bytes: u64,
    /// The CRC-32 of each piece of 2 MiB that has something, by its number; all others are zero.
    pub pieces: Vec<(u32, u32)>,
}

/// Where in a file something is.
#[derive(Debug, PartialEq, Eq)]
pub struct Differs {
    /// The piece's first byte.
    pub at: u64,
}

/// Writes memory that nobody writes to meanwhile to an empty file. `mapped` is the file that the memory is mapped
/// from, if it is: what nobody has touched is there; `touched` tells which. Fails if the file cannot be written.
pub fn write(
    ram: &Ram,
    mapped: Option<&File>,
    mut touched: Touched,
    file: &File,
) -> io::Result<Sums> {
    let mut sums = Sums { bytes: 0, data_bytes: 0, pieces: Vec::new() };
    let bytes: u64 = ram.iter().map(GuestMemoryRegion::len).sum();
    file.set_len(bytes)?;
    let mut piece = vec![0u8; PIECE];
    for region in ram.iter() {
        // Regions begin at a whole piece of the file: only the last of them ends in one.
        let begin = sums.bytes;
        let (mut at, len) = (0u64, region.len());
        while at < len {
            let size = usize::try_from(len.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let offset = begin.saturating_add(at);
            let place = region.as_ptr().addr() as u64 + at;
            let is_of_file = mapped.is_some_and(|mapped| has_data(mapped, offset, size));
            if is_of_file || touched.any(place, size) {
                let piece = piece.get_mut(..size).unwrap_or_default();
                let from = MemoryRegionAddress(at);
                region.read_slice(piece, from).map_err(io::Error::other)?;
                add(&mut sums, file, offset, piece)?;
            }
            at = at.saturating_add(size as u64);
        }
        sums.bytes = sums.bytes.saturating_add(len);
    }
    Ok(sums)
}

/// Writes what is in a piece.
fn add(sums: &mut Sums, file: &File, offset: u64, piece: &[u8]) -> io::Result<()> {
    let mut at = 0;
    let is_empty = |page: &&[u8]| **page == ZEROES[..page.len()];
    while at < piece.len() {
        let left = piece.get(at..).unwrap_or_default();
        let empty: usize = left.chunks(PAGE).take_while(is_empty).map(<[u8]>::len).sum();
        let left = left.get(empty..).unwrap_or_default();
        let full = left.chunks(PAGE).take_while(|page| !is_empty(page)).map(<[u8]>::len).sum();
        at = at.saturating_add(empty);
        file.write_all_at(left.get(..full).unwrap_or_default(), offset.saturating_add(at as u64))?;
        at = at.saturating_add(full);
        sums.data_bytes = sums.data_bytes.saturating_add(full as u64);
        if full > 0 && sums.pieces.last().is_none_or(|(number, _)| *number != number_of(offset)) {
            sums.pieces.push((number_of(offset), crc32fast::hash(piece)));
        }
    }
    Ok(())
}

fn number_of(offset: u64) -> u32 {
    u32::try_from(offset / PIECE as u64).unwrap_or(u32::MAX)
}

/// Whether a part of a file has more than holes, as far as its file system tells.
fn has_data(file: &File, offset: u64, size: usize) -> bool {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data < offset.saturating_add(size as u64),
        // There is nothing behind it.
        Err(Errno::NXIO) => false,
        Err(_) => true,
    }
}

/// Reads all of a file, and tells the first piece that is not as `sums` says. Fails if it cannot be read.
pub fn check(file: &File, sums: &Sums) -> io::Result<Option<Differs>> {
    let mut piece = vec![0u8; PIECE];
    let mut expected = sums.pieces.iter().peekable();
    let mut offset = 0u64;
    while offset < sums.bytes {
        let size = usize::try_from(sums.bytes - offset).unwrap_or(PIECE).min(PIECE);
        let wanted = expected.next_if(|(number, _)| *number == number_of(offset)).map(|sum| sum.1);
        if wanted.is_some() || has_data(file, offset, size) {
            let piece = piece.get_mut(..size).unwrap_or_default();
            file.read_exact_at(piece, offset)?;
            let is_right = match wanted {
                Some(sum) => crc32fast::hash(piece) == sum,
                None => piece.iter().all(|byte| *byte == 0),
            };
            if !is_right {
                return Ok(Some(Differs { at: offset }));
            }
        }
        offset = offset.saturating_add(size as u64);
    }
    // What is left is of pieces that the file does not have.
    Ok(expected.next().map(|(number, _)| Differs { at: u64::from(*number) * PIECE as u64 }))
}

/// Looks at the first and the last piece that has something, which a file of another snapshot has otherwise.
/// Fails if it cannot be read.
pub fn glance(file: &File, sums: &Sums) -> io::Result<Option<Differs>> {
    for (number, sum) in sums.pieces.first().into_iter().chain(sums.pieces.last()) {
        let at = u64::from(*number) * PIECE as u64;
        let size = sums.bytes.saturating_sub(at).min(PIECE as u64);
        if sum_of(file, at, size)? != *sum {
            return Ok(Some(Differs { at }));
        }
    }
    Ok(None)
}

/// The CRC-32 of a part of a file. All restores wait for it: what is read stays in the caches of a CPU.
fn sum_of(file: &File, at: u64, size: u64) -> io::Result<u32> {
    let mut part = vec![0u8; 64 << 10];
    let (mut sum, mut at, end) = (crc32fast::Hasher::new(), at, at.saturating_add(size));
    while at < end {
        let len = usize::try_from(end.saturating_sub(at)).unwrap_or(part.len()).min(part.len());
        let part = part.get_mut(..len).unwrap_or_default();
        file.read_exact_at(part, at)?;
        sum.update(part);
        at = at.saturating_add(len as u64);
    }
    Ok(sum.finalize())
}

#[cfg(test)]
#[path = "memory_file_test.rs"]
mod tests;
