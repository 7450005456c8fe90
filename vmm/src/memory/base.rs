//! RAM as the base of others: a file in memory that nobody writes to any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use device_core::{GuestRam, Ram};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::sparse::{has_data, next_data, write_data};
use super::touched::Touched;
use super::{ACCESS, Extent, PAGE, release, restored, whole};

/// What is looked at at once.
const PIECE: usize = 2 << 20;
/// Mappings that one machine's memory may have of a base.
const MOST_RUNS: usize = 8192;

/// A base, and how much is in it.
pub struct Base {
    /// Regions one behind the other in order of their addresses, with holes where memory is zero.
    pub file: File,
    /// Bytes that were written to it.
    pub data_bytes: u64,
}

/// What a base can have while memory is still written to.
pub struct Prepared {
    file: File,
    data_bytes: u64,
}

/// Copies what is in `mapped`, which the memory is mapped from and nobody writes to. Fails if the host has not so much
/// memory.
pub fn prepare(ram: &Ram, mapped: &File) -> io::Result<Prepared> {
    use std::os::unix::fs::FileExt;

    let bytes = whole::bytes(ram);
    let file = new_file(bytes)?;
    let mut piece = vec![0; PIECE];
    let (mut at, mut data_bytes) = (0u64, 0u64);
    while let Some((data, end)) = next_data(mapped, at, bytes) {
        let len = usize::try_from(end.saturating_sub(data)).unwrap_or(PIECE).min(PIECE);
        let piece = piece.get_mut(..len).unwrap_or_default();
        mapped.read_exact_at(piece, data)?;
        file.write_all_at(piece, data)?;
        data_bytes = data_bytes.saturating_add(len as u64);
        at = data.saturating_add(len as u64);
    }
    Ok(Prepared { file, data_bytes })
}

/// Makes a base of memory that nobody writes to meanwhile, and maps that in its place: what is written from then on is
/// this process's alone. `mapped` is the file that the memory is mapped from now, if it is; `prepared` is of that, and
/// no memory has been given back since it was mapped. Fails if the host has not so much memory; then all is as it was.
pub fn make(ram: &Ram, mapped: Option<&File>, prepared: Option<Prepared>) -> io::Result<Base> {
    let (file, data_bytes) = match prepared {
        None => {
            let file = new_file(whole::bytes(ram))?;
            let data_bytes = copy(ram, mapped, &file)?;
            (file, data_bytes)
        }
        Some(Prepared { file, data_bytes }) => {
            let own = copy_own(ram, &file)?;
            (file, data_bytes.saturating_add(own))
        }
    };
    // What is in holes stays as it is, with pages as large as the host gives.
    for part in parts(ram, &runs(&file, whole::bytes(ram))) {
        map_in_place(part.at, part.len, Some((&file, part.offset)))?;
    }
    Ok(Base { file, data_bytes })
}

/// Maps memory from `base` as [`restored::map_all`] does, but where that has nothing: there it is of this process alone, as
/// pages would be made in the base first. KVM has not got it yet, so that nobody is told. Fails if the host refuses.
pub fn map_all(extent: &Extent, base: &File) -> io::Result<GuestRam> {
    let ram = restored::map_all(extent, base)?;
    match open_holes(&ram, base) {
        Ok(()) => Ok(ram),
        Err(error) => {
            release(ram);
            Err(error)
        }
    }
}

/// Maps memory of this process alone where RAM, which is mapped from `base` and has not been written to, has nothing.
/// Fails if the host refuses; then the content is what it was.
fn open_holes(ram: &Ram, base: &File) -> io::Result<()> {
    let bytes = whole::bytes(ram);
    let runs = runs(base, bytes);
    // Each hole is from the end of one run to the begin of the next.
    let ends = [0].into_iter().chain(runs.iter().map(|run| run.1));
    let begins = runs.iter().map(|run| run.0).chain([bytes]);
    let holes: Vec<_> = ends.zip(begins).filter(|(from, to)| from < to).collect();
    parts(ram, &holes).into_iter().try_for_each(|part| map_in_place(part.at, part.len, None))
}

