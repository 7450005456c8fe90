//! What is said between the broker and those who ask it: a datagram each way.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A question. In bytes: what, 4 bytes of flags, the path.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Files beneath this folder, or this one file, may be opened.
    Allow(&'a Path),
    /// There are no more places.
    Seal,
    /// Open this, with flags of open(2).
    Open(&'a Path, i32),
    /// Remove this, if it is what was made last.
    Remove(&'a Path),
}

/// Bytes before the path.
const HEAD: usize = 5;
/// Longest path (linux/limits.h).
const MOST_PATH: usize = 4095;

impl<'a> Ask<'a> {
    /// The longest.
    pub const MOST: usize = HEAD + MOST_PATH;

    /// As it is sent. Fails if the path is longer than a path can be.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let (what, flags, path) = match *self {
            Ask::Allow(path) => (1, 0, path),
            Ask::Seal => (2, 0, Path::new("")),
            Ask::Open(path, flags) => (3, flags, path),
            Ask::Remove(path) => (4, 0, path),
        };
        let path = path.as_os_str().as_bytes();
        if path.len() > MOST_PATH {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        Ok([&[what][..], &flags.to_le_bytes(), path].concat())
    }

    /// As it was received; `None` if it is no question.
    pub fn of(bytes: &'a [u8]) -> Option<Ask<'a>> {
        let (head, path) = bytes.split_first_chunk::<HEAD>()?;
        let [what, flags @ ..] = *head;
        let path = Path::new(OsStr::from_bytes(path));
        match what {
            1 => Some(Ask::Allow(path)),
            2 => Some(Ask::Seal),
            3 => Some(Ask::Open(path, i32::from_le_bytes(flags))),
            4 => Some(Ask::Remove(path)),
            _ => None,
        }
    }
}

/// An answer; a file that was opened goes along with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The host refused, with this error.
    Refused(i32),
    /// The path leads to none of the places.
    Outside,
}

impl Answer {
    /// Its bytes.
    pub const LEN: usize = 4;

    /// As it is sent.
    pub fn bytes(self) -> [u8; Answer::LEN] {
        match self {
            Answer::Done => 0i32,
            Answer::Refused(errno) => errno,
            Answer::Outside => -1,
        }
        .to_le_bytes()
    }

    /// As it was received.
    pub fn of(bytes: [u8; Answer::LEN]) -> Answer {
        match i32::from_le_bytes(bytes) {
            0 => Answer::Done,
            errno @ 1.. => Answer::Refused(errno),
            _ => Answer::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_arrive_as_they_were_sent() {
        let path = Path::new("/some/where");
        for ask in [Ask::Allow(path), Ask::Seal, Ask::Open(path, -5), Ask::Remove(path)] {
            assert_eq!(Ask::of(&ask.bytes().unwrap()), Some(ask));
        }
        assert!(Ask::of(&[]).is_none() && Ask::of(&[1; 4]).is_none() && Ask::of(&[9; 9]).is_none());
        let long = "/".repeat(MOST_PATH + 1);
        assert!(Ask::Allow(Path::new(&long)).bytes().is_err());
        for answer in [Answer::Done, Answer::Refused(libc::ENOENT), Answer::Outside] {
            assert_eq!(Answer::of(answer.bytes()), answer);
        }
    }
}
