//! The memory's file: regions one behind the other in order of their addresses, with holes where memory is zero, or
//! where nothing has changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use device_core::Ram;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::memory::PAGE;
use crate::memory::pages::PageSet;
use crate::memory::sparse::{ZEROES, has_data, next_data, write_data};
use crate::memory::touched::Touched;

/// What has a sum of its own.
pub const PIECE: usize = 512 << 10;
/// What is read, summed up and written at once: it stays in the CPU's cache meanwhile.
const STEP: usize = 128 << 10;
/// Changed pages of a piece from which on the whole piece is summed up: reading it is little beside them.
const MANY: u64 = 16;

/// What memory is like, and the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// All of it.
    pub bytes: u64,
    /// What is in the file and not in holes.
    pub data_bytes: u64,
    /// The CRC-32 of each piece of 512 KiB that has something, by its number; all others are zero.
    pub pieces: Vec<(u32, u32)>,
    /// If the file has only what has changed: that.
    pub changed: Option<Changed>,
}

/// What a file has of the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The snapshot that has the rest.
    pub base: String,
    /// The pages that it has, each run as the first and their number. Whatever else is in the file means nothing.
    pub runs: Vec<(u64, u64)>,
    /// The CRC-32 of these pages of each piece that has some, by its number.
    pub pieces: Vec<(u32, u32)>,
    /// Pieces of the memory of which the whole was not summed up, and which are not zero for being missing.
    pub unsummed: Vec<u32>,
}

impl Changed {
    /// Whether the whole of a piece is unknown.
    fn leaves_out(&self, number: u32) -> bool {
        self.unsummed.binary_search(&number).is_ok()
    }

    /// Whether the runs are in order, apart, and of memory of `bytes` bytes.
    pub fn fits(&self, bytes: u64) -> bool {
        let mut end = 0;
        self.runs.iter().all(|(first, count)| {
            let is_behind = *first >= end;
            end = first.saturating_add(*count);
            is_behind && *count > 0 && end.saturating_mul(PAGE as u64) <= bytes
        })
    }

    /// The pages as a set, of memory of `bytes` bytes.
    pub fn pages(&self, bytes: u64) -> PageSet {
        let mut set = PageSet::none(bytes);
        self.runs.iter().for_each(|(first, count)| set.add(*first, *count));
        set
    }
}

/// Where in a file something is.
#[derive(Debug, PartialEq, Eq)]
pub struct Differs {
    /// The piece's first byte.
    pub at: u64,
}

/// Writes memory that nobody writes to meanwhile to an empty file. `mapped` is the file that the memory is mapped
/// from, if it is: what nobody has touched is there; `touched` tells which. Fails if the file cannot be written.
pub fn write(ram: &Ram, mapped: Option<&File>, touched: Touched, file: &File) -> io::Result<Sums> {
    let bytes: u64 = ram.iter().map(GuestMemoryRegion::len).sum();
    file.set_len(bytes)?;
    let mut sums = Sums { bytes, data_bytes: 0, pieces: Vec::new(), changed: None };
    let runs: Vec<_> = with_something(ram, mapped, touched, bytes).runs().collect();
    let mut buffer = vec![0u8; STEP];
    for (number, parts) in by_piece(&runs) {
        let begin = u64::from(number).saturating_mul(PIECE as u64);
        let end = begin.saturating_add(PIECE as u64).min(bytes);
        let mut sum = crc32fast::Hasher::new();
        let (mut at, mut written) = (begin, 0u64);
        for (first, pages) in parts {
            let mut offset = first.saturating_mul(PAGE as u64);
            let behind = offset.saturating_add(pages.saturating_mul(PAGE as u64));
            add_zeroes(&mut sum, offset.saturating_sub(at));
            at = behind;
            while offset < behind {
                let step = usize::try_from(behind - offset).unwrap_or(STEP).min(STEP);
                let part = buffer.get_mut(..step).unwrap_or_default();
                read(ram, offset, part)?;
                sum.update(part);
                written = written.saturating_add(write_data(file, offset, part)?);
                offset = offset.saturating_add(step as u64);
            }
        }
        add_zeroes(&mut sum, end.saturating_sub(at));
        if written > 0 {
            sums.pieces.push((number, sum.finalize()));
        }
        sums.data_bytes = sums.data_bytes.saturating_add(written);
    }
    Ok(sums)
}

