//! A pager for tests of restored machines, in the shape of those that are in use: it listens, takes regions and a
//! `userfaultfd` by Firecracker's handshake, and brings pages from a file, or zeroes where they were given back.
//!
//! `pager SOCKET FILE [die|stall|close] [N]` dies or stops to serve behind N faults, or closes the connection and ends once it
//! has the descriptor. When the machine goes it says how many faults it served and how many pages were given back.

#[path = "pagers/handshake.rs"]
mod handshake;

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use handshake::{Message, Region};

struct Pager {
    uffd: OwnedFd,
    regions: Vec<Region>,
    /// Where the file is mapped.
    source: u64,
    zeroes: Vec<u8>,
    /// Pages that were given back.
    removed: BTreeSet<u64>,
    /// Faults that wait.
    faults: VecDeque<u64>,
    served: u64,
    given_back: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (socket, path, how, behind) = match arguments.as_slice() {
        [socket, path] => (socket, path, "", u64::MAX),
        [socket, path, how] => (socket, path, how.as_str(), 0),
        [socket, path, how, behind] => (socket, path, how.as_str(), behind.parse()?),
        _ => return Err("usage: pager SOCKET FILE [die|stall|close] [N]".into()),
    };
    let listener = UnixListener::bind(socket)?;
    println!("listening");
    let (stream, _) = listener.accept()?;
    let (regions, uffd) = handshake::receive(&stream)?;
    if how == "close" {
        return Ok(());
    }
    let source = handshake::map(&File::open(path)?)?;
    let page = regions.first().ok_or("no regions")?.page_size_kib;
    let mut pager = Pager {
        uffd,
        regions,
        source,
        zeroes: vec![0; usize::try_from(page)?],
        removed: BTreeSet::new(),
        faults: VecDeque::new(),
        served: 0,
        given_back: 0,
    };
    while wait(&pager.uffd, &stream)? {
        pager.read()?;
        while let Some(address) = pager.faults.pop_front() {
            if pager.served >= behind {
                match how {
                    "die" => return Ok(()),
                    _ => loop {
                        std::thread::park();
                    },
                }
            }
            if !pager.serve(address)? {
                // What was given back has to be read first.
                pager.faults.push_front(address);
                break;
            }
            pager.served = pager.served.saturating_add(1);
        }
    }
    println!("{} faults, {} pages given back", pager.served, pager.given_back);
    Ok(())
}

/// Until something happens; false once the machine is gone.
fn wait(uffd: &OwnedFd, stream: &UnixStream) -> io::Result<bool> {
    let of = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut fds = [of(uffd.as_raw_fd()), of(stream.as_raw_fd())];
    // SAFETY: two valid entries.
    match unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(fds[1].revents == 0),
    }
}

impl Pager {
    /// All that has happened.
    fn read(&mut self) -> io::Result<()> {
        let page = self.zeroes.len() as u64;
        while let Some(message) = handshake::read(&self.uffd)? {
            match message {
                Message::Missing(address) => {
                    self.faults.push_back(address & !page.wrapping_sub(1));
                }
                Message::Removed(first, end) => {
                    for at in (first..end).step_by(self.zeroes.len()) {
                        self.removed.insert(at);
                        self.given_back = self.given_back.wrapping_add(1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a fault was served, and need not wait.
    fn serve(&mut self, address: u64) -> Result<bool, Box<dyn Error>> {
        let len = self.zeroes.len() as u64;
        let offset = handshake::offset(&self.regions, address).ok_or("a fault in no region")?;
        let from = match self.removed.contains(&address) {
            true => self.zeroes.as_ptr().addr() as u64,
            false => self.source.wrapping_add(offset),
        };
        let Err((_, error)) = handshake::copy(&self.uffd, address, from, len) else {
            self.removed.remove(&address);
            return Ok(true);
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(false),
            Some(libc::EEXIST) => {
                handshake::wake(&self.uffd, address, len);
                Ok(true)
            }
            // The machine goes.
            Some(libc::ESRCH) => Ok(true),
            _ => Err(error.into()),
        }
    }
}
