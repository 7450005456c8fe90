//! Events: link, keep-alive, hints, reset request, on the AENQ (specification 4.5).

pub mod saved;

use std::time::{Duration, Instant};

use device_core::GuestRam;
use serde::{Deserialize, Serialize};

use super::queue::{NoRam, Ring};
use crate::abi::group;

/// Between two keep-alives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Syndrome of a notification that brings new hints.
const UPDATE_HINTS: u16 = 2;
/// The word of an entry that holds the phase.
const PHASE_WORD: usize = 1;

/// Timeouts that the card advises its driver to use; 0 keeps the driver's own, `u16::MAX` switches the
/// check off (6.3; `ena_admin_ena_hw_hints` of Linux
/// `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hints {
    /// Of a readless register read, in ms.
    pub mmio_timeout_ms: u16,
    /// Without a keep-alive, in ms.
    pub driver_watchdog_ms: u16,
    /// Of a packet's completion, in ms.
    pub missing_tx_completion_ms: u16,
    /// Packets that may miss their completion.
    pub missed_tx_completions: u16,
    /// Of an admin command's answer, in ms.
    pub admin_completion_ms: u16,
    /// Of a transmit queue that does not move, in ms; the network stack's own watchdog.
    pub netdev_watchdog_ms: u16,
}

impl Hints {
    /// The first three words of the structure; the others are zero.
    pub fn words(&self) -> [u32; 3] {
        let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        [
            pair(self.mmio_timeout_ms, self.driver_watchdog_ms),
            pair(self.missing_tx_completion_ms, self.missed_tx_completions),
            pair(self.admin_completion_ms, self.netdev_watchdog_ms),
        ]
    }
}

/// Frames dropped since the last reset, as a keep-alive tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// To the driver.
    pub rx: u64,
    /// From the driver.
    pub tx: u64,
}

/// The event ring, and what waits for it. What finds no room waits, but only its latest state; a
/// keep-alive without room is dropped.
#[derive(Debug)]
pub struct EventQueue {
    ring: Option<Ring>,
    produced: u16,
    /// The doorbell: how far the driver lets us go.
    granted: Option<u16>,
    groups: u32,
    /// The driver took its response address away: it is gone, and so may be the ring (2.3).
    abandoned: bool,
    /// Keep-alives are withheld, so that the driver's watchdog resets the card.
    withheld: bool,
    link_due: bool,
    hints_due: Option<Hints>,
    reset_due: bool,
    keep_alive_at: Option<Instant>,
    since: Instant,
}

impl EventQueue {
    /// As after a reset at `now`.
    pub fn new(now: Instant) -> EventQueue {
        EventQueue {
            ring: None,
            produced: 0,
            granted: None,
            groups: 0,
            abandoned: false,
            withheld: false,
            link_due: false,
            hints_due: None,
            reset_due: false,
            keep_alive_at: None,
            since: now,
        }
    }

    /// A new ring, or none.
    pub fn set_ring(&mut self, ring: Option<Ring>) {
        self.ring = ring;
        self.produced = 0;
        self.granted = None;
        self.link_due = true;
    }

    /// The guest wrote the doorbell.
    pub fn grant(&mut self, value: u32, now: Instant) {
        if self.ring.is_some() {
            self.granted = Some(value as u16);
        }
        self.schedule(now);
    }

    /// Groups that may be posted, as the driver set them last.
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// The driver chose groups. Whoever asks for link changes is told the link's state.
    pub fn set_groups(&mut self, groups: u32, now: Instant) {
        self.groups = groups;
        self.link_due |= groups & group::LINK_CHANGE != 0;
        self.schedule(now);
    }

