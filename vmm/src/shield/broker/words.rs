//! What is said between the broker and those who ask it: a datagram each way.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What makes TAPs, and opens them.
pub const TUN: &str = "/dev/net/tun";

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
    /// Open so many queues of the TAP of this name, with this MTU if it is not 0.
    Tap(&'a Path, u8, u16),
    /// The guest's connections go to sockets beside this one.
    Vsock(&'a Path),
    /// Connect to who listens for this port of the guest's.
    Dial(u32),
    /// The machine may go here by TCP, as it is written.
    Reach(&'a Path),
    /// Connect to who waits for the machine there, as it is written.
    Connect(&'a Path),
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
            Ask::Vsock(path) => (8, 0, &[path]),
            Ask::Dial(port) => (9, port.cast_signed(), &[]),
            Ask::Reach(place) => (10, 0, &[place]),
            Ask::Connect(to) => (11, 0, &[to]),
            Ask::Tap(name, queues, mtu) => (7, i32::from(*queues) << 16 | i32::from(*mtu), &[name]),
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
            8 => Ask::Vsock(path),
            9 => Ask::Dial(u32::from_le_bytes(flags)),
            10 => Ask::Reach(path),
            11 => Ask::Connect(path),
            7 => {
                let [low, high, queues, _] = flags;
                Ask::Tap(path, queues, u16::from_le_bytes([low, high]))
            }
            _ => return None,
        };
        paths.next().is_none().then_some(ask)
    }
}

/// Descriptors that go along with an answer at most: queues of a card.
pub const MOST_FILES: usize = 64;

/// What is told of a TAP, in an answer's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its largest packet, if that is known.
    pub mtu: Option<u16>,
    /// Whether it takes frames.
    pub is_up: bool,
}

impl Facts {
    const KNOWN: u32 = 1 << 16;
    const UP: u32 = 1 << 17;

    /// As a number.
    pub fn number(self) -> u32 {
        let mtu = self.mtu.map_or(0, |mtu| u32::from(mtu) | Facts::KNOWN);
        mtu | if self.is_up { Facts::UP } else { 0 }
    }

    /// Of a number.
    pub fn of(number: u32) -> Facts {
        let mtu = (number & Facts::KNOWN != 0).then_some(number as u16); // its lower half
        Facts { mtu, is_up: number & Facts::UP != 0 }
    }
}

/// An answer; what was opened goes along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; a number that means something to who asked.
    Done(u32),
    /// The host refused, with this error.
    Refused(i32),
    /// The path leads to none of the places.
    Outside,
    /// It was not done, and why.
    Said(String),
}

impl Answer {
    /// The longest.
    pub const MOST: usize = 1024;
    const OUTSIDE: i32 = -1;
    const SAID: i32 = -2;

    /// As it is sent: 4 bytes of an error, 4 of a number, a text.
    pub fn bytes(&self) -> Vec<u8> {
        let (error, number, text) = match self {
            Answer::Done(number) => (0, *number, ""),
            Answer::Refused(errno) => (*errno, 0, ""),
            Answer::Outside => (Answer::OUTSIDE, 0, ""),
            Answer::Said(text) => (Answer::SAID, 0, text.as_str()),
        };
        let mut bytes = [error.to_le_bytes(), number.to_le_bytes()].concat();
        bytes.extend(text.bytes());
        bytes.truncate(Answer::MOST);
        bytes
    }

    /// As it was received; `None` if it is no answer.
    pub fn of(bytes: &[u8]) -> Option<Answer> {
        let (error, rest) = bytes.split_first_chunk()?;
        let (number, text) = rest.split_first_chunk()?;
        Some(match i32::from_le_bytes(*error) {
            0 => Answer::Done(u32::from_le_bytes(*number)),
            errno @ 1.. => Answer::Refused(errno),
            Answer::SAID => Answer::Said(String::from_utf8_lossy(text).into_owned()),
            _ => Answer::Outside,
        })
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
            Ask::Tap(path, 64, 9000),
            Ask::Vsock(path),
            Ask::Dial(u32::MAX),
            Ask::Reach(path),
            Ask::Connect(path),
        ] {
            assert_eq!(Ask::of(&ask.bytes().unwrap()), Some(ask));
        }
        assert!(Ask::Retire(Path::new("a\0b")).bytes().is_err());
        let [one, three] = [&b"\x05\0\0\0\0a"[..], b"\x05\0\0\0\0a\0b\0c"].map(Ask::of);
        assert!(one.is_none() && three.is_none());
        assert!(
            Ask::of(&[]).is_none() && Ask::of(&[1; 4]).is_none() && Ask::of(&[99; 9]).is_none()
        );
        let long = "/".repeat(MOST_PATH + 1);
        assert!(Ask::Allow(Path::new(&long)).bytes().is_err());
        let why = Answer::Said("it is not there".to_string());
        for answer in [Answer::Done(7), Answer::Refused(libc::ENOENT), Answer::Outside, why] {
            assert_eq!(Answer::of(&answer.bytes()), Some(answer));
        }
        assert!(Answer::of(&[0; 7]).is_none());
        for (mtu, is_up) in [(None, false), (Some(0), true), (Some(u16::MAX), false)] {
            let facts = Facts { mtu, is_up };
            assert_eq!(Facts::of(facts.number()), facts);
        }
        assert_eq!(Answer::Said("x".repeat(2000)).bytes().len(), Answer::MOST);
    }
}
