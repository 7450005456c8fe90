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
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use device_core::files::Files;
use device_core::ready;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType, recvmsg, socketpair,
};

use super::Mode;
use words::{Answer, Ask};

/// The end of the one who asks. The process ends when this is dropped, and when its owner ends in whatever way.
pub struct Broker {
    /// Held for a question and its answer.
    socket: Mutex<OwnedFd>,
    /// As the user knows them.
    places: OnceLock<String>,
}

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
    #[cfg(test)]
    pub fn start(mode: Mode) -> io::Result<Broker> {
        Broker::start_behind(mode, || ())
    }

    /// As [`Broker::start`]; the process does `first` before it is the broker, while it is as its parent is.
    pub fn start_behind(mode: Mode, first: impl FnOnce()) -> io::Result<Broker> {
        let (ours, its) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // SAFETY: there is one thread, so that the child finds everything in order.
        match unsafe { libc::fork() } {
            0 => {
                first();
                serve::serve(its, mode)
            }
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(Broker { socket: Mutex::new(ours), places: OnceLock::new() }),
        }
    }

    /// From here on files beneath `places` are opened, and no others ever. Fails if one of them is not there, or the
    /// host refuses.
    pub fn seal(&self, places: &[PathBuf]) -> io::Result<()> {
        for place in places {
            let given = self.ask(&Ask::Allow(place));
            given.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", place.display()))
            })?;
        }
        let whole = |place: &PathBuf| std::path::absolute(place).unwrap_or_else(|_| place.clone());
        let names: Vec<_> = places.iter().map(|place| whole(place).display().to_string()).collect();
        let names = if names.is_empty() { "nowhere".to_string() } else { names.join(", ") };
        // Said once.
        let _ = self.places.set(names);
        self.ask(&Ask::Seal).map(drop)
    }

    fn ask(&self, ask: &Ask<'_>) -> io::Result<Option<OwnedFd>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::other("the process that opens files is gone");
        ready::send_now(socket.as_fd(), &ask.bytes()?).map_err(|_| gone())?;
        let mut answer = [0; Answer::LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [io::IoSliceMut::new(&mut answer)];
        let got = loop {
            match recvmsg(socket.as_fd(), &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                got => break got?,
            }
        };
        if got.bytes != Answer::LEN || got.flags.contains(ReturnFlags::TRUNC) {
            return Err(gone());
        }
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut files) = message {
                file = files.next();
            }
        }
        match Answer::of(answer) {
            Answer::Done => Ok(file),
            Answer::Refused(errno) => Err(io::Error::from_raw_os_error(errno)),
            Answer::Outside => {
                let places = self.places.get().cloned().unwrap_or_default();
                Err(io::Error::new(io::ErrorKind::PermissionDenied, Outside { places }))
            }
        }
    }
}

impl Files for Broker {
    fn open(&self, path: &Path, flags: i32) -> io::Result<File> {
        let file = self.ask(&Ask::Open(path, flags))?;
        file.map(File::from).ok_or_else(|| io::Error::other("it was not handed over"))
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
