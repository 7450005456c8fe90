//! The broker: a process that opens files for the one that runs the guest, once that can open none.
//!
//! It is forked before there is a second thread, and has nothing but a socket. Before the guest runs it is given
//! the places that it may open files in, and shut in to them; from then on it is given paths, by threads that a guest
//! may have taken over, and gives descriptors.

mod places;
mod serve;
mod words;

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use device_core::files::{Attached, Dial, Files};
use device_core::ready;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType, recvmsg, socketpair,
};

use super::Mode;
use crate::migration::address::{Address, Reach};
pub use words::TUN;
use words::{Answer, Ask, Facts, MOST_FILES};

/// The end of the one who asks. The process ends when this is dropped, and when its owner ends in whatever way.
pub struct Broker {
    /// Held for a question and its answer.
    socket: Mutex<OwnedFd>,
    /// The same for connections of the guest's, which wait for no file.
    dials: Mutex<OwnedFd>,
    /// As the user knows them.
    places: OnceLock<String>,
}

/// What was opened, and a number.
type Opened = (Vec<OwnedFd>, u32);

/// Questions that a socket has room for, however long they are.
const AT_ONCE: usize = 8;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is not where files may be opened while the machine runs ({places}); --allow-path gives more places"
)]
struct Outside {
    places: String,
}

impl Broker {
    /// Starts the process. Call it while there is one thread. Fails if the host has no process or descriptor left.
    pub fn start(mode: Mode) -> io::Result<Broker> {
        Broker::start_behind(mode, || ())
    }

    /// As [`Broker::start`]; the process does `first` before it is the broker, while it is as its parent is.
    pub fn start_behind(mode: Mode, first: impl FnOnce()) -> io::Result<Broker> {
        let pair =
            || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let ((ours, its), (dials, heard)) = (pair()?, pair()?);
        // SAFETY: there is one thread, so that the child finds everything in order.
        match unsafe { libc::fork() } {
            0 => {
                first();
                serve::serve([its, heard], mode)
            }
            -1 => Err(io::Error::last_os_error()),
            _ => {
                let (socket, dials) = (Mutex::new(ours), Mutex::new(dials));
                Ok(Broker { socket, dials, places: OnceLock::new() })
            }
        }
    }

