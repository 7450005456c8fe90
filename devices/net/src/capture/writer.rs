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
    /// Bytes that the file has: nothing but whole blocks.
    whole: u64,
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
            whole: if spec.ring { 0 } else { bytes },
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
        let len = self.block_at(0);
        if len == 0 {
            return false;
        }
        self.blocks.drain(..len);
        self.bytes = self.bytes.saturating_sub(len as u64);
        self.progress.bytes.add((len as u64).wrapping_neg());
        self.progress.overwritten.add(1);
        true
    }

    /// Bytes of the block that waits at this place; 0 if there is none.
    fn block_at(&self, place: usize) -> usize {
        let len = self.word_at(place.saturating_add(4)) as usize;
        len.min(self.blocks.len().saturating_sub(place))
    }

    fn word_at(&self, place: usize) -> u32 {
        let mut word = [0; 4];
        word.iter_mut().zip(self.blocks.iter().skip(place)).for_each(|(to, from)| *to = *from);
        u32::from_ne_bytes(word)
    }

    /// Writes the blocks that wait; if that fails, those that are whole in the file by then stay there.
    fn flush(&mut self) -> io::Result<()> {
        let (front, back) = self.blocks.as_slices();
        let mut written = 0;
        let done = write_all(&mut self.file, front, &mut written)
            .and_then(|()| write_all(&mut self.file, back, &mut written));
        match done {
            Ok(()) => self.whole = self.whole.saturating_add(written as u64),
            Err(_) => self.count_lost(written),
        }
        self.blocks.clear();
        done
    }

    /// Takes what is not among the first `written` bytes of the blocks out of the counts.
    fn count_lost(&mut self, written: usize) {
        let mut at = 0;
        while at < self.blocks.len() {
            let len = self.block_at(at).max(1);
            if at.saturating_add(len) > written {
                let frames = u64::from(self.word_at(at) == pcapng::PACKET);
                self.progress.frames.add(frames.wrapping_neg());
                self.progress.bytes.add((len as u64).wrapping_neg());
            } else {
                self.whole = self.whole.saturating_add(len as u64);
            }
            at = at.saturating_add(len);
        }
    }

    /// Writes all that is left of a good file.
    fn complete(&mut self) -> io::Result<()> {
        if self.spec.ring {
            std::mem::take(&mut self.header)
                .into_iter()
                .rev()
                .for_each(|b| self.blocks.push_front(b));
        }
        self.flush()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let (written, dropped) = (self.progress.frames.get(), self.progress.dropped());
        self.block.clear();
        pcapng::statistics(&mut self.block, stamp, written.wrapping_add(dropped), dropped);
        self.file.write_all(&self.block)?;
        self.progress.bytes.add(self.block.len() as u64);
        Ok(())
    }

    fn end(&mut self, end: CaptureEnd) {
        // Lanes see it and copy no more.
        self.sources.clear();
        let end = match end {
            CaptureEnd::Failed(_) => end,
            good => self.complete().map_or_else(|error| failed(&error), |()| good),
        };
        self.blocks = VecDeque::new();
        if let CaptureEnd::Failed(why) = &end {
            tracing::warn!("a capture ends, as its file cannot be written: {why}");
            // Readers stumble over a block that was cut short. A pipe has no length to be set.
            let _ = self.file.set_len(self.whole);
        }
        let unasked = end != CaptureEnd::Stopped;
        // The first end is the one that counts.
        let _ = self.progress.ended.set(end);
        if let Some(outlook) = self.outlook.as_ref().filter(|_| unasked) {
            outlook.tell(NicEvent::CaptureEnded);
        }
    }
}

/// Writes all of `bytes`, and adds to `written` what there was room for.
fn write_all(file: &mut File, mut bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(some) => {
                *written = written.saturating_add(some);
                bytes = bytes.get(some..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
