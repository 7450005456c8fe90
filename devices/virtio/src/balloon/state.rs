//! What the balloon's registers, its queues and its owner share.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device_core::guest_log::LogLimit;
use device_core::reclaim::{Reclaim, ReclaimError};
use device_core::{counters, guest_warn};

use super::blocks::Blocks;
use super::features;
use super::hinting::Hinting;
use super::pages::{Batch, PAGE};
use super::spec::{BalloonSpec, PAGES_PER_MIB};
use super::statistics::Statistics;
use crate::device::Notice;

counters! {
    /// What the balloon has done since its machine was built.
    pub struct BalloonCounters {
        /// Lists of pages that went into it.
        inflations,
        /// Lists of pages that came out of it.
        deflations,
        /// Reports about the guest's memory.
        statistics,
        /// Reports about the guest's memory that were too long or not in memory.
        bad_statistics,
        /// Reports of free pages.
        reports,
        /// Bytes that these gave back to the host.
        reported_bytes,
        /// Hints of free pages.
        hints,
        /// Bytes that these gave back to the host.
        hinted_bytes,
        /// Bytes that pages of the balloon gave back to the host.
        inflated_bytes,
        /// Pages, reports and hints that were not in memory, or not in a form that they may have.
        refused,
        /// Times that the host did not take memory back.
        host_failures,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// All of it. Only the service, the worker of the queues, counts and gives back.
pub(super) struct State {
    /// Pages that the guest is to give up.
    target: AtomicU32,
    /// Pages that it says it gave up.
    actual: AtomicU32,
    /// What it says its free pages are filled with.
    poison: AtomicU32,
    /// Seconds between two reports, if there are any.
    interval_s: AtomicU16,
    /// What was negotiated, while queues are plugged or were before a pause.
    negotiated: AtomicU64,
    statistics: Mutex<Statistics>,
    /// Locked while a hint is acted upon, so that a run that was stopped is over.
    hinting: Mutex<Hinting>,
    /// For a driver that is loaded.
    notice: Mutex<Option<Arc<dyn Notice>>>,
    /// Only where the host's pages are larger than ours.
    blocks: Mutex<Option<Blocks>>,
    reclaim: Arc<dyn Reclaim>,
    pub counters: BalloonCounters,
    log: LogLimit,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// As `spec` has it, before any driver.
    pub fn new(spec: &BalloonSpec, reclaim: Arc<dyn Reclaim>) -> State {
        let pages = u32::try_from(reclaim.granule() / PAGE).unwrap_or(u32::MAX);
        State {
            target: AtomicU32::new(spec.amount_mib.saturating_mul(PAGES_PER_MIB)),
            actual: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            interval_s: AtomicU16::new(spec.statistics_s),
            negotiated: AtomicU64::new(0),
            statistics: Mutex::default(),
            hinting: Mutex::new(Hinting::new()),
            notice: Mutex::default(),
            blocks: Mutex::new(Blocks::of(pages)),
            reclaim,
            counters: BalloonCounters::default(),
            log: LogLimit::default(),
        }
    }

    /// Forgets what a driver said; what the owner wants stays.
    pub fn reset(&self) {
        self.actual.store(0, Ordering::Relaxed);
        self.poison.store(0, Ordering::Relaxed);
        self.negotiated.store(0, Ordering::Relaxed);
        *locked(&self.statistics) = Statistics::default();
        *locked(&self.hinting) = Hinting::new();
        *locked(&self.notice) = None;
        if let Some(blocks) = &mut *locked(&self.blocks) {
            blocks.clear();
        }
    }

    /// Pages that the guest is to give up.
    pub fn target(&self) -> u32 {
        self.target.load(Ordering::Relaxed)
    }

    /// Changes that, and tells a driver that is loaded.
    pub fn set_target(&self, pages: u32) {
        self.target.store(pages, Ordering::Relaxed);
        self.tell();
    }

    /// Pages that the guest says it gave up.
    pub fn actual(&self) -> u32 {
        self.actual.load(Ordering::Relaxed)
    }

    /// The driver says so; what it said before.
    pub fn set_actual(&self, pages: u32) -> u32 {
        self.actual.swap(pages, Ordering::Relaxed)
    }

    /// The driver says what it fills free pages with.
    pub fn set_poison(&self, value: u32) {
        self.poison.store(value, Ordering::Relaxed);
    }

    /// What it said.
    pub fn poison(&self) -> u32 {
        self.poison.load(Ordering::Relaxed)
    }

    /// Whether free pages must keep what they hold: the guest expects its filling there, and would find zeroes.
    pub fn keeps_free_pages(&self) -> bool {
        let negotiated = self.negotiated.load(Ordering::Relaxed) & features::POISON != 0;
        negotiated && self.poison() != 0
    }

    /// The guest's last report.
    pub fn statistics(&self) -> MutexGuard<'_, Statistics> {
        locked(&self.statistics)
    }

    /// Where hinting stands; held while it must not change.
    pub fn hinting(&self) -> MutexGuard<'_, Hinting> {
        locked(&self.hinting)
    }

    /// Time between two reports; zero for none.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s.load(Ordering::Relaxed).into())
    }

    /// Changes it.
    pub fn set_interval(&self, seconds: u16) {
        self.interval_s.store(seconds, Ordering::Relaxed);
    }

    /// A driver is loaded that negotiated `features` and can be told by `notice`.
    pub fn listen(&self, features: u64, notice: Arc<dyn Notice>) {
        self.negotiated.store(features, Ordering::Relaxed);
        *locked(&self.notice) = Some(notice);
    }

    /// Tells the driver that the configuration has changed.
    pub fn tell(&self) {
        let notice = locked(&self.notice).clone();
        if let Some(notice) = notice {
            notice.config_changed();
        }
    }

    /// The driver gave up these pages; bytes that went back to the host.
    pub fn take_in(&self, batch: &Batch) -> u64 {
        let mut freed = 0u64;
        match &mut *locked(&self.blocks) {
            None => {
                for (start, len) in batch.ranges() {
                    freed = freed.saturating_add(self.give_back(start, len));
                }
            }
            Some(blocks) => {
                for (start, len) in batch.ranges() {
                    // Marks are kept for pages of memory only.
                    if !self.reclaim.is_ram(start, len) {
                        self.counters.refused.add(1);
                        continue;
                    }
                    let pages = start / PAGE..start.saturating_add(len) / PAGE;
                    let pages = pages.filter_map(|page| u32::try_from(page).ok());
                    for first in pages.filter_map(|page| blocks.add(page)) {
                        let at = u64::from(first).saturating_mul(PAGE);
                        freed = freed.saturating_add(self.give_back(at, self.reclaim.granule()));
                    }
                }
            }
        }
        freed
    }

    /// The driver uses these pages again.
    pub fn let_out(&self, batch: &Batch) {
        if let Some(blocks) = &mut *locked(&self.blocks) {
            batch.numbers().for_each(|page| blocks.remove(page));
        }
    }

    /// Which pages are in the balloon, where the host's are larger: the first of some in a row, and a bit for each.
    pub fn held(&self) -> Vec<(u32, Vec<u8>)> {
        locked(&self.blocks).as_ref().map(Blocks::held).unwrap_or_default()
    }

    /// These pages are in the balloon; what is whole went back to the host then. Fails if one is not in memory.
    pub fn hold<'a>(
        &self,
        held: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Result<(), &'static str> {
        let mut blocks = locked(&self.blocks);
        for (first, bits) in held {
            let set = |nth: &u32| {
                let byte = bits.get((nth / u8::BITS) as usize).copied().unwrap_or_default();
                byte >> (nth % u8::BITS) & 1 != 0
            };
            let count = u32::try_from(bits.len()).unwrap_or(u32::MAX).saturating_mul(u8::BITS);
            for nth in (0..count).filter(set) {
                let page = first.checked_add(nth);
                let page = page.filter(|page| self.reclaim.is_ram(u64::from(*page) * PAGE, PAGE));
                let page = page.ok_or("a page is not in memory")?;
                if let Some(blocks) = &mut *blocks {
                    blocks.add(page);
                }
            }
        }
        Ok(())
    }

    /// Gives a range of guest memory back to the host, as far as it is whole pages there; how many bytes that were.
    pub fn give_back(&self, start: u64, len: u64) -> u64 {
        match self.reclaim.discard(start, len) {
            Ok(freed) => freed,
            Err(error) => {
                match error {
                    ReclaimError::OutsideRam => self.counters.refused.add(1),
                    ReclaimError::Host(_) => self.counters.host_failures.add(1),
                }
                guest_warn!(self.log, "the balloon: {len:#x} bytes at {start:#x}: {error}");
                0
            }
        }
    }
}
