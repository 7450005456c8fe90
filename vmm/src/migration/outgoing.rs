//! A machine on its way, as its source sees it.

use std::time::Instant;

use device_core::Ram;

use super::error::MigrateError;
use super::line::Line;
use super::rounds::{self, Next, Pace};
use super::spec::MigrateSpec;
use super::view::Migrated;
use super::words::{Kind, MOST_PAGES};
use crate::memory::pages::PageSet;
use crate::memory::sparse::ZEROES;
use crate::memory::{PAGE, whole};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The target is being reached.
    Connecting,
    /// Both ends look who the other is, since then.
    Meeting(Instant),
    /// It looks whether it can have the machine.
    Greeting,
    /// Memory goes.
    Sending,
    /// The target gets ready for the rest.
    Preparing,
}

/// All of it.
pub struct Outgoing {
    /// What was asked for.
    pub spec: MigrateSpec,
    /// To the target.
    pub line: Line,
    /// How far it is.
    pub stage: Stage,
    begun: Instant,
    /// Pages that are to go in this round, and since when.
    runs: std::vec::IntoIter<(u64, u64)>,
    run: (u64, u64),
    round: (u64, Instant),
    pace: Pace,
    /// Pages that go with the last round.
    kept: Option<PageSet>,
    rounds: u32,
    pages: u64,
    zero_pages: u64,
    buffer: Vec<u8>,
}

impl Outgoing {
    /// By a connection that is about to be there.
    pub fn new(spec: MigrateSpec, line: Line) -> Outgoing {
        let begun = Instant::now();
        Outgoing {
            spec,
            line,
            stage: Stage::Connecting,
            begun,
            runs: Vec::new().into_iter(),
            run: (0, 0),
            round: (0, begun),
            pace: Pace::default(),
            kept: None,
            rounds: 0,
            pages: 0,
            zero_pages: 0,
            buffer: vec![0; MOST_PAGES * PAGE],
        }
    }

    /// These pages are to go now.
    pub fn begin_round(&mut self, pages: &PageSet) {
        self.rounds = self.rounds.saturating_add(1);
        self.round = (pages.count(), Instant::now());
        self.runs = pages.runs().collect::<Vec<_>>().into_iter();
    }

    /// These pages go with the last round.
    pub fn keep_for_last(&mut self, pages: PageSet) {
        self.kept = Some(pages);
    }

    /// These pages and those that were kept are to go now, and no others will.
    pub fn begin_last_round(&mut self, mut pages: PageSet) {
        if let Some(kept) = self.kept.take() {
            pages.add_all(&kept);
        }
        self.begin_round(&pages);
    }

    /// Pages of this round are gone. What comes next, with so many `left` that were written to meanwhile.
    pub fn end_round(&mut self, left: u64) -> Next {
        let (pages, begun) = self.round;
        self.pace.see(pages, begun.elapsed());
        rounds::next(&self.spec.limits, &self.pace, self.rounds, left)
    }

    /// Sends pages until all of this round have gone, or `until`; whether all have. Fails if memory cannot be read, or the
    /// target takes no more.
    pub fn send_pages(&mut self, ram: &Ram, until: Instant) -> Result<bool, MigrateError> {
        loop {
            if !self.line.send(until)? {
                return Ok(false);
            }
            if !self.fill(ram)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// Has a few pages be sent. Whether there were some.
    fn fill(&mut self, ram: &Ram) -> Result<bool, MigrateError> {
        if self.run.1 == 0 {
            let Some(run) = self.runs.next() else { return Ok(false) };
            self.run = run;
        }
        let (first, left) = self.run;
        let count = left.min(MOST_PAGES as u64).min(to_region_end(ram, first));
        self.run = (first.saturating_add(count), left.saturating_sub(count));
        let len = usize::try_from(count).unwrap_or_default().saturating_mul(PAGE);
        let bytes = self.buffer.get_mut(..len).unwrap_or_default();
        let offset = first.saturating_mul(PAGE as u64);
        whole::read(ram, offset, bytes).map_err(MigrateError::Memory)?;
        let mut page = first;
        // Of what nobody wrote there yet the target has zeroes.
        let is_first = self.rounds == 1;
        let is_zero = |page: &&[u8]| **page == ZEROES;
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let zeroes = rest.chunks(PAGE).take_while(is_zero).count();
            let (_, later) = rest.split_at(zeroes.saturating_mul(PAGE).min(rest.len()));
            if zeroes > 0 && !is_first {
                self.line.put(Kind::Zeroes, page, &(zeroes as u64).to_le_bytes())?;
            }
            page = page.saturating_add(zeroes as u64);
            let full = later.chunks(PAGE).take_while(|page| !is_zero(page)).count();
            let (now, later) = later.split_at(full.saturating_mul(PAGE).min(later.len()));
            if full > 0 {
                self.line.put(Kind::Pages, page, now)?;
            }
            page = page.saturating_add(full as u64);
            self.pages = self.pages.saturating_add(full as u64);
            self.zero_pages = self.zero_pages.saturating_add(zeroes as u64);
            rest = later;
        }
        Ok(true)
    }

    /// What is told once it is there, having run nowhere for `downtime_ms`.
    pub fn told(&self, downtime_ms: f64) -> Migrated {
        Migrated {
            rounds: self.rounds,
            pages: self.pages,
            zero_pages: self.zero_pages,
            bytes: self.line.sent(),
            bytes_per_second: (self.pace.pages_per_second() * PAGE as f64) as u64,
            downtime_ms,
            total_ms: milliseconds(self.begun),
        }
    }
}

/// Milliseconds since then.
pub fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_micros() as f64 / 1000.0
}

/// Pages from `page` to the end of its region.
fn to_region_end(ram: &Ram, page: u64) -> u64 {
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

    let mut end = 0u64;
    for region in ram.iter() {
        end = end.saturating_add(region.len() / PAGE as u64);
        if page < end {
            return end.saturating_sub(page);
        }
    }
    u64::MAX
}

#[cfg(test)]
#[path = "outgoing_test.rs"]
mod tests;
