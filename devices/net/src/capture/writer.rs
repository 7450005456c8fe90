//! The writer's half of a capture: takes records out of the lanes' rings, oldest first, and makes
//! blocks of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use device_core::counters::Counter;
use device_core::kick::borrow;
use device_core::word_ring;
use device_core::worker::{Again, EventSet, Interest, Worker};
use vmm_sys_util::eventfd::EventFd;

use super::pcapng;
use super::record::Seen;
use crate::control::capture::{CaptureEnd, CaptureSpec, CaptureState};
use crate::event::NicEvent;
use crate::link::Outlook;

/// Records per turn.
const BUDGET: usize = 4096;
/// Between two looks at rings of which none is a quarter full.
const PAUSE: Duration = Duration::from_millis(50);
const WAKE: u16 = 0;

/// How far a capture is; counted by the writer, read by anyone.
pub struct Progress {
    frames: Counter,
    bytes: Counter,
    overwritten: Counter,
    /// Of each tee.
    dropped: Vec<Arc<Counter>>,
    ended: OnceLock<CaptureEnd>,
}

impl Progress {
    /// Nothing written; `dropped` are the counts of the tees.
    pub fn new(dropped: Vec<Arc<Counter>>) -> Progress {
        Progress {
            frames: Counter::default(),
            bytes: Counter::default(),
            overwritten: Counter::default(),
            dropped,
            ended: OnceLock::new(),
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, one| sum.wrapping_add(one.get()))
    }

    /// As it is told; `spec` is what was asked for.
    pub fn state(&self, spec: CaptureSpec) -> CaptureState {
        CaptureState {
            spec,
            ended: self.ended.get().cloned(),
            frames: self.frames.get().wrapping_sub(self.overwritten.get()),
            bytes: self.bytes.get(),
            dropped: self.dropped(),
            overwritten: self.overwritten.get(),
        }
    }
}

/// A capture at work.
pub struct Writer {
    file: File,
    header: Vec<u8>,
    spec: CaptureSpec,
    sources: Vec<(u16, word_ring::Source)>,
    wake: Arc<EventFd>,
    progress: Arc<Progress>,
    ends_at: Instant,
    outlook: Option<Arc<Outlook>>,
    /// Blocks not yet written; in ring mode all that are kept, oldest first.
    blocks: VecDeque<u8>,
    /// Bytes that the file has, or will have, without its end.
    bytes: u64,
    record: Vec<u64>,
    block: Vec<u8>,
}

