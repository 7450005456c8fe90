//! What main, the zygote and its children say to one another: a length, then JSON. Descriptors go along with the length.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spec::ChildSpec;
use crate::snapshot::kept::Kept;
use crate::vm::saved::MachineState;

/// Most bytes of what is said; far more than any machine's state has.
pub const MOST: usize = 64 << 20;
/// Most descriptors that go along: memory, and disks.
pub const MOST_FILES: usize = 32;
/// Bytes of a length.
const HEAD: usize = 8;

/// What is asked of the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// From here on children open nothing but what is at, or beneath, these paths, each as its bytes. Said once.
    Seal(Vec<Vec<u8>>),
    /// Copies of images, each of the first in the place of the second.
    Copy(Vec<(PathBuf, PathBuf)>),
    /// Empty files, for overlays.
    Make(Vec<PathBuf>),
    /// Copies that no child will have are removed.
    Remove(Vec<PathBuf>),
    /// Children of a machine; the file of its memory goes along.
    Fork(Box<Brood>),
}

/// Children of one request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Brood {
    /// What the machine is made of, in the layout of a configuration file.
    pub config: Value,
    /// What it is like.
    pub state: MachineState,
    /// What else it has.
    pub kept: Kept,
    /// Whether the children run at once.
    pub resume: bool,
    /// Each of them.
    pub children: Vec<ChildSpec>,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done,
    /// The numbers of the children's processes, in the order in which they were asked for.
    Born(Vec<u32>),
    /// Nothing was done, as the images' file system cannot: why, in one line.
    NoSharing(String),
    /// Nothing was done: why, in one line.
    Refused(String),
}

/// Says something, with files along. Fails if the other end is gone.
pub fn say(socket: &File, text: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let head = (text.len() as u64).to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket.as_fd(), &[IoSlice::new(&head)], &mut control, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(text)
}

/// Waits for what is said; nothing if the other end is closed. Fails if it is too long, or cut off.
pub fn hear(socket: &File) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut head = [0; HEAD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut bytes = [IoSliceMut::new(&mut head)];
        match recvmsg(socket.as_fd(), &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            got => break got?.bytes,
        }
    };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    if got == 0 {
        return Ok(None);
    }
    let mut socket = socket;
    socket.read_exact(head.get_mut(got..).unwrap_or_default())?;
    let len = usize::try_from(u64::from_le_bytes(head)).unwrap_or(usize::MAX);
    if len > MOST {
        return Err(io::Error::other("it is too long"));
    }
    let mut text = vec![0; len];
    socket.read_exact(&mut text)?;
    Ok(Some((text, files)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (File, File) {
        let (one, other) = UnixStream::pair().unwrap();
        (File::from(OwnedFd::from(one)), File::from(OwnedFd::from(other)))
    }

    #[test]
    fn what_is_said_arrives_with_its_files_and_an_end_is_an_end() {
        let (one, other) = pair();
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(b"text").unwrap();
        say(&one, b"first", &[file.as_fd()]).unwrap();
        say(&one, b"", &[]).unwrap();
        let (text, files) = hear(&other).unwrap().unwrap();
        assert_eq!((&text[..], files.len()), (&b"first"[..], 1));
        assert_eq!(File::from(files.into_iter().next().unwrap()).metadata().unwrap().len(), 4);
        assert_eq!(hear(&other).unwrap().unwrap().0, b"");
        drop(one);
        assert!(hear(&other).unwrap().is_none());
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_not_believed() {
        let (one, other) = pair();
        (&one).write_all(&5u64.to_le_bytes()).unwrap();
        (&one).write_all(b"abc").unwrap();
        drop(one);
        assert!(hear(&other).is_err());
        let (one, other) = pair();
        (&one).write_all(&u64::MAX.to_le_bytes()).unwrap();
        assert!(hear(&other).unwrap_err().to_string().contains("too long"));
    }
}
