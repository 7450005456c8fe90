//! Which pages a machine used first when it went on, and in which order: a file beside the memory's.
//!
//! ```text
//!    0  "vmm-used"
//!    8  format, u32              12  number of runs, u32
//!   16  the memory that it is of: the begin of a SHA-256 of its sums, 16 bytes
//!   32  runs: first page, u32, pages, u31, and in the highest bit whether they were written to
//!    .  CRC-32 of all before, u32
//! ```
//!
//! Numbers are little-endian. It is a hint: whoever writes a wrong one has pages fetched that nobody needs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"vmm-used";
const FORMAT: u32 = 1;
const HEAD: usize = 32;
const RUN: usize = 8;
const SUM: usize = 4;
const WRITTEN: u32 = 1 << 31;
/// Far more than any machine uses in the time of a record.
const MOST_RUNS: usize = 1 << 20;
/// Bytes of the pages that are counted.
pub const PAGE: u64 = 4096;

/// What memory a record is of.
pub type Identity = [u8; 16];

/// Pages one behind the other, in the order of the memory's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first, by its number.
    pub first: u32,
    pub pages: u32,
    /// Whether the guest, or a device of it, wrote to them.
    pub written: bool,
}

/// Why there is nothing to be had of a file.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is no record of used pages")]
    NotOurs,
    #[error("its format is {0}, and this vmm reads {FORMAT}")]
    Newer(u32),
    #[error("it is damaged")]
    Damaged,
    #[error("it is of another memory")]
    OtherMemory,
}

/// Where the record of a memory's file is.
pub fn beside(memory: &Path) -> PathBuf {
    let mut name = memory.as_os_str().to_owned();
    name.push(".used");
    name.into()
}

/// Of a memory whose pieces have these sums.
pub fn identity(bytes: u64, pieces: &[(u32, u32)]) -> Identity {
    let mut digest = Sha256::new().chain_update(bytes.to_le_bytes());
    for (number, sum) in pieces {
        digest.update(number.to_le_bytes());
        digest.update(sum.to_le_bytes());
    }
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}

/// Puts pages into runs, in their order.
pub fn runs(pages: impl IntoIterator<Item = (u32, bool)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (page, written) in pages {
        match runs.last_mut() {
            Some(last)
                if last.written == written && last.first.checked_add(last.pages) == Some(page) =>
            {
                last.pages = last.pages.saturating_add(1);
            }
            _ => runs.push(Run { first: page, pages: 1, written }),
        }
    }
    runs.truncate(MOST_RUNS);
    runs
}

/// Opens a file that [`write()`] is to write to. Fails if it cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Writes a record over whatever is there. Who reads it meanwhile, or after a half of it, sees that it is not whole.
pub fn write(file: &File, memory: Identity, runs: &[Run]) -> io::Result<()> {
    let text = text(memory, runs);
    file.set_len(0)?;
    file.write_all_at(&text, 0)
}

fn text(memory: Identity, runs: &[Run]) -> Vec<u8> {
    let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
    let mut text = Vec::with_capacity(HEAD.saturating_add(runs.len().saturating_mul(RUN)));
    text.extend(MAGIC);
    text.extend(FORMAT.to_le_bytes());
    text.extend(count.to_le_bytes());
    text.extend(memory);
    for run in runs {
        text.extend(run.first.to_le_bytes());
        let written = if run.written { WRITTEN } else { 0 };
        text.extend((run.pages & !WRITTEN | written).to_le_bytes());
    }
    let sum = crc32fast::hash(&text);
    text.extend(sum.to_le_bytes());
    text
}

/// Reads the record at `path`, if there is one, of a memory of `bytes` bytes. Fails if it is not whole, or of another
/// memory.
pub fn read(path: &Path, memory: Identity, bytes: u64) -> Result<Option<Vec<Run>>, RecordError> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(RecordError::NotOurs);
    }
    let most = (HEAD + MOST_RUNS * RUN + SUM) as u64;
    let mut text = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut text)?;
    parse(&text, memory, bytes).map(Some)
}

