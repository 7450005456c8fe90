//! How long frames take through a lane, by bursts: a time stamp or two for each publication, none
//! for a frame.
//!
//! ```text
//! doorbell ─────► turn ── next, send … ── publish ── interrupt
//!    └─ doorbell to TAP ───────────────────┘│            │
//!                  └─ TAP to completion ────┘            │
//!                                           └────────────┘ completion to interrupt
//! ```

use std::sync::Arc;
use std::time::Instant;

use device_core::histogram::Histogram;

use crate::control::latency::{PairLatency, Percentiles};
use crate::ring::{PutOff, RxRing, TxRing};
use device_core::fault::GuestFault;

/// One lane's distributions, in nanoseconds.
#[derive(Debug, Default)]
pub struct Delays {
    doorbell_to_tap: Histogram,
    tap_to_completion: Histogram,
    tap_to_guest: Histogram,
    completion_to_interrupt: Histogram,
}

impl Delays {
    /// What is told of them, as those of pair `index`.
    pub fn of_pair(&self, index: u16) -> PairLatency {
        PairLatency {
            index,
            doorbell_to_tap: percentiles(&self.doorbell_to_tap),
            tap_to_completion: percentiles(&self.tap_to_completion),
            tap_to_guest: percentiles(&self.tap_to_guest),
            completion_to_interrupt: percentiles(&self.completion_to_interrupt),
        }
    }
}

fn percentiles(histogram: &Histogram) -> Percentiles {
    let [p50, p90, p99, p999, max] = histogram.at([500, 900, 990, 999, 1000]);
    Percentiles { count: histogram.count(), p50, p90, p99, p999, max }
}

/// The lane's half: what is to be known until a burst is published.
pub struct Stopwatch {
    delays: Arc<Delays>,
    tx: Running,
    rx: Running,
}

/// One direction at work.
struct Running {
    /// Since when its frames could have gone, at the latest.
    waiting: Instant,
    /// When the burst began.
    began: Instant,
    /// Frames of the burst.
    frames: u64,
    /// When entries became visible whose interrupt the guest wants later.
    unfired: Option<Instant>,
}

impl Running {
    fn new(now: Instant) -> Running {
        Running { waiting: now, began: now, frames: 0, unfired: None }
    }
}

impl Stopwatch {
    /// Measures into `delays`, from `now` on.
    pub fn new(delays: Arc<Delays>, now: Instant) -> Stopwatch {
        Stopwatch { delays, tx: Running::new(now), rx: Running::new(now) }
    }

    /// A turn of sending begins; the next frame has waited since then already, if it has.
    pub fn tx_begins(&mut self, now: Instant, waiting: Option<Instant>) {
        self.tx.began = now;
        self.tx.waiting = waiting.unwrap_or(now);
    }

    /// A frame of the burst went to the backend.
    pub fn sent(&mut self) {
        self.tx.frames = self.tx.frames.saturating_add(1);
    }

    /// A turn of receiving begins.
    pub fn rx_begins(&mut self) {
        self.rx.began = Instant::now();
    }

    /// A frame of the burst went into the guest's buffers.
    pub fn received(&mut self) {
        self.rx.frames = self.rx.frames.saturating_add(1);
    }

    /// What became of interrupts that were put off.
    pub fn put_off(&mut self, tx: PutOff, rx: PutOff) {
        for (running, put_off) in [(&mut self.tx, tx), (&mut self.rx, rx)] {
            let since = match (put_off.fired, put_off.until) {
                (true, _) => running.unfired.take(),
                // Still to come.
                (false, Some(_)) => continue,
                // It was sent already, or the guest has masked it.
                (false, None) => {
                    running.unfired = None;
                    continue;
                }
            };
            if let Some(since) = since {
                self.delays.completion_to_interrupt.record(nanos(since, Instant::now()), 1);
            }
        }
    }
}

/// Publishes what was sent; whether that interrupted. Fails as the publication does.
#[inline]
pub fn show_sent<T: TxRing>(
    watch: &mut Option<Box<Stopwatch>>,
    ring: &mut T,
) -> Result<bool, GuestFault> {
    let Some(Stopwatch { delays, tx, .. }) = watch.as_deref_mut() else { return ring.publish() };
    let (before, after, fired) = timed(delays, tx, || ring.publish())?;
    let frames = std::mem::take(&mut tx.frames);
    if frames > 0 {
        let since = ring.offered_at().unwrap_or(tx.waiting).min(tx.waiting);
        delays.doorbell_to_tap.record(nanos(since, before), frames);
        delays.tap_to_completion.record(nanos(tx.began, after), frames);
    }
    tx.began = after;
    Ok(fired)
}

/// Publishes what was received; whether that interrupted. Fails as the publication does.
#[inline]
pub fn show_received<R: RxRing>(
    watch: &mut Option<Box<Stopwatch>>,
    ring: &mut R,
) -> Result<bool, GuestFault> {
    let Some(Stopwatch { delays, rx, .. }) = watch.as_deref_mut() else { return ring.publish() };
    let (_, after, fired) = timed(delays, rx, || ring.publish())?;
    let frames = std::mem::take(&mut rx.frames);
    if frames > 0 {
        delays.tap_to_guest.record(nanos(rx.began, after), frames);
    }
    rx.began = after;
    Ok(fired)
}

/// Stamps before and after the publication; they are one if no interrupt was sent.
fn timed(
    delays: &Delays,
    running: &mut Running,
    publish: impl FnOnce() -> Result<bool, GuestFault>,
) -> Result<(Instant, Instant, bool), GuestFault> {
    let before = Instant::now();
    let fired = publish()?;
    if !fired {
        if running.frames > 0 {
            running.unfired.get_or_insert(before);
        }
        return Ok((before, before, false));
    }
    let after = Instant::now();
    let since = running.unfired.take().unwrap_or(before);
    delays.completion_to_interrupt.record(nanos(since, after), 1);
    Ok((before, after, true))
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
