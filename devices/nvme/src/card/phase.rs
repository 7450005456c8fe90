//! Enabled, reset, shut down: the controller's life as CC and CSTS show it (NVMe base specification 1.4,
//! 3.1.5, 3.1.6 and 7.6).
//!
//! ```text
//!            CC.EN 0→1, checks pass                       CC.SHN
//! Disabled ─────────────────────────► Ready ──────────────────────────► flush ──► shut down
//!     ▲                                 │ CC.EN 1→0                                  │ CC.EN 1→0
//!     └── the last request ended ── Draining ◄───────────────────────────────────────┘
//! ```

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::errand::Reason;
use super::{Card, Control, Phase, Shutdown};
use crate::abi::{CQE, PAGE, SQE};
use crate::admin::events::Events;
use crate::admin::queue::AdminQueue;
use crate::admin::settings::Settings;
use crate::completion::CqConfig;
use crate::registers::Configuration;

/// How long a reset of the function, or the end of bus mastering, waits for requests in flight at most.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The host enabled the controller in a way in which it cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotEnable {
    #[error("configuration {0:#x} asks for what there is not")]
    Configuration(u32),
    #[error("an admin queue has less than two entries")]
    Size,
    #[error("an admin queue is not in memory")]
    Memory,
}

impl Card {
    /// The host writes CC.
    pub(super) fn configure(&self, control: &mut Control, new: Configuration) {
        let old = std::mem::replace(&mut control.configuration, new);
        match (old.enabled(), new.enabled(), control.phase) {
            (false, true, Phase::Draining { looks_ready: true }) => {
                // It has not seen the reset end.
                control.configuration = new.disabled();
            }
            (false, true, Phase::Disabled) => self.enable(control),
            // Enabled when the last request has ended.
            (false, true, _) => {}
            (true, false, phase) => self.begin_reset(control, phase == Phase::Ready),
            _ => {}
        }
        match (control.shutdown, new.shuts_down()) {
            (Shutdown::None, true) if !new.enabled() || control.phase == Phase::Ready => {
                control.shutdown = Shutdown::Going;
                self.send(control, Reason::Shutdown);
            }
            (Shutdown::Over, false) => control.shutdown = Shutdown::None,
            _ => {}
        }
    }

    fn enable(&self, control: &mut Control) {
        control.shutdown = Shutdown::None;
        if let Some(errand) = &mut control.errand {
            errand.reason = Reason::Gone;
        }
        // Failures and doorbells of before do not count.
        self.clear_failure(control);
        let configuration = control.configuration;
        let queues = match configuration.is_possible() {
            true => self.admin_queues(control),
            false => Err(CannotEnable::Configuration(configuration.0)),
        };
        match queues {
            Ok((admin, completions)) => {
                control.admin = admin;
                if let Some(queue) = self.completions.first() {
                    queue.open(completions);
                }
                control.phase = Phase::Ready;
            }
            Err(why) => self.fail(&why),
        }
        if self.is_fatal() {
            self.alarm.fail();
        }
    }

    /// The admin queues where registers say. Fails if they cannot be there.
    pub(super) fn admin_queues(
        &self,
        control: &Control,
    ) -> Result<(AdminQueue, CqConfig), CannotEnable> {
        let entries = |bits: u32| match bits & 0xfff {
            0 => Err(CannotEnable::Size),
            bits => Ok((bits as u16).saturating_add(1)),
        };
        let sq_size = entries(control.admin_sizes)?;
        let cq_size = entries(control.admin_sizes >> 16)?;
        let in_ram = |base: u64, size: u16, entry: u64| {
            let len = usize::from(size).saturating_mul(entry as usize);
            base.is_multiple_of(PAGE) && self.memory.check_range(GuestAddress(base), len)
        };
        let (sq, cq) = (control.admin_sq, control.admin_cq);
        if !in_ram(sq, sq_size, SQE) || !in_ram(cq, cq_size, CQE) {
            return Err(CannotEnable::Memory);
        }
        let admin = AdminQueue::new(sq, sq_size, &self.memory);
        Ok((admin, CqConfig { base: cq, size: cq_size, vector: self.vector(0) }))
    }

