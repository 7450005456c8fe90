//! What of the controller outlives its process, and how another goes on from there.
//!
//! Where BAR 0 is, whether the controller may do DMA and what MSI-X vectors are at is the PCI function's.
//! No request is with the disk: a machine that stops waits for those.

use std::sync::atomic::Ordering;

use block::spec::Model;
use device_core::limiter::Levels;
use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::errand::{Errand, Reason};
use super::{Card, Control, Phase, Shutdown};
use crate::admin::events::Events;
use crate::admin::events::saved::EventsState;
use crate::admin::queue::saved::AdminState;
use crate::admin::queues::saved::QueuesState;
use crate::admin::settings::Settings;
use crate::admin::statistics::Statistics;
use crate::alarm::Alarm;
use crate::completion::saved::CqState;
use crate::errors::saved::ErrorsState;
use crate::registers::Configuration;
use crate::saved::{KIND, bad};

/// The state of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    controller: Facts,
    registers: Registers,
    /// The admin queues, if the controller is ready.
    admin: Option<AdminState>,
    admin_completion: Option<CqState>,
    queues: QueuesState,
    events: EventsState,
    settings: Settings,
    /// The host has not switched the write cache off.
    write_cache: bool,
    /// A flush of the controller's own that is not over.
    flush: Option<Reason>,
    errors: ErrorsState,
    /// Bytes of the disk, as the host was told.
    size: u64,
    /// How far the disk's limits are used up.
    limits: Levels,
    statistics: Statistics,
    resets: u64,
    /// Faults that are on: it answers no more, or fails whenever it is enabled.
    gone: bool,
    fatal: bool,
}

/// What the host was told and may rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    model: Model,
    serial: String,
    /// I/O queues of either kind.
    queues: u16,
    /// Bytes of the disk.
    capacity: u64,
    read_only: bool,
    /// There is a write cache.
    cache: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registers {
    /// CC.
    configuration: u32,
    admin_sizes: u32,
    admin_sq: u64,
    admin_cq: u64,
    interrupt_mask: u32,
    shutdown: Shutdown,
    /// The controller has failed.
    failed: bool,
    /// The host was told.
    failure_told: bool,
    /// Doorbells were written wrong and nobody was told, as [`Alarm::noted`] has it.
    bad_doorbells: u8,
}

