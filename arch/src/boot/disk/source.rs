//! Where the bytes of a disk come from, and how many of them may be looked at: what reads an image that
//! somebody else made stops at the end of its part, and stops at all.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// The bytes of a disk, at any place.
pub trait ReadAt {
    /// Bytes of the disk. Fails if the host cannot tell.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset`, in bytes. Fails if they are not all there, or cannot be read.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// A regular file or a block device.
impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        match self.metadata()? {
            metadata if metadata.is_file() => Ok(metadata.len()),
            // A block device tells by its end only.
            _ => (&*self).seek(SeekFrom::End(0)),
        }
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let from = from.and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a part of a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The host cannot read it.
    #[error("{0}")]
    Host(io::Error),
    /// It would lie beyond the end of the disk or of its part.
    #[error("it points behind its end")]
    Beyond,
    /// More was read than any disk needs that means well.
    #[error("there is no end to it")]
    Endless,
    /// Something that cannot be.
    #[error("{0}")]
    Damaged(&'static str),
    /// Something that is not known here.
    #[error("{0}, which is not known here")]
    Unknown(&'static str),
    /// A file that is larger than what it is needed for can be.
    #[error("it has {len} bytes, at most {most} are taken")]
    TooLarge {
        /// Bytes of the file.
        len: u64,
        /// Bytes that are taken.
        most: u64,
    },
}

/// What may still be read of one disk, in pages of 4 KiB, of which each read takes one at least.
#[derive(Debug)]
pub(crate) struct Budget(Cell<u64>);

/// Enough for an initrd of 128 MiB whose blocks have 1 KiB and are looked up one by one, behind two
/// indirections.
const PAGES: u64 = 1 << 19;
const PAGE: u64 = 4096;

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(PAGES))
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> Result<(), ReadError> {
        let pages = (bytes as u64).div_ceil(PAGE).max(1);
        self.0.set(self.0.get().checked_sub(pages).ok_or(ReadError::Endless)?);
        Ok(())
    }
}

/// A part of a disk, or all of it.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    disk: &'a dyn ReadAt,
    budget: &'a Budget,
    /// Byte of the disk where it begins.
    start: u64,
    /// Bytes.
    len: u64,
}

impl<'a> Region<'a> {
    /// All `len` bytes of `disk`.
    pub fn whole(disk: &'a dyn ReadAt, len: u64, budget: &'a Budget) -> Self {
        Self { disk, budget, start: 0, len }
    }

    /// The part of it with `len` bytes from `start`, cut at its end; `None` if it begins behind that.
    pub fn part(&self, start: u64, len: u64) -> Option<Self> {
        let most = self.len.checked_sub(start).filter(|most| *most > 0)?;
        Some(Self { start: self.start.saturating_add(start), len: len.min(most), ..*self })
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where on the disk its byte `offset` is. Fails if the `len` bytes from there are not all in it.
    pub fn place(&self, offset: u64, len: u64) -> Result<u64, ReadError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.start.saturating_add(offset)),
            _ => Err(ReadError::Beyond),
        }
    }

    /// Fills `bytes` from `offset`. Fails if they are not all in it, or cannot be read.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let place = self.place(offset, bytes.len() as u64)?;
        self.budget.take(bytes.len())?;
        self.disk.read_at(place, bytes).map_err(ReadError::Host)
    }

    /// `LEN` bytes from `offset`. Fails as [`Self::read`].
    pub fn array<const LEN: usize>(&self, offset: u64) -> Result<[u8; LEN], ReadError> {
        let mut bytes = [0; LEN];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// `len` bytes from `offset`. Fails as [`Self::read`], before it takes memory for them.
    pub fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        self.place(offset, len as u64)?;
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether `magic` is at `offset`; nothing is where it cannot be read.
    pub fn has(&self, offset: u64, magic: &[u8]) -> bool {
        self.bytes(offset, magic.len()).is_ok_and(|bytes| bytes == magic)
    }
}

/// Little-endian numbers in `bytes`; 0 behind its end, so that callers check its length once.
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn array<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let from = self.0.get(at..).and_then(|rest| rest.first_chunk());
        from.copied().unwrap_or([0; LEN])
    }

    pub fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// `len` bytes, as far as they are there.
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }
}

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;
