//! The broker's process: one question after another, until nobody asks any more.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use device_core::stream::Stream;
use devices::net::backend::tap;
use libc::{SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_LOG};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
};

use super::super::row::Kind;
use super::super::{Mode, filter, install, landlock};
use super::places::{Found, Identity, NotFound, Places, identity};
use super::words::{Answer, Ask, Facts, MOST_FILES, TUN};
use crate::migration::address::{Address, Reach};
use crate::words::one_line;

/// All that files may be opened with.
const FLAGS: OFlags = OFlags::from_bits_retain(
    (libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_DIRECT
        | libc::O_NOCTTY
        | libc::O_NONBLOCK
        | libc::O_CLOEXEC
        | libc::O_PATH) as u32,
);

/// Files that were made, and may be removed or get another name: those of a snapshot, and a capture of each card that
/// anybody would start at once.
const MOST_MADE: usize = 8;

/// Serves until the other ends of `sockets` are closed.
pub fn serve(sockets: [OwnedFd; 2], mode: Mode) -> ! {
    forget_all_but(&sockets);
    let mut broker = Broker {
        places: Places::default(),
        mode,
        sealed: false,
        made: VecDeque::new(),
        vsock: None,
        reach: Vec::new(),
    };
    let mut bytes = [0; Ask::MOST];
    while let Some(socket) = await_any(&sockets) {
        let Some(len) = hear(socket.as_fd(), &mut bytes) else { break };
        let outcome = match bytes.get(..len).and_then(Ask::of) {
            Some(ask) => broker.answer(ask),
            None => Err(Errno::INVAL.into()),
        };
        if say(socket.as_fd(), outcome).is_err() {
            break;
        }
    }
    // SAFETY: ends the process; what its parent wants done at its end is the parent's.
    unsafe { libc::_exit(0) }
}

/// Nothing that the parent has open, and nothing that it does at signals: those that end a process end this one, but
/// for those of a terminal, which are the parent's to heed.
fn forget_all_but(sockets: &[OwnedFd; 2]) {
    let [one, other] = sockets.each_ref().map(|socket| socket.as_raw_fd().unsigned_abs());
    let (low, high) = (one.min(other), one.max(other));
    // SAFETY: nothing here uses what is closed, and no handler is installed.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, low.saturating_sub(1), 0);
        if high.saturating_sub(low) > 1 {
            libc::syscall(libc::SYS_close_range, low + 1, high - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, high.saturating_add(1), u32::MAX, 0);
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGTSTP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::prctl(libc::PR_SET_NAME, c"broker".as_ptr());
    }
}

