//! Files with holes where memory is zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::PAGE;

/// A page that is zero.
pub const ZEROES: [u8; PAGE] = [0; PAGE];

/// Writes those pages of `bytes` that are not zero to a file in which all from `offset` on is; how many bytes these are.
/// Fails if the file cannot be written.
pub fn write_data(file: &File, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    let is_empty = |page: &&[u8]| ZEROES.starts_with(page);
    let (mut at, mut written) = (0usize, 0u64);
    while at < bytes.len() {
        let left = bytes.get(at..).unwrap_or_default();
        let empty: usize = left.chunks(PAGE).take_while(is_empty).map(<[u8]>::len).sum();
        let left = left.get(empty..).unwrap_or_default();
        let full = left.chunks(PAGE).take_while(|page| !is_empty(page)).map(<[u8]>::len).sum();
        at = at.saturating_add(empty);
        file.write_all_at(left.get(..full).unwrap_or_default(), offset.saturating_add(at as u64))?;
        at = at.saturating_add(full);
        written = written.saturating_add(full as u64);
    }
    Ok(written)
}

/// Where the next data from `at` on begins and ends in the first `len` bytes of a file; where its file system does not
/// tell, all is data.
pub fn next_data(file: &File, at: u64, len: u64) -> Option<(u64, u64)> {
    if at >= len {
        return None;
    }
    let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        // There is nothing behind it.
        Err(Errno::NXIO) => return None,
        Err(_) => return Some((at, len)),
    };
    if begin >= len {
        return None;
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(begin)).unwrap_or(len);
    Some((begin, end.clamp(begin.saturating_add(1), len)))
}

/// Whether a part of a file has more than holes, as far as its file system tells.
pub fn has_data(file: &File, offset: u64, size: usize) -> bool {
    next_data(file, offset, offset.saturating_add(size as u64)).is_some()
}
