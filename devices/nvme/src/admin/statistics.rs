//! Amazon's page of statistics, log D0h: what `ebsnvme stats` and `nvme amzn stats` show.

use device_core::fields::PutLe;
use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use crate::card::{Card, Control};
use crate::page::Page;
use crate::saved::bad;
use crate::stats::{BINS, LaneStats, edges};

/// Where the histograms of reads and writes begin.
const READS: usize = 512;
const WRITES: usize = 2056;
/// Bytes of a bin.
const BIN: usize = 24;

/// Sums over all lanes.
#[derive(Debug, Default)]
pub struct Total {
    pub reads: u64,
    pub writes: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub read_us: u64,
    pub write_us: u64,
    pub media_errors: u64,
    pub in_flight: u64,
    pub read_bins: [u64; BINS],
    pub write_bins: [u64; BINS],
}

impl Total {
    fn add(&mut self, lane: &LaneStats) {
        let counters = &lane.counters;
        for (sum, counter) in [
            (&mut self.reads, &counters.reads),
            (&mut self.writes, &counters.writes),
            (&mut self.read_bytes, &counters.read_bytes),
            (&mut self.write_bytes, &counters.write_bytes),
            (&mut self.read_us, &counters.read_us),
            (&mut self.write_us, &counters.write_us),
            (&mut self.media_errors, &counters.media_errors),
        ] {
            *sum = sum.wrapping_add(counter.get());
        }
        self.in_flight = self.in_flight.wrapping_add(lane.in_flight());
        let bins = [(&mut self.read_bins, &lane.reads), (&mut self.write_bins, &lane.writes)];
        for (sums, latencies) in bins {
            for (sum, count) in sums.iter_mut().zip(latencies.counts()) {
                *sum = sum.wrapping_add(count);
            }
        }
    }
}

/// What a host can read of all that was counted, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    reads: u64,
    writes: u64,
    read_bytes: u64,
    write_bytes: u64,
    read_us: u64,
    write_us: u64,
    media_errors: u64,
    malformed: u64,
    /// By how long they took.
    read_bins: [u64; BINS],
    write_bins: [u64; BINS],
    /// What requests waited for a limit of bytes, and of requests, in microseconds.
    pub throttled_us: [u64; 2],
}

impl Card {
    pub(crate) fn save_statistics(&self, control: &Control) -> Statistics {
        let total = self.total();
        let malformed = self.stats.iter().map(|lane| lane.counters.malformed.get());
        Statistics {
            reads: total.reads,
            writes: total.writes,
            read_bytes: total.read_bytes,
            write_bytes: total.write_bytes,
            read_us: total.read_us,
            write_us: total.write_us,
            media_errors: total.media_errors,
            malformed: malformed.fold(0, u64::wrapping_add),
            read_bins: total.read_bins,
            write_bins: total.write_bins,
            throttled_us: self.throttled_us(control),
        }
    }

    /// Goes on counting from there; on the first lane, as only sums are told. Fails if the controller has
    /// counted already.
    pub(crate) fn load_statistics(&self, state: &Statistics) -> Result<(), LoadError> {
        let total = self.total();
        let Some(lane) = self.stats.first().filter(|_| total.reads | total.writes == 0) else {
            return Err(bad(
                "statistics",
                "the controller that is to go on from there was at work",
            ));
        };
        let counters = &lane.counters;
        for (counter, count) in [
            (&counters.reads, state.reads),
            (&counters.writes, state.writes),
            (&counters.read_bytes, state.read_bytes),
            (&counters.write_bytes, state.write_bytes),
            (&counters.read_us, state.read_us),
            (&counters.write_us, state.write_us),
            (&counters.media_errors, state.media_errors),
            (&counters.malformed, state.malformed),
        ] {
            counter.add(count);
        }
        lane.reads.add(&state.read_bins);
        lane.writes.add(&state.write_bins);
        Ok(())
    }

    /// What all lanes have done since the controller was built.
    pub(crate) fn total(&self) -> Total {
        let mut total = Total::default();
        self.stats.iter().for_each(|lane| total.add(lane));
        total
    }

    pub(super) fn statistics(&self, control: &Control) -> Page {
        let total = self.total();
        let mut page = Page::default();
        page.put_word(0, self.identity.magic);
        let [over_bytes, over_operations] = self.throttled_us(control);
        let doubles = [
            total.reads,
            total.writes,
            total.read_bytes,
            total.write_bytes,
            total.read_us,
            total.write_us,
            over_operations,
            over_bytes,
            0, // limits of the instance, which has none
            0,
            total.in_flight,
        ];
        for (at, double) in (8..).step_by(8).zip(doubles) {
            page.put_double(at, double);
        }
        for (begin, bins) in [(READS, &total.read_bins), (WRITES, &total.write_bins)] {
            page.put_double(begin, BINS as u64);
            let places = (begin.saturating_add(8)..).step_by(BIN);
            for ((bin, count), at) in bins.iter().enumerate().zip(places) {
                let (lower, upper) = edges(bin);
                page.put_double(at, lower);
                page.put_double(at.saturating_add(8), upper);
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                page.put_word(at.saturating_add(16), count);
            }
        }
        page
    }
}
