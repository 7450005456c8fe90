//! A bounded count of connections, shared by lanes without a lock: a table of fingerprints, each
//! with the second it was last seen.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use device_core::counters::SharedCounter;

use crate::rss::Protocol;
use crate::rss::classify::{Flow, classify};

/// A connection not seen for so long is forgotten.
pub const IDLE_SECONDS: u64 = 180;
/// Most connections of one card: 32 MiB of table.
pub const MAX_CONNECTIONS: u32 = 1 << 21;
/// Places looked at for one connection, and places swept when there is no room.
const PROBES: usize = 32;
const SWEEP: usize = 64;
/// The low bits of a place hold the second, the others the fingerprint; 0 is free.
const SECOND_BITS: u32 = 24;
const SECONDS: u64 = (1 << SECOND_BITS) - 1;

/// The connections of one card.
#[derive(Default)]
pub struct Tracker {
    /// Written when limits change; lanes keep their own handle ([`Tracker::table`]).
    table: RwLock<Option<Arc<Table>>>,
    exceeded: Arc<SharedCounter>,
}

impl Tracker {
    /// Allows so many connections, at most [`MAX_CONNECTIONS`], or any number. The tracked ones are
    /// forgotten if the number changes.
    pub fn set(&self, most: Option<u32>) {
        let most = most.map(|most| most.min(MAX_CONNECTIONS) as usize);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.as_ref().map(|table| table.most) != most {
            *table = most.map(|most| Arc::new(Table::new(most, self.exceeded.clone())));
        }
    }

    /// The table for a lane to keep until limits change.
    pub fn table(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packets lost since no more connections could be tracked.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.get()
    }

    /// Connections that could still be tracked, if they are limited.
    pub fn available(&self) -> Option<u64> {
        self.table().map(|table| table.available())
    }
}

/// A table of connections of one size.
pub struct Table {
    most: usize,
    places: Box<[AtomicU64]>,
    /// Places in use.
    used: AtomicUsize,
    /// Where the next sweep begins.
    swept: AtomicUsize,
    seed: RandomState,
    exceeded: Arc<SharedCounter>,
}

impl Table {
    fn new(most: usize, exceeded: Arc<SharedCounter>) -> Table {
        let places = most.max(PROBES).saturating_mul(2).next_power_of_two();
        Table {
            most,
            places: (0..places).map(|_| AtomicU64::new(0)).collect(),
            used: AtomicUsize::new(0),
            swept: AtomicUsize::new(0),
            seed: RandomState::new(),
            exceeded,
        }
    }

    fn available(&self) -> u64 {
        self.most.saturating_sub(self.used.load(Ordering::Relaxed)) as u64
    }

    /// Whether the frame belongs to no connection, to a tracked one, or to one that is tracked from
    /// now on; else it is counted and must not pass. `second` is the time.
    pub fn admits(&self, head: &[u8], second: u64) -> bool {
        let flow = classify(head);
        if flow.protocol == Protocol::NotIp {
            return true;
        }
        let admitted = self.track(self.seed.hash_one(connection(&flow)), second);
        if !admitted {
            self.exceeded.increment();
        }
        admitted
    }

    fn track(&self, hash: u64, second: u64) -> bool {
        let now = second & SECONDS;
        let fingerprint = match hash & !SECONDS {
            0 => 1 << SECOND_BITS,
            fingerprint => fingerprint,
        };
        let entry = fingerprint | now;
        let mut free = None;
        for place in self.probed(hash) {
            let there = place.load(Ordering::Relaxed);
            if there & !SECONDS == fingerprint {
                if there != entry {
                    // Lost to another lane only if that has just seen the connection too.
                    let order = Ordering::Relaxed;
                    let _ = place.compare_exchange(there, entry, order, order);
                }
                return true;
            }
            if there == 0 || is_idle(there, now) {
                free = free.or(Some((place, there)));
            }
        }
        if self.used.load(Ordering::Relaxed) >= self.most {
            self.sweep(now);
        }
        let Some((place, there)) = free else { return false };
        // Counted before it is taken, so that several lanes cannot pass the limit together.
        let count = |used: usize| (used < self.most).then(|| used.saturating_add(1));
        let order = Ordering::Relaxed;
        let fresh = there == 0 || place.load(order) == 0;
        if fresh && self.used.fetch_update(order, order, count).is_err() {
            return false;
        }
        let expected = if fresh { 0 } else { there };
        if place.compare_exchange(expected, entry, order, order).is_err() {
            // Another lane was faster with another connection: this one is tracked with its next
            // frame.
            if fresh {
                self.used.fetch_sub(1, order);
            }
        }
        true
    }

    fn probed(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let start = hash as usize;
        let mask = self.places.len().wrapping_sub(1);
        (0..PROBES).filter_map(move |step| self.places.get(start.wrapping_add(step) & mask))
    }

    /// Frees some places of idle connections.
    fn sweep(&self, now: u64) {
        let start = self.swept.fetch_add(SWEEP, Ordering::Relaxed);
        let mask = self.places.len().wrapping_sub(1);
        for step in 0..SWEEP {
            let Some(place) = self.places.get(start.wrapping_add(step) & mask) else { return };
            let there = place.load(Ordering::Relaxed);
            let order = Ordering::Relaxed;
            if there != 0
                && is_idle(there, now)
                && place.compare_exchange(there, 0, order, order).is_ok()
            {
                self.used.fetch_sub(1, order);
            }
        }
    }
}

fn is_idle(entry: u64, now: u64) -> bool {
    let since = now.wrapping_sub(entry) & SECONDS;
    // A lane whose clock is behind sees the near future: that is not idle.
    (IDLE_SECONDS..SECONDS >> 1).contains(&since)
}

/// One end of a connection: address and port.
type End<'a> = (&'a [u8], [u8; 2]);

/// The same for both directions.
fn connection<'a>(flow: &Flow<'a>) -> (bool, u8, [End<'a>; 2]) {
    let [s0, s1, d0, d1] = flow.ports;
    let mut ends = [(flow.source, [s0, s1]), (flow.destination, [d0, d1])];
    ends.sort();
    // Fragments have no ports, so they are connections of their own.
    let kind = match flow.protocol {
        Protocol::Tcp4 | Protocol::Tcp6 | Protocol::Tcp6Extended => 6,
        Protocol::Udp4 | Protocol::Udp6 | Protocol::Udp6Extended => 17,
        _ => 0,
    };
    (flow.source.len() == 4, kind, ends)
}

#[cfg(test)]
#[path = "tracking_test.rs"]
mod tests;