/// A part of a region, and where it is in the file.
struct Part {
    at: *mut u8,
    len: usize,
    offset: u64,
}

/// What is of these runs in each region.
fn parts(ram: &Ram, runs: &[(u64, u64)]) -> Vec<Part> {
    let (mut begin, mut parts) = (0u64, Vec::new());
    for region in ram.iter() {
        let end = begin.saturating_add(region.len());
        for (from, to) in runs {
            let (from, to) = ((*from).max(begin), (*to).min(end));
            if let (Ok(skipped), Ok(len)) = (
                usize::try_from(from.saturating_sub(begin)),
                usize::try_from(to.saturating_sub(from)),
            ) && len > 0
            {
                parts.push(Part { at: region.as_ptr().wrapping_add(skipped), len, offset: from });
            }
        }
        begin = end;
    }
    parts
}

/// Where a file has something, in whole pieces; all of it, if that is in very many places.
fn runs(file: &File, bytes: u64) -> Vec<(u64, u64)> {
    let piece = PIECE as u64;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while let Some((data, end)) = next_data(file, at, bytes) {
        let begin = data / piece * piece;
        let end = end.checked_next_multiple_of(piece).unwrap_or(bytes).min(bytes);
        match runs.last_mut() {
            Some(last) if last.1 >= begin => last.1 = end,
            _ => runs.push((begin, end)),
        }
        at = end;
    }
    // The kernel has so many mappings of a process, and others want some.
    if runs.len() > MOST_RUNS { vec![(0, bytes)] } else { runs }
}

/// A file of `bytes` bytes that is nowhere but in memory.
fn new_file(bytes: u64) -> io::Result<File> {
    // SAFETY: the name ends with a zero byte; what is returned is checked, and owned by nobody else.
    let file = unsafe {
        match libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            fd => File::from_raw_fd(fd),
        }
    };
    file.set_len(bytes)?;
    Ok(file)
}

/// What is there of a region, in pieces that are looked at at once, each as where it begins and its bytes.
fn pieces(region: &<Ram as GuestMemoryBackend>::R) -> impl Iterator<Item = (usize, usize)> + '_ {
    region.parts().flat_map(|(begin, len)| {
        let end = begin.saturating_add(len);
        let piece = move |at: u64| (at, end.saturating_sub(at).min(PIECE as u64));
        (begin..end)
            .step_by(PIECE)
            .map(piece)
            .filter_map(|(at, len)| Some((usize::try_from(at).ok()?, usize::try_from(len).ok()?)))
    })
}

/// Writes what is not zero to where it belongs; returns how much that is.
fn copy(ram: &Ram, mapped: Option<&File>, file: &File) -> io::Result<u64> {
    let (mut begin, mut copied) = (0u64, 0u64);
    let mut touched = Touched::look();
    for region in ram.iter() {
        for (at, len) in pieces(region) {
            let offset = begin.saturating_add(at as u64);
            let place = region.as_ptr().wrapping_add(at);
            let is_of_file = mapped.is_some_and(|mapped| has_data(mapped, offset, len));
            if is_of_file || touched.any(place.addr() as u64, len) {
                // SAFETY: a part of the region, which is mapped; no vCPU runs, and no device has its rings, so that
                // nobody writes to it.
                let piece = unsafe { std::slice::from_raw_parts(place, len) };
                copied = copied.saturating_add(write_data(file, offset, piece)?);
            }
        }
        begin = begin.saturating_add(region.len());
    }
    Ok(copied)
}