impl Writer {
    /// The header is in the file already, but for ring mode.
    pub fn new(
        file: File,
        header: Vec<u8>,
        spec: CaptureSpec,
        sources: Vec<(u16, word_ring::Source)>,
        wake: Arc<EventFd>,
        progress: Arc<Progress>,
        ends_at: Instant,
    ) -> Writer {
        let bytes = header.len() as u64;
        progress.bytes.add(bytes);
        Writer {
            file,
            header,
            spec,
            sources,
            wake,
            progress,
            ends_at,
            outlook: None,
            blocks: VecDeque::new(),
            bytes,
            record: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Tells of an end that nobody asked for.
    pub fn telling(mut self, outlook: Arc<Outlook>) -> Writer {
        self.outlook = Some(outlook);
        self
    }

    /// Last words on the writer's own thread.
    pub fn farewell(&mut self, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(borrow(&self.wake)) {
            tracing::error!("cannot stop watching a capture's rings: {error}");
        }
    }

    /// Writes what the rings still have, and the end; once.
    pub fn finish(&mut self, end: CaptureEnd) {
        if self.progress.ended.get().is_some() {
            return;
        }
        let end = match self.take(usize::MAX) {
            Some(_) => end,
            None => CaptureEnd::Full,
        };
        self.end(end);
    }

    /// Makes blocks of up to `most` records; how many there were, `None` if the file is full.
    fn take(&mut self, most: usize) -> Option<usize> {
        for count in 0..most {
            let stamps = self.sources.iter_mut().enumerate().filter_map(|(at, (_, source))| {
                Some((source.peek()?, at)) // the first word of a record is its stamp
            });
            let Some((_, oldest)) = stamps.min() else { return Some(count) };
            let Some((queue, source)) = self.sources.get_mut(oldest) else { return Some(count) };
            source.pop(&mut self.record);
            let Some((seen, bytes)) = Seen::decode(&self.record) else { continue };
            self.block.clear();
            pcapng::packet(&mut self.block, *queue, &seen, bytes);
            if !self.make_room() {
                return None;
            }
            self.blocks.extend(&self.block);
            self.bytes = self.bytes.saturating_add(self.block.len() as u64);
            self.progress.bytes.add(self.block.len() as u64);
            self.progress.frames.add(1);
        }
        Some(most)
    }

    /// Makes room for the block and the file's end; false if there is none to be had.
    fn make_room(&mut self) -> bool {
        let needed = (self.block.len() as u64).saturating_add(pcapng::STATISTICS_LEN);
        while self.bytes.saturating_add(needed) > self.spec.max_bytes {
            if !self.spec.ring || !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn forget_oldest(&mut self) -> bool {
        let mut len = [0; 4];
        len.iter_mut().zip(self.blocks.iter().skip(4)).for_each(|(to, from)| *to = *from);
        let len = (u32::from_ne_bytes(len) as usize).min(self.blocks.len());
        if len == 0 {
            return false;
        }
        self.blocks.drain(..len);
        self.bytes = self.bytes.saturating_sub(len as u64);
        self.progress.bytes.add((len as u64).wrapping_neg());
        self.progress.overwritten.add(1);
        true
    }

    /// Writes the blocks that wait.
    fn flush(&mut self) -> io::Result<()> {
        let (front, back) = self.blocks.as_slices();
        self.file.write_all(front)?;
        self.file.write_all(back)?;
        self.blocks.clear();
        Ok(())
    }

    fn end(&mut self, end: CaptureEnd) {
        // Lanes see it and copy no more.
        self.sources.clear();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let (written, dropped) = (self.progress.frames.get(), self.progress.dropped());
        self.block.clear();
        pcapng::statistics(&mut self.block, stamp, written.wrapping_add(dropped), dropped);
        let header = if self.spec.ring { std::mem::take(&mut self.header) } else { Vec::new() };
        let written = self
            .file
            .write_all(&header)
            .and_then(|()| self.flush())
            .and_then(|()| self.file.write_all(&self.block));
        self.blocks = VecDeque::new();
        let end = match written {
            Ok(()) => {
                self.progress.bytes.add(self.block.len() as u64);
                end
            }
            Err(error) => failed(&error),
        };
        if let CaptureEnd::Failed(why) = &end {
            tracing::warn!("a capture ends, as its file cannot be written: {why}");
        }
        let unasked = end != CaptureEnd::Stopped;
        // The first end is the one that counts.
        let _ = self.progress.ended.set(end);
        if let Some(outlook) = self.outlook.as_ref().filter(|_| unasked) {
            outlook.tell(NicEvent::CaptureEnded);
        }
    }
}

fn failed(error: &io::Error) -> CaptureEnd {
    CaptureEnd::Failed(error.to_string())
}

impl Worker for Writer {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(borrow(&self.wake), WAKE, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }

    fn ready(&mut self, _: u16, _: EventSet) {}

    fn run(&mut self, now: Instant, _: &mut Interest<'_>) -> Again {
        if self.progress.ended.get().is_some() {
            return Again::WhenReady;
        }
        let taken = self.take(BUDGET);
        let flushed = if self.spec.ring { Ok(()) } else { self.flush() };
        match (flushed, taken) {
            (Err(error), _) => self.end(failed(&error)),
            (Ok(()), None) => self.end(CaptureEnd::Full),
            (Ok(()), Some(_)) if now >= self.ends_at => self.end(CaptureEnd::TimeUp),
            (Ok(()), Some(BUDGET)) => return Again::Now,
            (Ok(()), Some(_)) => {
                let next = now.checked_add(PAUSE).unwrap_or(now);
                return Again::At(next.min(self.ends_at));
            }
        }
        Again::WhenReady
    }
}
