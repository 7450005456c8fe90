//! A pager for tests of restored machines, in the shape of those that serve fleets: one thread reads what has happened and copies
//! nothing, some copy what is waited for, and one runs ahead of them through all of the memory.
//!
//! `racing-pager SOCKET FILE [ahead=N] [lag=MS]` runs ahead once N faults are served, and not at all unless told, and reads
//! that late. Its standard input is a descriptor that it tells its readiness by: `l` when
//! it listens, `s` when it has the memory and serves. When the machine goes it says what it did.

#[path = "pagers/handshake.rs"]
mod handshake;

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, sleep};
use std::time::Duration;

use handshake::{Message, Region};

/// Threads that copy what is waited for.
const COPIERS: usize = 4;
/// Bytes that are copied at once by who runs ahead, or one page if that is more.
const EXTENT: u64 = 256 << 10;
const A_MOMENT: Duration = Duration::from_millis(1);

struct Pager {
    uffd: OwnedFd,
    regions: Vec<Region>,
    page: u64,
    /// Where the file is mapped.
    source: u64,
    zeroes: Vec<u8>,
    /// Pages that were given back: zero from then on. Who copies shares it and who reads messages has it alone, so that
    /// nothing is copied by what was so before a message.
    removed: RwLock<BTreeSet<u64>>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// A byte here has the reader look: something is put off.
    bell: [UnixStream; 2],
    counts: Counts,
}

#[derive(Default)]
struct Queue {
    faults: VecDeque<u64>,
    /// Those that wait until messages are read: the kernel does not tell them again.
    put_off: Vec<u64>,
    served: u64,
    is_over: bool,
}