impl Card {
    /// Why there is no state now, if there is none.
    pub(crate) fn is_busy(&self) -> Option<&'static str> {
        self.with(|control| match () {
            () if control.started || !control.all_home() => Some("is at work"),
            () if control.aborts > 0 => Some("waits for a command to be taken back"),
            () => None,
        })
    }

    fn facts(&self) -> Facts {
        Facts {
            model: self.model,
            serial: self.identity.serial.clone(),
            queues: self.queue_count(),
            capacity: self.lanes.size(),
            read_only: self.read_only,
            cache: self.has_cache,
        }
    }

    /// Refuses a state whose host was told other things.
    fn check_facts(&self, told: &Facts) -> Result<(), LoadError> {
        let check = |field, told: &dyn ToString, own: &dyn ToString| {
            let (told, own) = (told.to_string(), own.to_string());
            let differs = || bad(field, format!("the guest knows {told}, and here it is {own}"));
            if told == own { Ok(()) } else { Err(differs()) }
        };
        let own = self.facts();
        let model = |model: Model| format!("{model:?}");
        check("controller.model", &model(told.model), &model(own.model))?;
        check("controller.serial", &told.serial, &own.serial)?;
        check("controller.queues", &told.queues, &own.queues)?;
        check("controller.capacity", &told.capacity, &own.capacity)?;
        check("controller.read_only", &told.read_only, &own.read_only)?;
        check("controller.cache", &told.cache, &own.cache)
    }

    fn save_registers(&self, control: &Control) -> Registers {
        Registers {
            configuration: control.configuration.0,
            admin_sizes: control.admin_sizes,
            admin_sq: control.admin_sq,
            admin_cq: control.admin_cq,
            interrupt_mask: control.interrupt_mask,
            shutdown: control.shutdown,
            failed: self.alarm.has_failed(),
            failure_told: control.failure_seen,
            bad_doorbells: self.alarm.noted(),
        }
    }

    fn load_registers(&self, control: &mut Control, state: &Registers) -> Result<(), LoadError> {
        if state.bad_doorbells & !Alarm::DOORBELLS != 0 {
            return Err(bad("registers.bad_doorbells", "there are no others"));
        }
        control.configuration = Configuration(state.configuration);
        control.admin_sizes = state.admin_sizes & super::access::ADMIN_SIZES;
        (control.admin_sq, control.admin_cq) = (state.admin_sq, state.admin_cq);
        control.interrupt_mask = state.interrupt_mask;
        control.shutdown = state.shutdown;
        self.clear_failure(control);
        if state.failed {
            control.failure_seen = state.failure_told;
            self.alarm.fail();
        }
        self.alarm.note_again(state.bad_doorbells);
        Ok(())
    }

    /// The admin queues, made as enabling the controller makes them.
    fn load_admin(
        &self,
        control: &mut Control,
        state: AdminState,
        completion: &CqState,
    ) -> Result<(), LoadError> {
        if !control.configuration.enabled() {
            return Err(bad("registers.configuration", "a disabled controller has no queues"));
        }
        let (mut admin, config) =
            self.admin_queues(control).map_err(|why| bad("registers", why.to_string()))?;
        let queue = self.completions.first().ok_or_else(|| bad("admin", "there is none"))?;
        if (completion.base, completion.vector) != (config.base, Some(0)) {
            return Err(bad("admin_completion", "it is not where registers say"));
        }
        admin.load(state)?;
        queue.open(config);
        queue.load(completion)?;
        control.admin = admin;
        control.phase = Phase::Ready;
        Ok(())
    }

    /// The flush that goes on, for who waits for it.
    fn load_flush(&self, control: &mut Control, flush: Option<Reason>) -> Result<(), LoadError> {
        let is_ready = control.phase == Phase::Ready;
        let shuts_down = control.shutdown == Shutdown::Going;
        let fits = match flush {
            Some(Reason::Shutdown) => shuts_down,
            Some(Reason::CacheOff { .. }) => self.has_cache && is_ready && !shuts_down,
            Some(Reason::Gone) | None => !shuts_down,
        };
        if !fits {
            return Err(bad("flush", "nobody waits for it, or somebody for one that is not"));
        }
        control.errand = flush.map(Errand::new);
        Ok(())
    }

    /// What requests have waited for limits since the machine was first built, in microseconds: of bytes,
    /// and of requests.
    pub(crate) fn throttled_us(&self, control: &Control) -> [u64; 2] {
        let [bytes, requests] = self.port.throttled_us();
        let [bytes_before, requests_before] = control.throttled_before;
        [bytes.wrapping_add(bytes_before), requests.wrapping_add(requests_before)]
    }

    fn load_throttled_us(&self, control: &mut Control, [bytes, requests]: [u64; 2]) {
        let [bytes_now, requests_now] = self.port.throttled_us();
        control.throttled_before =
            [bytes.wrapping_sub(bytes_now), requests.wrapping_sub(requests_now)];
    }

    /// As after power-on, but for what is the function's.
    fn load_nothing(&self, control: &mut Control) -> Result<(), LoadError> {
        let bus_master = control.bus_master;
        self.reset_registers(control);
        control.bus_master = bus_master;
        self.end_reset(control);
        if control.phase == Phase::Disabled {
            return Ok(());
        }
        Err(bad("registers", "the controller that is to go on from there is at work"))
    }

    fn load_all(&self, control: &mut Control, state: State) -> Result<(), LoadError> {
        self.check_facts(&state.controller)?;
        self.load_nothing(control)?;
        self.load_registers(control, &state.registers)?;
        let failed = state.registers.failed;
        match (state.admin, &state.admin_completion) {
            (Some(admin), Some(completion)) => self.load_admin(control, admin, completion)?,
            (None, None) if !state.queues.is_empty() => {
                return Err(bad("queues", "a controller that is not ready has none"));
            }
            (None, None) if control.configuration.enabled() && !failed => {
                return Err(bad("registers.configuration", "an enabled controller is ready"));
            }
            (None, None) => {}
            _ => return Err(bad("admin", "there are both queues or none")),
        }
        if state.queues.lacks_a_ring() && !failed {
            return Err(bad(
                "queues.submission",
                "one was lost, and the controller has not failed",
            ));
        }
        self.load_queues(control, state.queues)?;
        self.load_flush(control, state.flush)?;
        if !state.settings.is_possible(self.queue_count().saturating_add(1)) {
            return Err(bad("settings", "no command can have set them"));
        }
        if !state.write_cache && !self.has_cache {
            return Err(bad("write_cache", "there is none that could be off"));
        }
        control.settings = state.settings;
        self.write_cache.store(state.write_cache, Ordering::Relaxed);
        control.events = Events::load(state.events)?;
        self.errors.load(state.errors)?;
        (control.size, control.resets) = (state.size, state.resets);
        self.port.set_levels(state.limits);
        self.load_throttled_us(control, state.statistics.throttled_us);
        self.load_statistics(&state.statistics)?;
        self.gone.store(state.gone, Ordering::Relaxed);
        self.fatal.store(state.fatal, Ordering::Relaxed);
        Ok(())
    }
}

impl Snapshot for Card {
    type State = State;
    const KIND: &'static str = KIND;
    const VERSION: u16 = 1;

    fn save(&self) -> State {
        self.with(|control| State {
            controller: self.facts(),
            registers: self.save_registers(control),
            admin: control.admin.save(),
            admin_completion: self.completions.first().and_then(|queue| queue.save()),
            queues: self.save_queues(control),
            events: control.events.save(),
            settings: control.settings.clone(),
            write_cache: self.write_cache.load(Ordering::Relaxed),
            flush: control.errand.as_ref().map(|errand| errand.reason),
            errors: self.errors.save(),
            size: control.size,
            limits: self.port.levels(),
            statistics: self.save_statistics(control),
            resets: control.resets,
            gone: self.is_gone(),
            fatal: self.is_fatal(),
        })
    }

    fn load(&self, state: State) -> Result<(), LoadError> {
        self.with(|control| {
            // Until it is started.
            control.started = false;
            self.load_all(control, state)
        })
    }
}
