//! Capture: a tee in each lane, and a writer that makes pcapng of what comes out.
//!
//! ```text
//! lane ── Tee::copy ──► word ring ──► Writer (thread `capture`) ──► pcapng
//! ```
//! A lane copies and goes on; what the ring has no room for is counted and missing in the file only.

mod pcapng;
mod record;
mod tee;
mod writer;

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::word_ring::word_ring;
use device_core::worker::{IoThread, Post};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::control::capture::{CaptureEnd, CaptureSpec, CaptureState};
use crate::link::Outlook;

pub use tee::Tee;
use writer::{Progress, Writer};

/// Words of all rings of a card together, 16 MiB, and least and most of one: the headers of a
/// million small frames a second fill the largest in some 15 ms.
const RING_WORDS: usize = 2 << 20;
const LEAST_WORDS: usize = 32 << 10;
const MOST_WORDS: usize = 256 << 10;

/// A capture of one card, running or ended.
pub struct Capture {
    spec: CaptureSpec,
    progress: Arc<Progress>,
    /// Until it is finished.
    writer: Option<Post<Writer>>,
}

/// What a capture is of.
pub struct Subject<'a> {
    /// The card's id.
    pub id: &'a str,
    /// The host's side of its cable, for people.
    pub backend: &'a str,
    /// Who is told when the capture ends by itself.
    pub outlook: &'a Arc<Outlook>,
}

impl Capture {
    /// Begins to write to `file`, for lanes `lanes` of a card; a tee for each of them. Fails if the file
    /// cannot be written, or the host has no eventfd left.
    pub fn begin(
        file: File,
        spec: CaptureSpec,
        lanes: &[u16],
        subject: &Subject<'_>,
        home: &IoThread,
    ) -> io::Result<(Capture, Vec<Tee>)> {
        let share = RING_WORDS.checked_div(lanes.len()).unwrap_or(RING_WORDS);
        let words = share.clamp(LEAST_WORDS, MOST_WORDS);
        let wake = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        let (mut tees, mut sources) = (Vec::new(), Vec::new());
        for lane in lanes {
            let (sink, source) = word_ring(words);
            let tee = Tee::new(sink, &spec, wake.clone(), words);
            sources.push((*lane, source));
            tees.push(tee);
        }
        let progress = Arc::new(Progress::new(tees.iter().map(Tee::dropped).collect()));
        let mut header = Vec::new();
        pcapng::section(&mut header);
        pcapng::interface(&mut header, subject.id, subject.backend, spec.snap_len);
        let mut file = file;
        if !spec.ring {
            file.write_all(&header)?;
        }
        let seconds = Duration::from_secs(spec.max_seconds.into());
        let now = Instant::now();
        let ends_at = now.checked_add(seconds).unwrap_or(now);
        let writer = Writer::new(file, header, spec, sources, wake, progress.clone(), ends_at)
            .telling(subject.outlook.clone());
        let writer = Some(home.host(writer)?);
        Ok((Capture { spec, progress, writer }, tees))
    }

    /// Writes what is left and completes the file; no lane may have a tee any more.
    pub fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            let mut writer = writer.recall(Writer::farewell);
            writer.finish(CaptureEnd::Stopped);
        }
    }

    /// How it goes, or went.
    pub fn state(&self) -> CaptureState {
        self.progress.state(self.spec)
    }

    /// Returns after the writer has written what was there before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.writer.iter().for_each(Post::settle);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
#[path = "capture_test.rs"]
mod tests;