/// Writes the pages that are this process's own, and not the file's; returns how much that is.
fn copy_own(ram: &Ram, file: &File) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;

    let (mut begin, mut copied) = (0u64, 0u64);
    let mut touched = Touched::look();
    for region in ram.iter() {
        for (at, len) in pieces(region) {
            let place = region.as_ptr().wrapping_add(at);
            let own = touched.own(place.addr() as u64, len);
            let mut page = 0usize;
            for run in own.chunk_by(|a, b| a == b) {
                let bytes = run.len().saturating_mul(PAGE);
                if run.first() == Some(&true) {
                    // SAFETY: as in `copy`.
                    let part =
                        unsafe { std::slice::from_raw_parts(place.wrapping_add(page), bytes) };
                    file.write_all_at(part, begin.saturating_add((at + page) as u64))?;
                    copied = copied.saturating_add(bytes as u64);
                }
                page = page.saturating_add(bytes);
            }
        }
        begin = begin.saturating_add(region.len());
    }
    Ok(copied)
}

/// Maps a part of a file, or zeroes, where other memory is, which has the same content.
fn map_in_place(at: *mut u8, len: usize, from: Option<(&File, u64)>) -> io::Result<()> {
    const KIND: libc::c_int = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let (kind, fd, offset) = match from {
        Some((file, offset)) => (KIND, file.as_raw_fd(), offset),
        None => (KIND | libc::MAP_ANONYMOUS, -1, 0),
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the memory of a region, which stays mapped with the same content and access; nobody makes a reference
    // to it.
    let done = unsafe { libc::mmap(at.cast(), len, ACCESS, kind, fd, offset) };
    if done == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: advice on that mapping, which keeps its content.
    unsafe { libc::madvise(at.cast(), len, libc::MADV_DONTDUMP) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::memory::{Pages, map};

    #[test]
    fn a_base_has_what_memory_had_and_keeps_it() {
        let (low, all) = (3u64 << 30, (3u64 << 30) + (64 << 20));
        let ram = map(all, Pages::Small).unwrap();
        let high = GuestAddress(4 << 30);
        for (at, word) in [(GuestAddress(0), 1u64), (GuestAddress(low - 8), 2), (high, 3)] {
            ram.write_obj(word, at).unwrap();
        }
        // Touched, and zero: not in the base.
        ram.write_obj(0u64, GuestAddress(64 << 20)).unwrap();
        let base = make(&ram, None, None).unwrap();
        assert_eq!(base.data_bytes, 3 << 12);
        let word = |file: &File, at| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, at).unwrap();
            u64::from_ne_bytes(word)
        };
        assert_eq!([0, low - 8, low].map(|at| word(&base.file, at)), [1, 2, 3]);
        assert!(base.file.metadata().unwrap().blocks() * 512 <= 3 << 12);

        let child = map_all(&Extent::of(all), &base.file).unwrap();
        child.write_obj(5u64, GuestAddress(64 << 20)).unwrap();
        ram.write_obj(6u64, GuestAddress(128 << 20)).unwrap();
        assert_eq!(base.file.metadata().unwrap().blocks() * 512, 3 << 12, "it has not grown");
        ram.write_obj(7u64, GuestAddress(0)).unwrap();
        child.write_obj(8u64, high).unwrap();
        let read = |ram: &Ram, at| ram.read_obj::<u64>(at).unwrap();
        assert_eq!((read(&ram, GuestAddress(0)), read(&ram, high)), (7, 3));
        assert_eq!((read(&child, GuestAddress(0)), read(&child, high)), (1, 8));

        // Once more, of what is of the first base and what is not.
        let again = make(&ram, Some(&base.file), None).unwrap();
        assert_eq!([0, low - 8, low].map(|at| word(&again.file, at)), [7, 2, 3]);
        assert_eq!([64 << 20, 128 << 20].map(|at| word(&again.file, at)), [0, 6]);
        assert_eq!(word(&base.file, 0), 1, "the first stays");

        // And with what can be done before.
        ram.write_obj(9u64, GuestAddress(8 << 20)).unwrap();
        let prepared = prepare(&ram, &again.file).unwrap();
        ram.write_obj(0u64, GuestAddress(0)).unwrap();
        let third = make(&ram, Some(&again.file), Some(prepared)).unwrap();
        assert_eq!([0, 8 << 20, low].map(|at| word(&third.file, at)), [0, 9, 3]);
        [ram, child].into_iter().for_each(release);
    }
}