    /// The controller forgets all but its admin queues' places. Once this returns nothing is told to the
    /// host; requests in flight may still move their data.
    fn begin_reset(&self, control: &mut Control, looks_ready: bool) {
        control.resets = control.resets.wrapping_add(1);
        // Before anything else: the host may use these pages otherwise.
        control.doorbell_pages = None;
        for id in 1..=self.queue_count() {
            self.bells.get(id).into_iter().for_each(|bell| bell.shadow.forget());
        }
        self.completions.iter().for_each(|queue| queue.close());
        for (_, sq) in control.queues.iter_mut() {
            (sq.deletion, sq.binding) = (None, None);
        }
        control.admin = AdminQueue::default();
        control.events = Events::default();
        control.aborts = 0;
        self.errors.clear();
        control.settings = Settings::new(self.queue_count().saturating_add(1));
        control.shutdown = Shutdown::None;
        control.interrupt_mask = 0;
        if let Some(errand) = &mut control.errand {
            errand.reason = Reason::Gone;
        }
        self.write_cache.store(true, Ordering::Relaxed);
        self.clear_failure(control);
        control.phase = Phase::Draining { looks_ready };
    }

    /// The reset is over if the last request has ended; whether that is so now.
    pub(super) fn end_reset(&self, control: &mut Control) -> bool {
        let draining = matches!(control.phase, Phase::Draining { .. });
        if !draining || !control.all_home() {
            return false;
        }
        control.queues.clear();
        for id in 1..=self.queue_count() {
            self.bells.get(id).into_iter().for_each(|bell| bell.close());
        }
        // What broke meanwhile is gone.
        self.clear_failure(control);
        control.phase = Phase::Disabled;
        if control.configuration.enabled() {
            self.enable(control);
        }
        true
    }

    pub(super) fn clear_failure(&self, control: &mut Control) {
        self.alarm.clear();
        control.failure_seen = false;
    }

    /// As after power-on, but for what the one who runs the machine has set. Waits for requests in
    /// flight, but not for ever.
    pub(crate) fn power_on(&self) {
        self.with(|control| self.reset_registers(control));
        self.wait_a_while(Control::all_home);
    }

    /// Waits for requests in flight, but not for ever: the host is not to hang a vCPU.
    fn wait_a_while(&self, enough: impl Fn(&Control) -> bool) {
        let deadline = Instant::now().checked_add(LONGEST_WAIT);
        if !self.wait_for_rings(deadline, enough) {
            tracing::warn!(
                "disk {}: requests have been with the host for {LONGEST_WAIT:?} after its controller was \
                 stopped; it can be used when they have ended",
                self.id
            );
        }
    }

    pub(super) fn reset_registers(&self, control: &mut Control) {
        self.begin_reset(control, false);
        control.configuration = Configuration::default();
        control.admin_sizes = 0;
        (control.admin_sq, control.admin_cq) = (0, 0);
        control.bus_master = false;
    }

    /// The machine runs or rests.
    pub(crate) fn set_started(&self, started: bool) {
        self.with(|control| control.started = started);
        if started {
            // What was asked for meanwhile.
            self.with(|control| self.run_commands(control));
        } else {
            self.wait_for_rings(None, Control::all_home);
        }
    }

    /// The guest lets the controller do DMA, or no more. What was asked for meanwhile is done then.
    pub(crate) fn set_bus_master(&self, on: bool) {
        self.with(|control| control.bus_master = on);
        if on {
            self.with(|control| self.run_commands(control));
        } else {
            // A flush of the controller's own touches no memory of the guest's.
            self.wait_a_while(|control| control.queues.are_home());
        }
    }
}