/// Pages that may have something: all that are in memory, and what is in no hole of the file that the others are
/// mapped from. To read the rest would bring it into memory.
fn with_something(ram: &Ram, mapped: Option<&File>, mut touched: Touched, bytes: u64) -> PageSet {
    let mut set = PageSet::none(bytes);
    let mut first = 0u64;
    for region in ram.iter() {
        for (at, len) in region.parts() {
            let start = (region.as_ptr().addr() as u64).saturating_add(at);
            let (page, count) = (first.saturating_add(at / PAGE as u64), len / PAGE as u64);
            touched.add_present(start, count, page, &mut set);
        }
        first = first.saturating_add(region.len() / PAGE as u64);
    }
    let mut at = 0;
    while let Some((begin, end)) = mapped.and_then(|mapped| next_data(mapped, at, bytes)) {
        let first = begin / PAGE as u64;
        set.add(first, end.div_ceil(PAGE as u64).saturating_sub(first));
        at = end;
    }
    set
}

/// Adds so many zeroes to a sum.
fn add_zeroes(sum: &mut crc32fast::Hasher, count: u64) {
    let mut left = count;
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
        sum.update(ZEROES.get(..step).unwrap_or_default());
        left = left.saturating_sub(step as u64);
    }
}

/// Writes what is in a piece at its `offset` in an empty file, and adds it to `sums`, where all before it are. Fails
/// if the file cannot be written.
pub fn add(sums: &mut Sums, file: &File, offset: u64, piece: &[u8]) -> io::Result<()> {
    let written = write_data(file, offset, piece)?;
    if written > 0 {
        sums.pieces.push((number_of(offset), crc32fast::hash(piece)));
        sums.data_bytes = sums.data_bytes.saturating_add(written);
    }
    Ok(())
}

