//! A pager of our own: a thread that brings pages from the memory's file as they are touched, and writes down which
//! those were.
//!
//! It looks at nothing of the guest's by its address: it would wait for itself.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::SeekFrom;

use super::helper::{Bell, Helper};
use super::regions::Regions;
use super::uffd::{EVENT_REMOVE, MISSING_HUGETLBFS, Message, NotFilled, PAGEFAULT_FLAG_WP, Uffd};
use super::working_set::{self, Identity, Run};
use crate::end::{End, Ends};
use crate::memory::sparse::next_data;

/// Small pages that come with one that is touched: those of a block of so many.
const BLOCK: u64 = 16;
/// Blocks that are fetched ahead until it is looked whether somebody waits.
const TURN: usize = 4;
/// How long pages are written down, from the first that is touched.
const RECORDED: Duration = Duration::from_secs(5);

/// Why there is no such pager.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error("the host has no page faults for a pager of our own")]
    Uffd(#[source] io::Error),
    #[error("the memory's file cannot be mapped")]
    Map(#[source] io::Error),
    #[error("cannot start the pager")]
    Thread(#[source] io::Error),
}

/// What to write down, and where.
pub struct Record {
    /// That [`working_set::write`] writes to.
    pub file: File,
    /// Of the memory.
    pub memory: Identity,
}

/// What is asked of it.
pub struct Wish {
    /// Bytes of a page as the host backs memory.
    pub page_size: u64,
    /// What to fetch before it is touched, in this order.
    pub ahead: Vec<Run>,
    /// Whether to write down what is touched; then nothing comes before it is.
    pub record: Option<Record>,
}

/// Begins to serve the memory in `regions` from `file`. What is wrong with the file later is reported to `ends`. Fails if the host
/// has no such faults, or no thread left.
pub fn start(
    file: &File,
    regions: Regions,
    wish: Wish,
    ends: &Arc<Ends>,
) -> Result<Helper, OwnError> {
    let Wish { page_size, ahead, record } = wish;
    let huge = if page_size > working_set::PAGE { MISSING_HUGETLBFS } else { 0 };
    let protects = record.is_some();
    let features = EVENT_REMOVE | huge | if protects { PAGEFAULT_FLAG_WP } else { 0 };
    let uffd = Uffd::open(features).map_err(OwnError::Uffd)?;
    for region in regions.iter() {
        uffd.register(region.host, region.len, protects).map_err(OwnError::Uffd)?;
    }
    let source = Source::map(file, regions.bytes()).map_err(OwnError::Map)?;
    let pages = usize::try_from(regions.bytes() / page_size).unwrap_or(usize::MAX);
    let pager = Own {
        uffd,
        regions,
        source,
        page_size,
        states: vec![State::Missing; pages],
        ahead: runs_of(ahead, page_size),
        record: record.map(|record| Recording { record, begun: None, used: Vec::new() }),
        ends: ends.clone(),
    };
    Helper::start(move |bell| pager.run(&bell)).map_err(OwnError::Thread)
}

/// The file, to copy from.
struct Source {
    file: File,
    start: u64,
    len: usize,
}

impl Source {
    fn map(file: &File, bytes: u64) -> io::Result<Source> {
        let file = file.try_clone()?;
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let (null, fd) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping, at a place that the kernel chooses; nothing but the kernel reads it.
        let start = unsafe { libc::mmap(null, len, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        match start == libc::MAP_FAILED {
            true => Err(io::Error::last_os_error()),
            false => Ok(Source { file, start: start.addr() as u64, len }),
        }
    }

    /// How many of the `len` bytes at `offset` are alike: of a hole, or not. Whether they are.
    fn alike(&self, offset: u64, len: u64) -> (u64, bool) {
        let end = offset.saturating_add(len);
        let (found, is_hole) = match next_data(&self.file, offset, end) {
            Some((begin, _)) if begin > offset => (begin, true),
            Some((_, end)) => (end, false),
            None if self.reaches(end) => (end, true),
            // It was cut off: that is found out by who copies.
            None => (offset, false),
        };
        // A page that is a hole in part is none.
        let page = working_set::PAGE;
        let whole = if is_hole { found & !(page - 1) } else { found.next_multiple_of(page) };
        match whole > offset {
            true => (whole.min(end) - offset, is_hole),
            false => (page.min(len), false),
        }
    }

    /// Whether the file has so many bytes still.
    fn reaches(&self, end: u64) -> bool {
        rustix::fs::seek(&self.file, SeekFrom::End(0)).is_ok_and(|len| len >= end)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: the mapping from above, whose address nobody has any more.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(self.start as usize), self.len) };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    There,
    /// Given back: it reads as zero, whatever the file has.
    Removed,
}

struct Recording {
    record: Record,
    begun: Option<Instant>,
    /// In the order of their first use; each once, or once more when it is written to later.
    used: Vec<(u32, bool)>,
}

struct Own {
    uffd: Uffd,
    regions: Regions,
    source: Source,
    page_size: u64,
    /// By the page's number in the file.
    states: Vec<State>,
    /// Pages in the reverse of the order in which they are to be fetched: first and number.
    ahead: Vec<(usize, usize)>,
    record: Option<Recording>,
    ends: Arc<Ends>,
}

/// Runs of a record, as pages of this size, last first.
fn runs_of(runs: Vec<Run>, page_size: u64) -> Vec<(usize, usize)> {
    let small = usize::try_from(page_size / working_set::PAGE).unwrap_or(1).max(1);
    let whole = |run: &Run| {
        let (first, pages) = (run.first as usize, run.pages as usize);
        let (begin, end) = (first / small, first.saturating_add(pages).div_ceil(small));
        (begin, end.saturating_sub(begin))
    };
    runs.iter().rev().map(whole).collect()
}

/// What is to be done before anything else.
enum Pause {
    /// Messages are to be read.
    Read,
    /// It cannot go on.
    Failed(io::Error),
}

impl Own {
    fn run(mut self, bell: &Bell) {
        let (mut messages, mut faults) = (Vec::new(), Vec::new());
        loop {
            if bell.heed() {
                break;
            }
            if let Err(error) = self.turn(&mut messages, &mut faults) {
                self.give_up(error);
                break;
            }
            self.end_record_in_time();
            if !faults.is_empty() || !self.ahead.is_empty() {
                continue;
            }
            let limit = self.record.as_ref().map(|_| Duration::from_millis(100));
            if let Err(error) = bell.wait(Some(self.uffd.as_raw_fd()), limit) {
                self.give_up(error);
                break;
            }
        }
        self.end_record();
        // Who still waits for a page is to wait: without the descriptor it would read zeroes.
        bell.rest();
    }

    fn give_up(&self, error: io::Error) {
        let what = match error.raw_os_error() {
            // By which the kernel says that a copy's source is not there.
            Some(libc::EFAULT) => "the memory's file was cut off or cannot be read".to_string(),
            _ => error.to_string(),
        };
        self.ends.report(End::Pages { why: what });
    }

    /// Reads what there is to read, and serves it, or fetches a little ahead. Fails if it cannot go on.
    fn turn(&mut self, messages: &mut Vec<Message>, faults: &mut Vec<Message>) -> io::Result<()> {
        self.uffd.read(messages)?;
        for message in messages.drain(..) {
            match message {
                // Nobody goes on who gave it back until this was read, and no page is put there meanwhile.
                Message::Removed { start, end } => self.remove(start, end),
                fault => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return match self.fetch_ahead() {
                Err(Pause::Failed(error)) => Err(error),
                Ok(()) | Err(Pause::Read) => Ok(()),
            };
        }
        let mut served = 0usize;
        for fault in faults.iter() {
            match self.serve(*fault) {
                Ok(()) => served = served.saturating_add(1),
                Err(Pause::Read) => break,
                Err(Pause::Failed(error)) => return Err(error),
            }
        }
        faults.drain(..served.min(faults.len()));
        Ok(())
    }

    fn remove(&mut self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            if let Some(page) = self.page_at(at)
                && let Some(state) = self.states.get_mut(page)
            {
                *state = State::Removed;
            }
            at = at.saturating_add(self.page_size);
        }
    }

    fn page_at(&self, address: u64) -> Option<usize> {
        let offset = self.regions.offset_of(address)?;
        usize::try_from(offset / self.page_size).ok()
    }

    fn serve(&mut self, fault: Message) -> Result<(), Pause> {
        let (address, writes) = match fault {
            Message::Missing { address, writes } => (address, writes),
            Message::Protected { address } => {
                self.note(address, true);
                let start = address & !(self.page_size - 1);
                return self.uffd.open_for_writes(start, self.page_size).or_else(gone_or_failed);
            }
            Message::Removed { .. } => return Ok(()),
        };
        let Some(page) = self.page_at(address) else { return Ok(()) };
        let is_missing = self.states.get(page) == Some(&State::Missing);
        self.note(address, writes);
        let (first, count) = match self.record {
            // One by one, so that each is seen; and what is given back comes back alone.
            None if is_missing && self.page_size == working_set::PAGE => {
                let block = BLOCK as usize;
                (page - page % block, block)
            }
            _ => (page, 1),
        };
        self.fill(page, 1, writes)?;
        match count {
            1 => Ok(()),
            _ => self.fill(first, count, false),
        }
    }

    fn note(&mut self, address: u64, writes: bool) {
        let page = self.regions.offset_of(address).map(|offset| offset / working_set::PAGE);
        let (Some(recording), Some(page)) = (&mut self.record, page) else { return };
        recording.begun.get_or_insert_with(Instant::now);
        if let Ok(page) = u32::try_from(page) {
            recording.used.push((page, writes));
        }
    }

    fn fetch_ahead(&mut self) -> Result<(), Pause> {
        let mut left = TURN * BLOCK as usize;
        while left > 0
            && let Some((first, count)) = self.ahead.pop()
        {
            let now = count.min(left);
            if count > now {
                self.ahead.push((first.saturating_add(now), count.saturating_sub(now)));
            }
            if let Err(pause) = self.fill(first, now, false) {
                self.ahead.push((first, now));
                return Err(pause);
            }
            left = left.saturating_sub(now);
        }
        Ok(())
    }

    /// Brings what is missing of `count` pages. `writes` says that the first is to be written to.
    fn fill(&mut self, first: usize, count: usize, writes: bool) -> Result<(), Pause> {
        let end = first.saturating_add(count).min(self.states.len());
        let mut at = first;
        while at < end {
            let state = self.states.get(at).copied().unwrap_or(State::There);
            let alike = |page: &usize| self.states.get(*page) == Some(&state);
            let run = (at..end).take_while(alike).count().max(1);
            let done = match state {
                State::There => {
                    // Somebody waits for what came meanwhile.
                    if count == 1 {
                        self.wake(at);
                    }
                    run
                }
                State::Missing => self.bring(at, run, writes)?,
                // What others gave back comes when it is touched, and not before.
                State::Removed if count > 1 => run,
                State::Removed => self.bring_zeroes(at)?,
            };
            at = at.saturating_add(done);
        }
        Ok(())
    }

    fn wake(&self, page: usize) {
        let offset = (page as u64).wrapping_mul(self.page_size);
        if let Some((host, _)) = self.regions.host_of(offset) {
            self.uffd.wake(host, self.page_size);
        }
    }

    /// Brings pages that are missing from the file; how many came, or were there.
    fn bring(&mut self, page: usize, count: usize, writes: bool) -> Result<usize, Pause> {
        let offset = (page as u64).wrapping_mul(self.page_size);
        let Some((host, behind)) = self.regions.host_of(offset) else { return Ok(count) };
        let len = (count as u64).wrapping_mul(self.page_size).min(behind);
        let is_small = self.page_size == working_set::PAGE;
        let (len, is_hole) = if is_small { self.source.alike(offset, len) } else { (len, false) };
        // What is read first is told once more when it is written to.
        let protects = self.record.is_some() && !writes;
        let filled = match is_hole && !protects {
            true => self.uffd.zero(host, len),
            false => {
                let from = self.source.start.wrapping_add(offset);
                self.uffd.copy(host, from, len, protects)
            }
        };
        let bytes = match filled {
            Ok(bytes) => bytes,
            Err(NotFilled::Busy) => return Err(Pause::Read),
            Err(NotFilled::Failed(error)) => return Err(Pause::Failed(error)),
            Err(NotFilled::There | NotFilled::Gone) => {
                self.uffd.wake(host, self.page_size);
                self.page_size
            }
        };
        let pages = usize::try_from(bytes / self.page_size).unwrap_or(count).max(1);
        self.states.iter_mut().skip(page).take(pages).for_each(|state| *state = State::There);
        Ok(pages)
    }

    /// Brings a page that was given back.
    fn bring_zeroes(&mut self, page: usize) -> Result<usize, Pause> {
        let offset = (page as u64).wrapping_mul(self.page_size);
        let Some((host, _)) = self.regions.host_of(offset) else { return Ok(1) };
        let filled = match self.page_size {
            working_set::PAGE => self.uffd.zero(host, self.page_size),
            // Of huge ones there are none that are zero by themselves.
            _ => {
                let zeroes = vec![0u8; usize::try_from(self.page_size).unwrap_or(0)];
                self.uffd.copy(host, zeroes.as_ptr().addr() as u64, self.page_size, false)
            }
        };
        match filled {
            Err(NotFilled::Busy) => return Err(Pause::Read),
            Err(NotFilled::Failed(error)) => return Err(Pause::Failed(error)),
            Err(NotFilled::There | NotFilled::Gone) => self.uffd.wake(host, self.page_size),
            Ok(_) => {}
        }
        if let Some(state) = self.states.get_mut(page) {
            *state = State::There;
        }
        Ok(1)
    }

    fn end_record_in_time(&mut self) {
        let begun = self.record.as_ref().and_then(|recording| recording.begun);
        if begun.is_some_and(|begun| begun.elapsed() >= RECORDED) {
            self.end_record();
        }
    }

    fn end_record(&mut self) {
        let Some(Recording { record, used, .. }) = self.record.take() else { return };
        for region in self.regions.iter() {
            // Where it fails writes are told one by one, as before.
            let _ = self.uffd.open_for_writes(region.host, region.len);
        }
        let runs = working_set::runs(in_order(used));
        match working_set::write(&record.file, record.memory, &runs) {
            Ok(()) => tracing::info!("{} runs of pages were used and written down", runs.len()),
            Err(error) => tracing::warn!("the record of used pages is not written: {error}"),
        }
    }
}

/// Each page once, where it was used first, and as written if it ever was.
fn in_order(used: Vec<(u32, bool)>) -> Vec<(u32, bool)> {
    use std::collections::BTreeMap;

    let mut written: BTreeMap<u32, bool> = BTreeMap::new();
    for (page, writes) in &used {
        *written.entry(*page).or_default() |= writes;
    }
    used.into_iter().filter_map(|(page, _)| Some((page, written.remove(&page)?))).collect()
}

fn gone_or_failed(error: io::Error) -> Result<(), Pause> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Err(Pause::Read),
        Some(libc::ENOENT | libc::ESRCH) => Ok(()),
        _ => Err(Pause::Failed(error)),
    }
}

#[cfg(test)]
#[path = "own_test.rs"]
mod tests;