    /// From here on files beneath `places` are opened, and no others ever. Fails if one of them is not there, or the
    /// host refuses.
    pub fn seal(&self, places: &[PathBuf]) -> io::Result<()> {
        for some in places.chunks(AT_ONCE) {
            let asks: Vec<_> = some.iter().map(|place| Ask::Allow(place)).collect();
            for (place, given) in some.iter().zip(self.ask_all(&asks)?) {
                given.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", place.display()))
                })?;
            }
        }
        let whole = |place: &PathBuf| std::path::absolute(place).unwrap_or_else(|_| place.clone());
        let names: Vec<_> = places.iter().map(|place| whole(place).display().to_string()).collect();
        let names = if names.is_empty() { "nowhere".to_string() } else { names.join(", ") };
        // Said once.
        let _ = self.places.set(names);
        self.ask(&Ask::Seal).map(drop)
    }

    /// Where connections of a guest's vsock go, to be said before [`Broker::seal`].
    pub fn dial_beside(&self, socket: &Path) -> io::Result<()> {
        self.ask(&Ask::Vsock(socket)).map(drop)
    }

    /// Where the machine may go by TCP besides, to be said before [`Broker::seal`].
    pub fn reach(&self, place: &Reach) -> io::Result<()> {
        self.ask(&Ask::Reach(Path::new(&place.to_string()))).map(drop)
    }

    /// Connects to who waits for the machine: a socket that does not wait, and may be about to be connected. Fails if
    /// that is not where it may go, or nobody is there.
    pub fn connect(&self, to: &Address) -> io::Result<OwnedFd> {
        let (files, _) = self.ask(&Ask::Connect(Path::new(&to.to_string())))?;
        files.into_iter().next().ok_or_else(|| io::Error::other("it was not handed over"))
    }

    fn ask(&self, ask: &Ask<'_>) -> io::Result<Opened> {
        self.ask_by(&self.socket, ask)
    }

    /// Asks for several things in a row, so that the other process wakes up once for them. Fails if that is gone.
    fn ask_all(&self, asks: &[Ask<'_>]) -> io::Result<Vec<io::Result<Opened>>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // All can be asked, or nothing is: who comes next would hear the answers.
        let asks = asks.iter().map(Ask::bytes).collect::<io::Result<Vec<_>>>()?;
        asks.iter().try_for_each(|ask| send(&socket, ask))?;
        Ok(asks.iter().map(|_| self.hear(&socket)).collect())
    }

    fn ask_by(&self, socket: &Mutex<OwnedFd>, ask: &Ask<'_>) -> io::Result<Opened> {
        let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
        send(&socket, &ask.bytes()?)?;
        self.hear(&socket)
    }

    /// Waits for the next answer.
    fn hear(&self, socket: &OwnedFd) -> io::Result<Opened> {
        let mut answer = [0; Answer::MOST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [io::IoSliceMut::new(&mut answer)];
        let got = loop {
            match recvmsg(socket.as_fd(), &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                got => break got?,
            }
        };
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(gone());
        }
        match Answer::of(answer.get(..got.bytes).unwrap_or_default()).ok_or_else(gone)? {
            Answer::Done(number) => Ok((files, number)),
            Answer::Said(why) => Err(io::Error::other(why)),
            Answer::Refused(errno) => Err(io::Error::from_raw_os_error(errno)),
            Answer::Outside => {
                let places = self.places.get().cloned().unwrap_or_default();
                Err(io::Error::new(io::ErrorKind::PermissionDenied, Outside { places }))
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that opens files is gone")
}

fn send(socket: &OwnedFd, ask: &[u8]) -> io::Result<()> {
    ready::send_now(socket.as_fd(), ask).map(drop).map_err(|_| gone())
}

impl Dial for Broker {
    fn dial(&self, port: u32) -> io::Result<UnixStream> {
        let (files, _) = self.ask_by(&self.dials, &Ask::Dial(port))?;
        let stream = files.into_iter().next().map(UnixStream::from);
        stream.ok_or_else(|| io::Error::other("it was not handed over"))
    }
}

impl Files for Broker {
    fn open(&self, path: &Path, flags: i32) -> io::Result<File> {
        let (files, _) = self.ask(&Ask::Open(path, flags))?;
        let file = files.into_iter().next().map(File::from);
        file.ok_or_else(|| io::Error::other("it was not handed over"))
    }

    fn tap(&self, name: &str, queues: u16, mtu: Option<u16>) -> io::Result<Attached> {
        let count = u8::try_from(queues).map_err(io::Error::other)?;
        let asked = self.ask(&Ask::Tap(Path::new(name), count, mtu.unwrap_or(0)));
        let (files, facts) = asked.map_err(|error| {
            let of_device = error.get_ref().is_some_and(|inner| inner.is::<Outside>());
            match of_device {
                true => io::Error::new(error.kind(), format!("/dev/net/tun: {error}")),
                false => error,
            }
        })?;
        let Facts { mtu, is_up } = Facts::of(facts);
        let queues: Vec<_> = files.into_iter().map(File::from).collect();
        if queues.len() != usize::from(count) {
            return Err(io::Error::other("its queues were not handed over"));
        }
        Ok(Attached { queues, mtu, is_up })
    }

    fn remove_new(&self, path: &Path) -> io::Result<()> {
        self.ask(&Ask::Remove(path)).map(drop)
    }

    fn publish(&self, new: &Path, place: &Path) -> io::Result<()> {
        self.ask(&Ask::Publish(new, place)).map(drop)
    }

    fn retire(&self, path: &Path) -> io::Result<()> {
        self.ask(&Ask::Retire(path)).map(drop)
    }
}

#[cfg(test)]
#[path = "broker_test.rs"]
mod tests;