/// Writes the pages of `set`, and no others, of memory that nobody writes to meanwhile to an empty file; the rest is
/// in the snapshot `base`, or one before it, whose memory is as `before` says. Pages that are zero are written too: in a
/// hole they would be as they were. Fails if the file cannot be written.
pub fn write_changed(
    ram: &Ram,
    set: &PageSet,
    (base, before): (&str, &Sums),
    file: &File,
) -> io::Result<Sums> {
    let bytes: u64 = ram.iter().map(GuestMemoryRegion::len).sum();
    file.set_len(bytes)?;
    let mut sums = Sums { bytes, data_bytes: 0, pieces: Vec::new(), changed: None };
    let runs: Vec<_> = set.runs().collect();
    let (mut pieces, mut unsummed, mut has_witness) = (Vec::new(), Vec::new(), false);
    let mut known = before.pieces.iter().copied().peekable();
    let unknown: &[u32] = before.changed.as_ref().map_or(&[], |changed| &changed.unsummed);
    let mut buffer = vec![0u8; PIECE];
    for (number, parts) in by_piece(&runs) {
        // Up to here nothing has changed.
        while let Some(same) = known.next_if(|(known, _)| *known <= number) {
            if same.0 < number {
                sums.pieces.push(same);
            }
        }
        let mut sum = crc32fast::Hasher::new();
        let mut count = 0u64;
        for (first, pages) in parts {
            let offset = first.saturating_mul(PAGE as u64);
            let len = usize::try_from(pages).unwrap_or_default().saturating_mul(PAGE);
            let part = buffer.get_mut(..len).unwrap_or_default();
            read(ram, offset, part)?;
            file.write_all_at(part, offset)?;
            sum.update(part);
            count = count.saturating_add(pages);
        }
        sums.data_bytes = sums.data_bytes.saturating_add(count.saturating_mul(PAGE as u64));
        pieces.push((number, sum.finalize()));
        // One at least shows whether the rest is there.
        if count < MANY && std::mem::replace(&mut has_witness, true) {
            unsummed.push(number);
            continue;
        }
        let at = u64::from(number).saturating_mul(PIECE as u64);
        let size = usize::try_from(bytes.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
        let whole = buffer.get_mut(..size).unwrap_or_default();
        read(ram, at, whole)?;
        if whole.iter().any(|byte| *byte != 0) {
            sums.pieces.push((number, crc32fast::hash(whole)));
        }
    }
    sums.pieces.extend(known);
    let changed = |number: &u32| pieces.binary_search_by_key(number, |(number, _)| *number).is_ok();
    unsummed.extend(unknown.iter().filter(|number| !changed(number)));
    unsummed.sort_unstable();
    sums.changed = Some(Changed { base: base.to_string(), runs, pieces, unsummed });
    Ok(sums)
}

/// The runs of each piece that has some, cut where pieces end. They fit ([`Changed::fits`]).
pub fn by_piece(runs: &[(u64, u64)]) -> Vec<(u32, Vec<(u64, u64)>)> {
    const PAGES: u64 = (PIECE / PAGE) as u64;
    let mut pieces: Vec<(u32, Vec<(u64, u64)>)> = Vec::new();
    for &(first, count) in runs {
        let (mut page, end) = (first, first.saturating_add(count));
        while page < end {
            let piece = page / PAGES;
            let next = end.min(piece.saturating_add(1).saturating_mul(PAGES));
            let run = (page, next.saturating_sub(page));
            let number = u32::try_from(piece).unwrap_or(u32::MAX);
            match pieces.last_mut() {
                Some((last, runs)) if *last == number => runs.push(run),
                _ => pieces.push((number, vec![run])),
            }
            page = next;
        }
    }
    pieces
}

/// Reads memory from where it is in its file on. Fails if it has not so much.
fn read(ram: &Ram, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut begin = 0u64;
    for region in ram.iter() {
        let end = begin.saturating_add(region.len());
        if offset < end {
            let from = MemoryRegionAddress(offset.saturating_sub(begin));
            return region.read_slice(into, from).map_err(io::Error::other);
        }
        begin = end;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn number_of(offset: u64) -> u32 {
    u32::try_from(offset / PIECE as u64).unwrap_or(u32::MAX)
}

/// Reads all of a file with the whole memory, and tells the first piece that is not as `sums` says. Fails if it cannot
/// be read.
pub fn check(file: &File, sums: &Sums) -> io::Result<Option<Differs>> {
    let mut piece = vec![0u8; PIECE];
    let mut expected = sums.pieces.iter().peekable();
    let mut offset = 0u64;
    while offset < sums.bytes {
        let size = usize::try_from(sums.bytes - offset).unwrap_or(PIECE).min(PIECE);
        let number = number_of(offset);
        let wanted = expected.next_if(|(expected, _)| *expected == number).map(|sum| sum.1);
        let left_out = sums.changed.as_ref().is_some_and(|changed| changed.leaves_out(number));
        if !left_out && (wanted.is_some() || has_data(file, offset, size)) {
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
    if let Some((number, _)) = expected.next() {
        return Ok(Some(Differs { at: u64::from(*number) * PIECE as u64 }));
    }
    match &sums.changed {
        Some(changed) => check_changed(file, changed),
        None => Ok(None),
    }
}

/// Reads what has changed of a file that has that, or all memory, and tells the first piece that is not as `changed`
/// says. Fails if it cannot be read.
pub fn check_changed(file: &File, changed: &Changed) -> io::Result<Option<Differs>> {
    let mut buffer = vec![0u8; PIECE];
    let mut expected = changed.pieces.iter();
    for (number, parts) in by_piece(&changed.runs) {
        let at = u64::from(number).saturating_mul(PIECE as u64);
        let mut sum = crc32fast::Hasher::new();
        for (first, pages) in parts {
            let offset = first.saturating_mul(PAGE as u64);
            let len = usize::try_from(pages).unwrap_or_default().saturating_mul(PAGE);
            let part = buffer.get_mut(..len).unwrap_or_default();
            file.read_exact_at(part, offset)?;
            sum.update(part);
        }
        if expected.next() != Some(&(number, sum.finalize())) {
            return Ok(Some(Differs { at }));
        }
    }
    Ok(expected.next().map(|(number, _)| Differs { at: u64::from(*number) * PIECE as u64 }))
}

/// Looks at the first and the last piece that has something, which a file of another snapshot has otherwise; where only
/// changes are summed up, also at one of which most has not changed. Fails if it cannot be read.
pub fn glance(file: &File, sums: &Sums) -> io::Result<Option<Differs>> {
    let unchanged = sums.changed.as_ref().and_then(|changed| {
        let is_same = |sum: &&(u32, u32)| {
            changed.pieces.binary_search_by_key(&sum.0, |(number, _)| *number).is_err()
        };
        sums.pieces.iter().find(is_same)
    });
    for (number, sum) in sums.pieces.first().into_iter().chain(sums.pieces.last()).chain(unchanged)
    {
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