/// Waits for one that has a question, or will have none any more.
fn await_any(sockets: &[OwnedFd; 2]) -> Option<&OwnedFd> {
    let mut polls = sockets.each_ref().map(|socket| PollFd::new(socket, PollFlags::IN));
    loop {
        match poll(&mut polls, None) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    let asked = polls.iter().position(|poll| !poll.revents().is_empty())?;
    sockets.get(asked)
}

/// Waits for a question; `None` when there will be none.
fn hear(socket: BorrowedFd<'_>, into: &mut [u8]) -> Option<usize> {
    loop {
        let mut no_files = RecvAncillaryBuffer::default();
        let mut bytes = [IoSliceMut::new(into)];
        match recvmsg(socket, &mut bytes, &mut no_files, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            got => return got.ok().map(|got| got.bytes).filter(|len| *len > 0),
        }
    }
}

fn say(socket: BorrowedFd<'_>, outcome: Result<Opened, Refusal>) -> Result<(), Errno> {
    let (answer, Opened { files, .. }) = match outcome {
        Ok(opened) => (Answer::Done(opened.number), opened),
        Err(Refusal::Place(NotFound::Host(errno))) => {
            (Answer::Refused(errno.raw_os_error()), Opened::default())
        }
        Err(Refusal::Place(NotFound::Outside)) => (Answer::Outside, Opened::default()),
        Err(Refusal::Said(why)) => (Answer::Said(why), Opened::default()),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(socket, &[IoSlice::new(&answer.bytes())], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// What was opened, and a number about it.
#[derive(Default)]
struct Opened {
    files: Vec<OwnedFd>,
    number: u32,
}

/// Why something was not done.
enum Refusal {
    Place(NotFound),
    Said(String),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal::Place(errno.into())
    }
}

impl From<NotFound> for Refusal {
    fn from(why: NotFound) -> Refusal {
        Refusal::Place(why)
    }
}

struct Broker {
    places: Places,
    mode: Mode,
    sealed: bool,
    /// What was made last, the latest behind.
    made: VecDeque<Made>,
    /// Beside what sockets are that the guest is connected with.
    vsock: Option<PathBuf>,
    /// Where the machine may go by TCP.
    reach: Vec<Reach>,
}

/// A file that was made here.
struct Made {
    at: Found,
    file: Identity,
}

impl Broker {
    fn answer(&mut self, ask: Ask<'_>) -> Result<Opened, Refusal> {
        match ask {
            Ask::Allow(path) if !self.sealed => self.places.add(path)?,
            Ask::Seal if !self.sealed => self.seal()?,
            Ask::Open(path, flags) if self.sealed => {
                let file = self.open(path, OFlags::from_bits_retain(flags as u32))?;
                return Ok(Opened { files: vec![file], number: 0 });
            }
            Ask::Remove(path) if self.sealed => self.take_made(path)?.at.remove()?,
            Ask::Publish(new, place) if self.sealed => self.publish(new, place)?,
            Ask::Retire(path) if self.sealed => self.retire(path)?,
            Ask::Vsock(path) if !self.sealed => self.vsock = Some(path.to_path_buf()),
            Ask::Dial(port) if self.sealed => {
                return Ok(Opened { files: vec![self.dial(port)?], number: 0 });
            }
            Ask::Reach(place) if !self.sealed => self.reach.push(written(place)?),
            Ask::Connect(to) if self.sealed => {
                return Ok(Opened { files: vec![self.connect(&written(to)?)?], number: 0 });
            }
            Ask::Tap(name, queues, mtu) if self.sealed => return self.tap(name, queues, mtu),
            _ => return Err(Errno::PERM.into()),
        }
        Ok(Opened::default())
    }

    /// Shuts the process in to its places.
    fn seal(&mut self) -> Result<(), Errno> {
        let host = |error: std::io::Error| {
            error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
        };
        if let Ok(abi) = landlock::version() {
            use landlock::{
                IOCTL_DEV, MAKE_REG, READ_DIR, READ_FILE, REMOVE_FILE, TRUNCATE, WRITE_FILE,
            };
            let mut rules = landlock::Rules::new(abi).map_err(host)?;
            for (place, is_folder) in self.places.iter() {
                let mut rights = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV;
                if is_folder {
                    rights |= MAKE_REG | REMOVE_FILE | READ_DIR;
                }
                rules.grant(place.as_fd(), rights).map_err(host)?;
            }
            for place in &self.reach {
                rules.grant_connect(place.port).map_err(host)?;
            }
            rules.restrict().map_err(host)?;
        }
        self.sealed = true;
        let refusal = match self.mode {
            // Nobody is here who could say more.
            Mode::Kill => SECCOMP_RET_KILL_PROCESS,
            Mode::Log => SECCOMP_RET_LOG,
            Mode::Off => return Ok(()),
        };
        let mut program = filter::of_build(Kind::Broker, std::process::id(), refusal);
        install::filter(&mut program, true).map_err(host)
    }

    /// Opens what is at `path`: files and block devices, and of others only a handle that nothing can be read by.
    fn open(&mut self, path: &Path, flags: OFlags) -> Result<OwnedFd, NotFound> {
        if !FLAGS.contains(flags) {
            return Err(NotFound::Host(Errno::INVAL));
        }
        let found = self.places.find(path)?;
        if flags.contains(OFlags::CREATE) {
            if !flags.contains(OFlags::EXCL) {
                return Err(NotFound::Host(Errno::INVAL));
            }
            let file = found.open(flags)?;
            if self.made.len() >= MOST_MADE {
                self.made.pop_front();
            }
            self.made.push_back(Made { file: identity(&file)?, at: found });
            return Ok(file);
        }
        let handle = found.open(OFlags::PATH)?;
        if flags.contains(OFlags::PATH) {
            return Ok(handle);
        }
        // Opening a tape or a terminal can do something, and a pipe can wait.
        is_storage(&handle)?;
        let file = found.open(flags | OFlags::NOCTTY)?;
        is_storage(&file)?;
        Ok(file)
    }

    /// Connects to the socket whose name is the vsock's own with a number behind it, and that is no link.
    fn dial(&self, port: u32) -> Result<OwnedFd, Errno> {
        let mut path = self.vsock.clone().ok_or(Errno::PERM)?.into_os_string();
        path.push(format!("_{port}"));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there =
            openat2(CWD, &path, flags, rustix::fs::Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        if FileType::from_raw_mode(fstat(&there)?.st_mode) != FileType::Socket {
            return Err(Errno::INVAL);
        }
        let stream = Stream::connect(Path::new(&path));
        let refused = |error: std::io::Error| {
            error.raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
        };
        stream.map(OwnedFd::from).map_err(refused)
    }

    /// Connects to who waits for the machine: to a socket in one of the places, or to an address that was given.
    fn connect(&self, to: &Address) -> Result<OwnedFd, Refusal> {
        let path = match to {
            Address::Unix(path) => path,
            Address::Tcp(address) | Address::Tls(address)
                if self.reach.iter().any(|place| place.has(address)) =>
            {
                return Ok(begin_connection(address)?);
            }
            Address::Tcp(address) | Address::Tls(address) => {
                return Err(Refusal::Said(format!(
                    "it is not where the machine may go by TCP; start it with --allow-tcp {address}"
                )));
            }
        };
        let there = self.places.find(path)?.open(OFlags::PATH | OFlags::NOFOLLOW)?;
        if FileType::from_raw_mode(fstat(&there)?.st_mode) != FileType::Socket {
            return Err(Errno::NOTSOCK.into());
        }
        let refused = |error: std::io::Error| {
            error.raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
        };
        Ok(Stream::connect(path).map(OwnedFd::from).map_err(refused)?)
    }

    /// Opens queues of a TAP, if the device that makes them is one of the places.
    fn tap(&self, name: &Path, queues: u8, mtu: u16) -> Result<Opened, Refusal> {
        let device = self.places.find(Path::new(TUN))?;
        let open = || -> std::io::Result<File> {
            let file = device.open(OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)?;
            Ok(File::from(file))
        };
        let name = name.to_str().ok_or(Errno::INVAL)?;
        let mtu = Some(mtu).filter(|mtu| *mtu > 0);
        let attached = tap::attach_for_others(name, queues.into(), mtu, &open);
        let attached = attached.map_err(|error| Refusal::Said(one_line(None, &error)))?;
        let facts = Facts { mtu: attached.mtu, is_up: attached.is_up };
        let files = attached.queues.into_iter().map(OwnedFd::from).collect();
        Ok(Opened { files, number: facts.number() })
    }

    /// Takes what was made at `path` from the list, if it is still there.
    fn take_made(&mut self, path: &Path) -> Result<Made, NotFound> {
        let found = self.places.find(path)?;
        let is_it = |made: &Made| made.at.is_same_as(&found).is_ok_and(|same| same);
        let at = self.made.iter().position(is_it).ok_or(Errno::PERM)?;
        let made = self.made.remove(at).ok_or(Errno::PERM)?;
        match identity(&found.open(OFlags::PATH)?)? == made.file {
            true => Ok(made),
            false => Err(NotFound::Host(Errno::PERM)),
        }
    }

    fn publish(&mut self, new: &Path, place: &Path) -> Result<(), NotFound> {
        let place = self.places.find(place)?;
        may_go(&place)?;
        let made = self.take_made(new)?;
        if !made.at.is_beside(&place)? {
            return Err(NotFound::Host(Errno::XDEV));
        }
        made.at.replace(&place)?;
        Ok(place.sync_folder()?)
    }

    fn retire(&mut self, path: &Path) -> Result<(), NotFound> {
        let found = self.places.find(path)?;
        if may_go(&found)? {
            found.remove()?;
            found.sync_folder()?;
        }
        Ok(())
    }
}

/// What is written as a path.
fn written<T: FromStr>(text: &Path) -> Result<T, Errno> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or(Errno::INVAL)
}

/// A socket that is being connected, which takes as long as it takes.
fn begin_connection(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // The last words are short, and are waited for.
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Whether something is there. Fails if it is no file that could be emptied as well: who asks gets no more by its
/// removal than by writing to it.
fn may_go(place: &Found) -> Result<bool, Errno> {
    let handle = match place.open(OFlags::PATH) {
        Err(Errno::NOENT) => return Ok(false),
        handle => handle?,
    };
    if FileType::from_raw_mode(fstat(&handle)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    place.open(OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    Ok(true)
}

fn is_storage(file: &OwnedFd) -> Result<(), Errno> {
    match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => Ok(()),
        _ => Err(Errno::ACCESS),
    }
}
