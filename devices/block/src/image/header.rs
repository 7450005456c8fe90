//! The first page of an overlay's file: of what disk it is, and on which base.
//!
//! ```text
//! 0 header │ 4096 map: a bit for each cluster, in whole pages │ data: the disk, each cluster at its own place
//! ```
//! All numbers are little-endian. The guest's offsets begin behind the map, so that nothing it writes is ever taken
//! for any of this; and there is no path in it, so that nobody who hands on a file decides what else is opened.
//! The map has no checksums: a bit is only ever added, and not before what it stands for is on the medium, so that
//! of a page that was torn by a power cut any mixture is as right as what was there before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::request::SECTOR;

/// Bytes of the header, and of a page of the map.
pub const PAGE: u64 = 4096;
/// Bytes of a cluster: what an overlay takes from its base at once.
pub const CLUSTER: u64 = 64 << 10;
/// Largest disk; its map has 32 MiB.
pub const MOST_SIZE: u64 = 16 << 40;
/// Where data may begin at the latest: room for a map, and for what later versions put before it.
const MOST_OFFSET: u64 = 1 << 30;

/// What each begins with; the first byte is that of no text.
pub const MAGIC: [u8; 8] = *b"\xd6vmm-cow";
/// The one version that there is.
const VERSION: u32 = 1;

/// What tells a base from one that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Bytes of the disk that it is.
    pub size: u64,
    /// When it was written last: nanoseconds since 1970. 0 for a block device, which does not say.
    pub modified: u64,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the disk.
    pub size: u64,
    /// Where the disk's first byte is in the file.
    pub data: u64,
    /// What the rest is read from.
    pub base: Identity,
}

/// What is wrong with a header. Says so in words that go behind the name of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It begins as something else.
    #[error("it does not begin as an overlay")]
    NoOverlay,
    /// It was made by a later version.
    #[error("it has version {0} of the format, and this is a vmm for version {VERSION}")]
    Newer(u32),
    /// Its checksum is another one.
    #[error("the checksum of its header is wrong")]
    Checksum,
    /// It says what cannot be.
    #[error("its header says what cannot be of its {0}")]
    Absurd(&'static str),
}

impl Header {
    /// Of an overlay of `size` bytes on `base`.
    pub fn new(size: u64, base: Identity) -> Header {
        let end = PAGE.saturating_add(map_bytes(size));
        Header { size, data: end.next_multiple_of(CLUSTER), base }
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.data.saturating_add(self.size)
    }

    /// As it stands in the file.
    pub fn to_page(self) -> [u8; PAGE as usize] {
        let Header { size, data, base } = self;
        let mut fields = Vec::from(MAGIC);
        fields.extend(VERSION.to_le_bytes());
        fields.extend(0u32.to_le_bytes());
        fields.extend((CLUSTER as u32).to_le_bytes());
        fields.extend(0u32.to_le_bytes());
        for field in [size, data, base.size, base.modified] {
            fields.extend(field.to_le_bytes());
        }
        let mut page = [0; PAGE as usize];
        page.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        let sum = checksum(&page).to_le_bytes();
        page.iter_mut().skip(SUM_AT).zip(sum).for_each(|(byte, sum)| *byte = sum);
        page
    }

    /// Reads what may be by anybody. Fails if it is no header, or one that cannot be.
    pub fn of_page(page: &[u8; PAGE as usize]) -> Result<Header, HeaderError> {
        let mut fields = Fields(page);
        if fields.take() != MAGIC {
            return Err(HeaderError::NoOverlay);
        }
        let version = u32::from_le_bytes(fields.take());
        if version != VERSION {
            return Err(HeaderError::Newer(version));
        }
        if u32::from_le_bytes(fields.take()) != checksum(page) {
            return Err(HeaderError::Checksum);
        }
        let (cluster, flags) =
            (u32::from_le_bytes(fields.take()), u32::from_le_bytes(fields.take()));
        let mut number = || u64::from_le_bytes(fields.take());
        let (size, data) = (number(), number());
        let base = Identity { size: number(), modified: number() };
        let fails = |is_wrong: bool, what| match is_wrong {
            true => Err(HeaderError::Absurd(what)),
            false => Ok(()),
        };
        fails(u64::from(cluster) != CLUSTER, "clusters")?;
        fails(flags != 0, "flags")?;
        fails(!(SECTOR..=MOST_SIZE).contains(&size) || size % SECTOR != 0, "size")?;
        let least = PAGE.saturating_add(map_bytes(size));
        fails(!(least..=MOST_OFFSET).contains(&data) || data % CLUSTER != 0, "data's place")?;
        Ok(Header { size, data, base })
    }
}

/// How many clusters a disk of `size` bytes has; the last may be cut off.
pub fn clusters(size: u64) -> u64 {
    size.div_ceil(CLUSTER)
}

/// Bytes of its map.
pub fn map_bytes(size: u64) -> u64 {
    clusters(size).div_ceil(8).next_multiple_of(PAGE)
}

/// A moment, as an [`Identity`] has it.
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const SUM_AT: usize = 12;

/// Of the page, as if the checksum's own place were zero.
fn checksum(page: &[u8; PAGE as usize]) -> u32 {
    let (before, rest) = page.split_at(SUM_AT);
    let mut sum = crc32fast::Hasher::new();
    sum.update(before);
    sum.update(&[0; 4]);
    sum.update(rest.get(4..).unwrap_or_default());
    sum.finalize()
}

/// The page with the checksum that it should have, as who writes a hostile file can make it.
#[cfg(any(test, feature = "testing"))]
pub fn sealed(mut page: [u8; PAGE as usize]) -> [u8; PAGE as usize] {
    let sum = checksum(&page).to_le_bytes();
    page.iter_mut().skip(SUM_AT).zip(sum).for_each(|(byte, sum)| *byte = sum);
    page
}

/// What is not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field; zero behind the end, which no header reaches.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;