#[derive(Default)]
struct Counts {
    /// Extents that were there ahead.
    ahead: AtomicU64,
    /// Copies that found a page there, went in part, and had to wait for messages to be read.
    there: AtomicU64,
    in_part: AtomicU64,
    again: AtomicU64,
    given_back: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, path, words @ ..] = arguments.as_slice() else {
        return Err("usage: racing-pager SOCKET FILE [ahead=N] [lag=MS]".into());
    };
    let (mut ahead, mut lag) = (u64::MAX, 0);
    for word in words {
        match word.split_once('=') {
            Some(("ahead", count)) => ahead = count.parse()?,
            Some(("lag", ms)) => lag = ms.parse()?,
            _ => return Err(format!("{word}?").into()),
        }
    }
    let mut readiness = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let listener = UnixListener::bind(socket)?;
    readiness.write_all(b"l")?;
    let (stream, _) = listener.accept()?;
    let (regions, uffd) = handshake::receive(&stream)?;
    let page = regions.first().ok_or("no regions")?.page_size_kib;
    let (far, near) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let pager = Pager {
        uffd,
        regions,
        page,
        source: handshake::map(&File::open(path)?)?,
        zeroes: vec![0; usize::try_from(page.max(EXTENT))?],
        removed: RwLock::default(),
        queue: Mutex::default(),
        changed: Condvar::new(),
        bell: [far, near],
        counts: Counts::default(),
    };
    readiness.write_all(b"s")?;
    thread::scope(|scope| {
        let copiers: Vec<_> = (0..COPIERS).map(|_| scope.spawn(|| pager.serve())).collect();
        let runner = scope.spawn(|| pager.run_ahead(ahead));
        let read = pager.read(&stream, Duration::from_millis(lag));
        pager.queue().is_over = true;
        pager.changed.notify_all();
        let ended = copiers.into_iter().chain([runner]).map(|thread| thread.join());
        let ended: Vec<_> =
            ended.map(|end| end.unwrap_or(Err(io::ErrorKind::Other.into()))).collect();
        ended.into_iter().fold(read, io::Result::and)
    })?;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let Counts { ahead, there, in_part, again, given_back } = &pager.counts;
    println!(
        "{} faults, {} ahead, {} there, {} in part, {} again, {} given back",
        pager.queue().served,
        count(ahead),
        count(there),
        count(in_part),
        count(again),
        count(given_back)
    );
    Ok(())
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Pager {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the machine is gone. Whoever gives memory back waits until that is read, so nothing else is done here.
    fn read(&self, stream: &UnixStream, lag: Duration) -> io::Result<()> {
        let of = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        loop {
            let fds = [self.uffd.as_raw_fd(), self.bell[1].as_raw_fd(), stream.as_raw_fd()];
            let mut fds = fds.map(of);
            // SAFETY: three valid entries.
            if unsafe { libc::poll(fds.as_mut_ptr(), 3, -1) } < 0 {
                return Err(io::Error::last_os_error());
            }
            if fds[2].revents != 0 {
                return Ok(());
            }
            // Nothing is there if it is not what rang.
            let _ = (&self.bell[1]).read(&mut [0; 64]);
            sleep(lag);
            let faults = self.take_messages()?;
            let mut queue = self.queue();
            let put_off = std::mem::take(&mut queue.put_off);
            queue.faults.extend(put_off.into_iter().chain(faults));
            self.changed.notify_all();
        }
    }

    /// Pages that are waited for.
    fn take_messages(&self) -> io::Result<Vec<u64>> {
        let mut removed = self.removed.write().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Vec::new();
        while let Some(message) = handshake::read(&self.uffd)? {
            match message {
                Message::Missing(address) => faults.push(address & !self.page.wrapping_sub(1)),
                Message::Removed(first, end) => {
                    for at in (first..end).step_by(self.page as usize) {
                        removed.insert(at);
                        add(&self.counts.given_back);
                    }
                }
            }
        }
        Ok(faults)
    }

    /// Copies what is waited for.
    fn serve(&self) -> io::Result<()> {
        while let Some(address) = self.next() {
            let put_off = self.bring(address, address.wrapping_add(self.page))?;
            let mut queue = self.queue();
            match put_off {
                None => queue.served = queue.served.wrapping_add(1),
                Some(at) => {
                    queue.put_off.push(at);
                    (&self.bell[0]).write_all(&[0])?;
                }
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The next that is waited for, as soon as there is one; nothing once the machine is gone.
    fn next(&self) -> Option<u64> {
        let waits = |queue: &mut Queue| queue.faults.is_empty() && !queue.is_over;
        let queue = self.changed.wait_while(self.queue(), waits);
        queue.unwrap_or_else(PoisonError::into_inner).faults.pop_front()
    }

    /// Copies all of the memory, once so many faults are served.
    fn run_ahead(&self, behind: u64) -> io::Result<()> {
        let waits = |queue: &mut Queue| queue.served < behind && !queue.is_over;
        let queue = self.changed.wait_while(self.queue(), waits);
        if queue.unwrap_or_else(PoisonError::into_inner).is_over {
            return Ok(());
        }
        let step = self.page.max(EXTENT);
        for region in &self.regions {
            let (from, end) =
                (region.base_host_virt_addr, region.base_host_virt_addr.wrapping_add(region.size));
            for begin in (from..end).step_by(step as usize) {
                let mut at = begin;
                while let Some(rest) = self.bring(at, begin.wrapping_add(step).min(end))? {
                    at = rest;
                    sleep(A_MOMENT);
                }
                if self.queue().is_over {
                    return Ok(());
                }
                add(&self.counts.ahead);
            }
        }
        Ok(())
    }

    /// Has all pages from `at` to `end` there. Returns from where on they are not, if messages have to be read first.
    fn bring(&self, mut at: u64, end: u64) -> io::Result<Option<u64>> {
        while at < end {
            let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
            let is_zero = removed.contains(&at);
            let mut to = at.wrapping_add(self.page);
            while to < end && removed.contains(&to) == is_zero {
                to = to.wrapping_add(self.page);
            }
            let offset = handshake::offset(&self.regions, at).ok_or(io::ErrorKind::NotFound)?;
            let from = match is_zero {
                true => self.zeroes.as_ptr().addr() as u64,
                false => self.source.wrapping_add(offset),
            };
            let copied = handshake::copy(&self.uffd, at, from, to.wrapping_sub(at));
            drop(removed);
            let Err((done, error)) = copied else {
                at = to;
                continue;
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) if done > 0 => {
                    add(&self.counts.in_part);
                    at = at.wrapping_add(done);
                }
                Some(libc::EAGAIN) => {
                    add(&self.counts.again);
                    return Ok(Some(at));
                }
                Some(libc::EEXIST) => {
                    add(&self.counts.there);
                    handshake::wake(&self.uffd, at, self.page);
                    at = at.wrapping_add(self.page);
                }
                // The machine goes.
                Some(libc::ESRCH | libc::ENOENT) => return Ok(None),
                _ => return Err(error),
            }
        }
        Ok(None)
    }
}
