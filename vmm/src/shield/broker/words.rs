//! What is said between the broker and those who ask it: a datagram each way.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A question. In bytes: what, 4 bytes of flags, the path; of two paths, a zero between them.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Files beneath this folder, or this one file, may be opened.
    Allow(&'a Path),
    /// There are no more places.
    Seal,
    /// Open this, with flags of open(2).
    Open(&'a Path, i32),
    /// Remove this, if it was made here.
    Remove(&'a Path),
    /// Put the first, if it was made here, in the place of the second, in the same folder.
    Publish(&'a Path, &'a Path),
    /// Remove this, whoever made it.
    Retire(&'a Path),
}

/// Bytes before the path.
const HEAD: usize = 5;
/// Longest path (linux/limits.h).
const MOST_PATH: usize = 4095;

impl<'a> Ask<'a> {
    /// The longest.
    pub const MOST: usize = HEAD + 2 * MOST_PATH + 1;

    /// As it is sent. Fails if the path is longer than a path can be.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let (what, flags, paths): (u8, i32, &[&Path]) = match self {
            Ask::Allow(path) => (1, 0, &[path]),
            Ask::Seal => (2, 0, &[]),
            Ask::Open(path, flags) => (3, *flags, &[path]),
            Ask::Remove(path) => (4, 0, &[path]),
            Ask::Publish(new, place) => (5, 0, &[new, place]),
            Ask::Retire(path) => (6, 0, &[path]),
        };
        let paths: Vec<_> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
        if paths.iter().any(|path| path.len() > MOST_PATH) {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        if paths.iter().any(|path| path.contains(&0)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok([&[what][..], &flags.to_le_bytes(), &paths.join(&0)].concat())
    }

    /// As it was received; `None` if it is no question.
    pub fn of(bytes: &'a [u8]) -> Option<Ask<'a>> {
        let (head, paths) = bytes.split_first_chunk::<HEAD>()?;
        let [what, flags @ ..] = *head;
        let mut paths =
            paths.split(|byte| *byte == 0).map(|path| Path::new(OsStr::from_bytes(path)));
        let path = paths.next()?;
        let ask = match what {
            1 => Ask::Allow(path),
            2 => Ask::Seal,
            3 => Ask::Open(path, i32::from_le_bytes(flags)),
            4 => Ask::Remove(path),
            5 => Ask::Publish(path, paths.next()?),
            6 => Ask::Retire(path),
            _ => return None,
        };
        paths.next().is_none().then_some(ask)
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
        let other = Path::new("/some/where/else");
        for ask in [
            Ask::Allow(path),
            Ask::Seal,
            Ask::Open(path, -5),
            Ask::Remove(path),
            Ask::Publish(path, other),
            Ask::Retire(path),
        ] {
            assert_eq!(Ask::of(&ask.bytes().unwrap()), Some(ask));
        }
        assert!(Ask::Retire(Path::new("a\0b")).bytes().is_err());
        let [one, three] = [&b"\x05\0\0\0\0a"[..], b"\x05\0\0\0\0a\0b\0c"].map(Ask::of);
        assert!(one.is_none() && three.is_none());
        assert!(Ask::of(&[]).is_none() && Ask::of(&[1; 4]).is_none() && Ask::of(&[9; 9]).is_none());
        let long = "/".repeat(MOST_PATH + 1);
        assert!(Ask::Allow(Path::new(&long)).bytes().is_err());
        for answer in [Answer::Done, Answer::Refused(libc::ENOENT), Answer::Outside] {
            assert_eq!(Answer::of(answer.bytes()), answer);
        }
    }
}