    /// The driver is gone; nothing more until the next reset.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.keep_alive_at = None;
    }

    /// Whether keep-alives are withheld.
    pub fn withholds_keep_alives(&self) -> bool {
        self.withheld
    }

    /// Withholds keep-alives, or goes on with them.
    pub fn withhold_keep_alives(&mut self, withheld: bool, now: Instant) {
        self.withheld = withheld;
        self.schedule(now);
    }

    /// The link went up or down: to be told.
    pub fn link_changed(&mut self) {
        self.link_due = true;
    }

    /// There are new hints: to be told.
    pub fn advise(&mut self, hints: Hints) {
        self.hints_due = Some(hints);
    }

    /// The driver is to be asked for a reset.
    pub fn request_reset(&mut self) {
        self.reset_due = true;
    }

    /// The driver is to reset the card, whether it knows the event or not.
    pub fn insist_on_reset(&mut self, now: Instant) {
        self.request_reset();
        // Drivers that do not know the event find out by the silence.
        self.withhold_keep_alives(true, now);
    }

    /// The machine ran on after a pause: a keep-alive is due at once.
    pub fn resumed(&mut self, now: Instant) {
        if self.keep_alive_at.is_some() {
            self.keep_alive_at = Some(now);
        }
    }

    /// When the next keep-alive is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.keep_alive_at
    }

    /// How many events there have been, 16 bits of it.
    pub fn produced(&self) -> u16 {
        self.produced
    }

    /// Entries of the ring, if there is one.
    pub fn depth(&self) -> Option<u16> {
        self.ring.map(|ring| ring.depth())
    }

    fn schedule(&mut self, now: Instant) {
        let wanted = self.groups & group::KEEP_ALIVE != 0
            && self.ring.is_some()
            && self.granted.is_some()
            && !self.abandoned
            && !self.withheld;
        self.keep_alive_at = match self.keep_alive_at {
            _ if !wanted => None,
            Some(then) => Some(then),
            None => now.checked_add(KEEP_ALIVE),
        };
    }

    /// Entries that the driver lets us write.
    fn free(&self) -> u16 {
        let (Some(ring), Some(granted)) = (self.ring, self.granted) else { return 0 };
        // Backwards is negative, and too far no more than the ring.
        let free = granted.wrapping_sub(self.produced) as i16;
        u16::try_from(free).unwrap_or(0).min(ring.depth())
    }

    fn may_post(&self, group: u32) -> bool {
        self.groups & group != 0 && !self.abandoned && self.free() > 0
    }

    /// Posts all that is due and has room, keep-alives aside; whether there was anything. Fails if the
    /// ring is not in RAM.
    pub fn post(&mut self, link_up: bool, now: Instant, memory: &GuestRam) -> Result<bool, NoRam> {
        let before = self.produced;
        if self.link_due && self.may_post(group::LINK_CHANGE) {
            self.write(group::LINK_CHANGE, 0, &[link_up.into()], now, memory)?;
            self.link_due = false;
        }
        if let Some(hints) = self.hints_due
            && self.may_post(group::NOTIFICATION)
        {
            self.write(group::NOTIFICATION, UPDATE_HINTS, &hints.words(), now, memory)?;
            self.hints_due = None;
        }
        if self.reset_due && self.may_post(group::DEVICE_REQUESTS_RESET) {
            self.write(group::DEVICE_REQUESTS_RESET, 0, &[], now, memory)?;
            self.reset_due = false;
        }
        Ok(self.produced != before)
    }

    /// Whether a keep-alive is due at `now`; the next one is due a second later.
    pub fn take_keep_alive(&mut self, now: Instant) -> bool {
        let Some(due) = self.keep_alive_at.filter(|due| *due <= now) else { return false };
        // Steady on average, but without a burst after a long wait.
        let next = due.checked_add(KEEP_ALIVE).filter(|next| *next > now);
        self.keep_alive_at = next.or_else(|| now.checked_add(KEEP_ALIVE));
        true
    }

    /// Posts a keep-alive, if there is room; whether there was. Fails if the ring is not in RAM.
    pub fn keep_alive(
        &mut self,
        drops: Drops,
        now: Instant,
        memory: &GuestRam,
    ) -> Result<bool, NoRam> {
        if self.withheld || !self.may_post(group::KEEP_ALIVE) {
            return Ok(false);
        }
        let low_high = |value: u64| [value as u32, (value >> 32) as u32];
        let ([rx, rx_high], [tx, tx_high]) = (low_high(drops.rx), low_high(drops.tx));
        self.write(group::KEEP_ALIVE, 0, &[rx, rx_high, tx, tx_high], now, memory)?;
        Ok(true)
    }

    fn write(
        &mut self,
        group: u32,
        syndrome: u16,
        data: &[u32],
        now: Instant,
        memory: &GuestRam,
    ) -> Result<(), NoRam> {
        let ring = self.ring.ok_or(NoRam)?;
        let seconds = now.saturating_duration_since(self.since).as_secs();
        let mut words = [0; 16];
        let [first, phase, time, time_high, rest @ ..] = &mut words;
        *first = group.trailing_zeros() | u32::from(syndrome) << 16;
        *phase = ring.phase(self.produced).into();
        (*time, *time_high) = (seconds as u32, (seconds >> 32) as u32);
        rest.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        ring.write(self.produced, &words, PHASE_WORD, memory)?;
        self.produced = self.produced.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
#[path = "events_test.rs"]
mod tests;
