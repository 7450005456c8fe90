//! A pager for tests of restored machines, in the shape of those that are in use: it listens, takes regions and a
//! `userfaultfd` by Firecracker's handshake, and brings pages from a file, or zeroes where they were given back.
//!
//! `pager SOCKET FILE [die|stall|close] [N]` dies or stops to serve behind N faults, or closes the connection and ends once it
//! has the descriptor. When the machine goes it says how many faults it served and how many pages were given back.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use serde::Deserialize;

/// linux/userfaultfd.h.
const WAKE: u64 = 0x8010_aa02;
const COPY: u64 = 0xc028_aa03;
const PAGEFAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;
/// More than any message has.
const MOST: usize = 64 << 10;

/// What handlers read of a region.
#[derive(Debug, Deserialize)]
struct Region {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    page_size_kib: u64,
}

#[repr(C)]
struct CopyCall {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    done: i64,
}

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
    let (text, uffd) = receive(&stream)?;
    let regions: Vec<Region> = serde_json::from_slice(&text)?;
    if how == "close" {
        return Ok(());
    }
    let source = map(&File::open(path)?)?;
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

/// The message, and the descriptor that comes with it.
fn receive(stream: &UnixStream) -> Result<(Vec<u8>, OwnedFd), Box<dyn Error>> {
    let mut text = vec![0u8; MOST];
    let mut control = [0u64; 8];
    let mut piece = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: all zeroes are a message.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message has the two buffers from above.
    let got =
        unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    text.truncate(usize::try_from(got).map_err(|_| io::Error::last_os_error())?);
    // SAFETY: the kernel has filled it, with one descriptor of ours or nothing.
    let fd = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        let rights = first.as_ref().filter(|head| head.cmsg_type == libc::SCM_RIGHTS);
        rights.ok_or("there was no descriptor")?;
        OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned())
    };
    Ok((text, fd))
}

fn map(file: &File) -> Result<u64, Box<dyn Error>> {
    let len = usize::try_from(file.metadata()?.len())?;
    let (null, fd) = (std::ptr::null_mut(), file.as_raw_fd());
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { libc::mmap(null, len, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
    match start == libc::MAP_FAILED {
        true => Err(io::Error::last_os_error().into()),
        false => Ok(start.addr() as u64),
    }
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
        let mut message = [0u64; 4];
        loop {
            let len = size_of_val(&message);
            // SAFETY: it writes a whole message at most.
            let got =
                unsafe { libc::read(self.uffd.as_raw_fd(), message.as_mut_ptr().cast(), len) };
            if got <= 0 {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
            }
            let [event, first, second, _] = message;
            let page = self.zeroes.len() as u64;
            match event as u8 {
                PAGEFAULT => self.faults.push_back(second & !page.wrapping_sub(1)),
                REMOVE => {
                    for at in (first..second).step_by(self.zeroes.len()) {
                        self.removed.insert(at);
                        self.given_back = self.given_back.wrapping_add(1);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a fault was served, and need not wait.
    fn serve(&mut self, address: u64) -> Result<bool, Box<dyn Error>> {
        let len = self.zeroes.len() as u64;
        let home = self.regions.iter().find_map(|region| {
            let at = address.checked_sub(region.base_host_virt_addr)?;
            (at < region.size).then(|| region.offset.wrapping_add(at))
        });
        let offset = home.ok_or("a fault in no region")?;
        let from = match self.removed.contains(&address) {
            true => self.zeroes.as_ptr().addr() as u64,
            false => self.source.wrapping_add(offset),
        };
        let mut call = CopyCall { to: address, from, len, mode: 0, done: 0 };
        // SAFETY: the kernel checks all addresses.
        let done = unsafe { libc::ioctl(self.uffd.as_raw_fd(), COPY as _, &raw mut call) };
        if done == 0 {
            self.removed.remove(&address);
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(false),
            Some(libc::EEXIST) => {
                let mut range = [address, len];
                // SAFETY: as above.
                unsafe { libc::ioctl(self.uffd.as_raw_fd(), WAKE as _, range.as_mut_ptr()) };
                Ok(true)
            }
            // The machine goes.
            Some(libc::ESRCH) => Ok(true),
            _ => Err(error.into()),
        }
    }
}
