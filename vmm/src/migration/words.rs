//! What source and target say to one another.
//!
//! ```text
//!  first, from the source:   0  "vmm-move"     8  version, u32      12  zero, u32
//!  then, both ways, records:
//!   0  kind, u32             4  bytes of the body, u32              8  number, u64: the first page, or zero
//!  16  CRC-32 of bytes 0 to 15 and of the body, u32                20  zero, u32
//!  24  the body
//! ```
//!
//! Numbers are little-endian. The other end may be anybody: each length is looked at before there is room for it.

use std::io::{self, Read};

use super::tls::trouble;
use crate::memory::PAGE;

const MAGIC: [u8; 8] = *b"vmm-move";
/// Of all that is said; what a part's own version says is not in it.
pub const VERSION: u32 = 1;
/// Bytes of what is said first.
pub const GREETING: usize = 16;
/// Bytes before a body.
pub const HEAD: usize = 24;
/// Of these, those that the sum is of.
const SUMMED: usize = 16;
/// Pages of one record at most.
pub const MOST_PAGES: usize = 32;
/// Most bytes of what a machine is; far more than any has.
const MOST_MACHINE: usize = 64 << 20;
/// Most bytes of a reason.
pub const MOST_WORDS: usize = 4096;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the source: what the machine is, and was like a moment ago.
    Hello,
    /// Pages from the number on.
    Pages,
    /// So many pages from the number on are zero.
    Zeroes,
    /// It is about to pause.
    Prepare,
    /// What the machine is like, once it rests.
    State,
    /// It is the target's from here on.
    LetGo,
    /// It stays where it is: why.
    Stays,
    /// From the target: it may come.
    Welcome,
    /// All is there that can be there before it.
    Prepared,
    /// It could run.
    Loaded,
    /// It is here, and goes on.
    Running,
    /// It is not here and never will be: why.
    Refused,
}

impl Kind {
    const ALL: [(u32, Kind, usize); 12] = [
        (1, Kind::Hello, MOST_MACHINE),
        (2, Kind::Pages, MOST_PAGES * PAGE),
        (3, Kind::Zeroes, 8),
        (4, Kind::Prepare, 0),
        (5, Kind::State, MOST_MACHINE),
        (6, Kind::LetGo, 0),
        (7, Kind::Stays, MOST_WORDS),
        (101, Kind::Welcome, 0),
        (102, Kind::Prepared, 0),
        (103, Kind::Loaded, 0),
        (104, Kind::Running, 0),
        (105, Kind::Refused, MOST_WORDS),
    ];

    fn number(self) -> u32 {
        Kind::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(0, |(number, ..)| *number)
    }
}

/// Why what the other end says is not understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("it is no vmm that sends a machine")]
    NotOurs,
    #[error("it speaks version {found}, and this vmm version {VERSION}")]
    Version { found: u32 },
    #[error("it says something that this vmm does not know, of kind {0}")]
    Unknown(u32),
    #[error("it says {len} bytes in a record of kind {kind:?}, which has {most} at most")]
    TooLong { kind: Kind, len: u32, most: usize },
    #[error("what it says was damaged on the way")]
    Damaged,
    #[error("it says {found:?} where {wanted} is to come")]
    Unexpected { found: Kind, wanted: &'static str },
    #[error("it has pages where the machine has no memory")]
    Outside,
    #[error("what it says of the machine is not understood")]
    Json(#[from] serde_json::Error),
    #[error("it says nothing for too long")]
    Silent,
    #[error("the connection has ended")]
    Ended,
    #[error("{0}")]
    Tls(String),
    #[error(
        "it ended the connection before both ends knew each other; it may be waiting without TLS, or for somebody else"
    )]
    Unmet,
    #[error("the connection is broken")]
    Io(#[source] io::Error),
}

/// By what a connection without words shows that it has none any more.
impl From<io::Error> for WireError {
    fn from(error: io::Error) -> WireError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(inner) = inner {
            return WireError::Tls(trouble::told(inner));
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => WireError::Ended,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => WireError::Silent,
            _ => WireError::Io(error),
        }
    }
}

/// What is said first.
pub fn greeting() -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    let parts = MAGIC.into_iter().chain(VERSION.to_le_bytes());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}

/// Reads what is said first. Fails if it is something else.
pub fn read_greeting(from: &mut impl Read) -> Result<(), WireError> {
    let mut bytes = [0; GREETING];
    from.read_exact(&mut bytes)?;
    let found = number(&bytes, 8, 4) as u32;
    match bytes.starts_with(&MAGIC) {
        false => Err(WireError::NotOurs),
        true if found != VERSION => Err(WireError::Version { found }),
        true => Ok(()),
    }
}

/// What is before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the record is.
    pub kind: Kind,
    /// Bytes of the body, which are no more than that kind has.
    pub len: usize,
    /// Where it belongs.
    pub number: u64,
    sum: u32,
    /// What the sum begins with.
    summed: [u8; SUMMED],
}

impl Head {
    /// Takes a head apart. Fails if there is no such record.
    pub fn of(bytes: &[u8; HEAD]) -> Result<Head, WireError> {
        let (kind, len) = (number(bytes, 0, 4) as u32, number(bytes, 4, 4) as u32);
        let known = Kind::ALL.iter().find(|(known, ..)| *known == kind);
        let &(_, kind, most) = known.ok_or(WireError::Unknown(kind))?;
        let fits = usize::try_from(len).ok().filter(|len| *len <= most);
        let Some(len) = fits else { return Err(WireError::TooLong { kind, len, most }) };
        let mut summed = [0; SUMMED];
        summed.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let sum = number(bytes, 16, 4) as u32;
        Ok(Head { kind, len, number: number(bytes, 8, 8), sum, summed })
    }

    /// Fails if `body` is not the one that was sent with it.
    pub fn check(&self, body: &[u8]) -> Result<(), WireError> {
        match sum(&self.summed, body) == self.sum {
            true => Ok(()),
            false => Err(WireError::Damaged),
        }
    }
}

fn sum(summed: &[u8], body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(summed);
    sum.update(body);
    sum.finalize()
}

/// `count` bytes from `at` on as a number.
fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(count);
    bytes.rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Adds a record to `out`.
pub fn put(out: &mut Vec<u8>, kind: Kind, number: u64, body: &[u8]) {
    let begin = out.len();
    // No body is as long as that, by what makes them.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend(kind.number().to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(number.to_le_bytes());
    let sum = sum(out.get(begin..).unwrap_or_default(), body);
    out.extend(sum.to_le_bytes());
    out.extend([0; HEAD - SUMMED - 4]);
    out.extend(body);
}

/// Reads a record, and its body into `body`. Fails if there is none, or no such one.
pub fn read(from: &mut impl Read, body: &mut Vec<u8>) -> Result<Head, WireError> {
    let mut bytes = [0; HEAD];
    from.read_exact(&mut bytes)?;
    let head = Head::of(&bytes)?;
    body.resize(head.len, 0);
    from.read_exact(body)?;
    head.check(body)?;
    Ok(head)
}

/// What is said for people, as it came from anybody: in one line.
pub fn words(body: &[u8]) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    String::from_utf8_lossy(body).chars().map(plain).collect()
}

#[cfg(test)]
#[path = "words_test.rs"]
mod tests;
