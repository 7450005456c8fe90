//! The page of BAR 0 with a transmit queue's doorbell: trapped, or memory that the lane looks at.
//!
//! A trapped doorbell costs the guest an exit. That is the right price for waking a lane, and wasted
//! on one that is at work: drivers of this card ring for each packet and cannot be told not to. So a
//! page whose doorbell is wasted in numbers is put under the guest as memory. The lane, which sees
//! new tails only when it looks, then naps instead of sleeping; when little is rung it takes the
//! memory away and is woken again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cells::Cells;
use crate::quiet::Naps;
use crate::registers::{PAGE, TX_DOORBELL};
use crate::ring::{SqDoorbell, Stamp};

/// So many wasted doorbells within so long make the page memory.
const MANY: u32 = 8;
const SOON: Duration = Duration::from_millis(64);
/// A nap costs a lane less than a trap costs the guest and the lane: when in so long more than so many
/// naps in vain were had for each entry that tails went ahead, the page is trapped again. Some hosts
/// forget all they know of the guest's pages when memory is taken away, so that must be rare.
const PERIOD: Duration = Duration::from_secs(1);
const VAIN: u32 = 4;
/// How long it stays so at least.
const REST: Duration = Duration::from_secs(1);
/// A nap lasts this part of the time since the last find: streams have few large frames in flight, and
/// are as fast as these are seen.
const PART: u32 = 32;
/// How late a frame may be seen after a long silence.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// The doorbell of one transmit queue.
pub struct Page {
    /// The doorbell itself.
    pub bell: Arc<SqDoorbell>,
    /// When it was rung.
    pub stamp: Arc<Stamp>,
    cells: Cells,
    /// Traps that woke nobody, since they were last judged.
    wasted: AtomicU32,
    /// The window may hold what was not found yet.
    live: AtomicBool,
    /// By how much tails went ahead since they were last judged.
    found: AtomicU32,
    state: Mutex<State>,
}

struct State {
    /// Where the guest has the page.
    at: Option<u64>,
    /// It is memory there.
    open: bool,
    /// The host would not have it.
    refused: bool,
    /// When traps or finds were last judged, and when the page may be memory next.
    judged: Instant,
    rests_until: Instant,
    /// By how much tails had gone ahead at the last turn.
    found: u32,
    naps: Naps,
    /// When the nap ends that the lane has, and how many were in vain since they were last judged.
    nap: Option<Instant>,
    vain: u32,
}

impl Page {
    /// A trapped page that is nowhere. The window is as large as a page.
    pub fn new(bell: Arc<SqDoorbell>, cells: Cells) -> Page {
        let now = Instant::now();
        Page {
            bell,
            stamp: Arc::default(),
            cells,
            wasted: AtomicU32::new(0),
            live: AtomicBool::new(false),
            found: AtomicU32::new(0),
            state: Mutex::new(State {
                at: None,
                open: false,
                refused: false,
                judged: now,
                rests_until: now,
                found: 0,
                naps: Naps::new(PART, LONGEST_NAP),
                nap: None,
                vain: 0,
            }),
        }
    }

    /// A doorbell's write that came as an exit.
    pub fn trapped(&self, value: u32) {
        self.stamp.mark();
        if !self.bell.ring(value & 0xffff) {
            self.wasted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The guest has the page at `at` now. Once this returns none of its writes goes to where it
    /// was.
    pub fn mapped(&self, at: Option<u64>) {
        let mut state = self.state();
        self.close(&mut state);
        state.at = at;
    }

    /// As new, but where it is.
    pub fn reset(&self) {
        let mut state = self.state();
        self.close(&mut state);
        self.cells.take(TX_DOORBELL);
        self.live.store(false, Ordering::Relaxed);
    }

    /// A queue is made anew: what was rung for the old one does not count.
    pub fn forget(&self) {
        self.cells.take(TX_DOORBELL);
        self.bell.reset();
    }

    /// Brings what the guest wrote into the memory to where traps bring it. Only the queue's lane
    /// may call this.
    pub fn look(&self) {
        // Set by the lane itself.
        if self.live.load(Ordering::Relaxed) {
            self.find();
        }
    }

    /// Looks, and decides how the page is from now on; at each turn's end, on the queue's lane. When
    /// the lane must look again, whatever else it waits for.
    pub fn turn(&self, now: Instant) -> Option<Instant> {
        let live = self.live.load(Ordering::Relaxed);
        if !live && self.wasted.load(Ordering::Relaxed) < MANY {
            return None;
        }
        let mut state = self.state();
        if !live {
            return self.open_if_wasted(&mut state, now);
        }
        if state.open && now.saturating_duration_since(state.judged) >= PERIOD {
            let found = self.found.swap(0, Ordering::Relaxed);
            if state.vain > found.saturating_mul(VAIN) {
                self.close(&mut state);
                state.rests_until = now.checked_add(REST).unwrap_or(now);
            }
            (state.judged, state.found, state.vain) = (now, 0, 0);
        }
        let open = state.open;
        // After it was closed: nothing is written behind this look.
        let now_found = self.find();
        let found = self.found.load(Ordering::Relaxed);
        let napped = state.nap.take().is_some_and(|end| now >= end);
        if found != state.found {
            state.found = found;
            state.naps.end();
        } else if napped {
            state.vain = state.vain.saturating_add(1);
        }
        if !open {
            self.live.store(false, Ordering::Relaxed);
        }
        if now_found {
            return Some(now);
        }
        if !open {
            return None;
        }
        state.nap_from(now)
    }

    fn open_if_wasted(&self, state: &mut State, now: Instant) -> Option<Instant> {
        self.wasted.store(0, Ordering::Relaxed);
        let soon = now.saturating_duration_since(state.judged) <= SOON && now >= state.rests_until;
        state.judged = now;
        let at = state.at.filter(|_| soon && !state.refused)?;
        self.cells.take(TX_DOORBELL);
        if let Err(error) = self.cells.place(Some(at)) {
            tracing::warn!("doorbells of an ENA card stay trapped, which is slower: {error}");
            state.refused = true;
            return None;
        }
        self.found.store(0, Ordering::Relaxed);
        (state.open, state.found, state.vain) = (true, 0, 0);
        self.live.store(true, Ordering::Relaxed);
        state.naps.end();
        state.nap_from(now)
    }

    /// Traps again.
    fn close(&self, state: &mut State) {
        if !std::mem::take(&mut state.open) {
            return;
        }
        if let Err(error) = self.cells.place(None) {
            tracing::error!("cannot take an ENA card's doorbells back: {error}");
        }
    }

    /// Whether there was something.
    fn find(&self) -> bool {
        let Some(tail) = self.cells.take(TX_DOORBELL) else { return false };
        // When it was written nobody knows.
        self.stamp.mark();
        // About as many traps would have been, most of them wasted.
        let ahead = tail.wrapping_sub(self.bell.tail()) & 0xffff;
        self.bell.note(tail & 0xffff);
        self.found.fetch_add(ahead.max(1), Ordering::Relaxed);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins a nap; when it ends.
    fn nap_from(&mut self, now: Instant) -> Option<Instant> {
        self.nap = self.naps.next(now);
        self.nap
    }
}

/// Bytes of a page's window.
pub const WINDOW: u64 = PAGE;

#[cfg(test)]
#[path = "page_test.rs"]
mod tests;