fn parse(text: &[u8], memory: Identity, bytes: u64) -> Result<Vec<Run>, RecordError> {
    let rest = text.strip_prefix(&MAGIC).ok_or(RecordError::NotOurs)?;
    let (format, rest) = number(rest).ok_or(RecordError::Damaged)?;
    if format != FORMAT {
        return Err(RecordError::Newer(format));
    }
    let (all, sum) = text.split_last_chunk::<SUM>().ok_or(RecordError::Damaged)?;
    if crc32fast::hash(all) != u32::from_le_bytes(*sum) {
        return Err(RecordError::Damaged);
    }
    let (count, rest) = number(rest).ok_or(RecordError::Damaged)?;
    let (of, rest) = rest.split_first_chunk::<16>().ok_or(RecordError::Damaged)?;
    let (runs, sum) = rest.as_chunks::<RUN>();
    if sum.len() != SUM || usize::try_from(count).ok() != Some(runs.len()) {
        return Err(RecordError::Damaged);
    }
    if *of != memory {
        return Err(RecordError::OtherMemory);
    }
    // No page twice, and none that is not there: what is fetched is never more than the memory.
    let last = bytes / PAGE;
    let mut left = last;
    let mut all = Vec::with_capacity(runs.len());
    for run in runs {
        let [first, pages] = [run.first_chunk(), run.last_chunk()]
            .map(|word| u32::from_le_bytes(*word.unwrap_or(&[0; 4])));
        let (pages, written) = (pages & !WRITTEN, pages & WRITTEN != 0);
        let end = u64::from(first).saturating_add(u64::from(pages));
        left = left.checked_sub(u64::from(pages)).ok_or(RecordError::Damaged)?;
        if pages == 0 || end > last {
            return Err(RecordError::Damaged);
        }
        all.push(Run { first, pages, written });
    }
    Ok(all)
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = text.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Identity = [7; 16];
    const BYTES: u64 = 1 << 20;

    fn some() -> Vec<Run> {
        runs([(5, false), (6, false), (7, true), (3, true), (200, false), (201, false)])
    }

    #[test]
    fn pages_that_follow_each_other_are_one_run_and_order_stays() {
        let run = |first, pages, written| Run { first, pages, written };
        assert_eq!(
            some(),
            [run(5, 2, false), run(7, 1, true), run(3, 1, true), run(200, 2, false)]
        );
    }

    #[test]
    fn what_was_written_is_read_and_of_another_memory_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("memory"));
        assert_eq!(read(&path, MEMORY, BYTES).unwrap(), None);
        let file = create(&path).unwrap();
        // An older, longer one.
        write(&file, [1; 16], &[some(), some()].concat()).unwrap();
        write(&file, MEMORY, &some()).unwrap();
        assert_eq!(read(&path, MEMORY, BYTES).unwrap(), Some(some()));
        assert!(matches!(read(&path, [8; 16], BYTES), Err(RecordError::OtherMemory)));
        assert!(path.ends_with("memory.used"));
    }

    #[test]
    fn whatever_byte_is_wrong_nothing_is_believed() {
        let whole = text(MEMORY, &some());
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(parse(&other, MEMORY, BYTES).is_err(), "byte {at}");
            assert!(parse(&whole[..at], MEMORY, BYTES).is_err(), "cut at {at}");
        }
        assert!(parse(&[whole, vec![0]].concat(), MEMORY, BYTES).is_err());
    }

    #[test]
    fn an_honest_sum_over_lies_does_not_help() {
        let run = |first, pages| Run { first, pages, written: false };
        let most = (BYTES / PAGE) as u32;
        for lies in [
            vec![run(0, most + 1)],
            vec![run(most, 1)],
            vec![run(u32::MAX, 1)],
            vec![run(1, WRITTEN - 1)],
            vec![run(0, 0)],
            vec![run(0, most), run(0, 1)],
        ] {
            let error = parse(&text(MEMORY, &lies), MEMORY, BYTES);
            assert!(matches!(error, Err(RecordError::Damaged)), "{lies:?}");
        }
        assert!(parse(&text(MEMORY, &[run(0, most)]), MEMORY, BYTES).is_ok());
    }
}
