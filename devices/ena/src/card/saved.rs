//! What of the card outlives its process, and how another goes on from there.
//!
//! Where BARs are, whether the card may do DMA and what MSI-X vectors are at is the PCI function's.
//! Limits begin anew, and flows are steered and tracked as if they were new.

use std::time::Instant;

use device_core::GuestRam;
use device_core::snapshot::{LoadError, Snapshot};
use net::mac::MacAddr;
use net::neighbour::{MOST, Neighbour};
use net::port::PortControl;
use net::stage::limiter::Levels;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::settings::MIN_MTU;
use super::totals::Totals;
use super::{Bases, Card, Control};
use crate::admin::events::saved::EventsState;
use crate::admin::events::{EventQueue, Hints};
use crate::admin::features::transmit_offloads;
use crate::admin::llq;
use crate::admin::queue::AdminQueue;
use crate::admin::queue::saved::AdminState;
use crate::admin::queues::saved::QueuesState;
use crate::admin::rss::{self, RssState};
use crate::faults::{MischiefState, PlanState};
use crate::host_info::HostInfo;
use crate::registers::ResetReason;
use crate::ring::{LlqPolicy, VectorState};
use crate::saved::{KIND, bad};

/// Bytes of a window that are kept together.
const PIECE: usize = 0x1000;

/// The state of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    card: Facts,
    registers: Registers,
    admin: AdminState,
    events: EventsState,
    settings: Settings,
    queues: QueuesState,
    /// Of queues, from 1 on.
    vectors: Vec<VectorState>,
    /// What is behind BAR 2, but for zeroes; `None` without low-latency queues.
    window: Option<Vec<Piece>>,
    /// How far the card's limits are used up.
    limits: Levels,
    statistics: Statistics,
    faults: Faults,
    /// Addresses of the guest, the one seen last first.
    neighbours: Vec<Neighbour>,
}

/// What the driver was told and may rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    mac: MacAddr,
    pairs: u16,
    max_mtu: u16,
    /// Transmit offloads, as feature 11 has them.
    offloads: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registers {
    resetting: bool,
    reset_finished: bool,
    fatal: bool,
    /// The driver was asked for a reset because of that.
    fatal_told: bool,
    bases: Bases,
    response: u64,
    had_response: bool,
    interrupts_masked: bool,
    interrupt_owed: bool,
    /// As the driver knows the link.
    link_up: bool,
    /// The cable has been pulled out.
    cable_pulled: bool,
}

/// What features the driver set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    mtu: u16,
    llq: Option<LlqPolicy>,
    rss: RssState,
    host: Option<HostInfo>,
    /// The user's.
    hints: Hints,
}

/// Bytes of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    at: u64,
    #[serde(with = "device_core::snapshot::blob")]
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statistics {
    since_reset: Totals,
    /// In the order of GET_STATS.
    exceeded: [u64; 5],
    resets: u64,
    last_reset: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    waiting: MischiefState,
    plan: PlanState,
}

impl Card {
    /// Whether all rings are home, so that there is a state.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.control().started
    }

    fn facts(&self) -> Facts {
        let offloads = transmit_offloads(self.port.limits().tx);
        Facts { mac: self.mac, pairs: self.pairs, max_mtu: self.max_mtu, offloads }
    }

    /// Refuses a state whose driver was told other things.
    fn check_facts(&self, told: &Facts) -> Result<(), LoadError> {
        let Facts { mac, pairs, max_mtu, offloads } = self.facts();
        if told.mac != mac {
            let why = format!(
                "the driver knows {} and the card has {mac}; a running driver takes no other address, so unplug \
                 the card and plug in one with the new address once the machine runs",
                told.mac
            );
            return Err(bad("mac", why));
        }
        if told.pairs != pairs {
            let why = format!("the driver was told {}, and the card has {pairs}", told.pairs);
            return Err(bad("pairs", why));
        }
        if told.max_mtu != max_mtu {
            let why = format!("the driver was told {}, and the card has {max_mtu}", told.max_mtu);
            return Err(bad("max_mtu", why));
        }
        if told.offloads & !offloads != 0 {
            let why = "the driver was told of more than this backend can do";
            return Err(bad("offloads", why));
        }
        Ok(())
    }

    fn save_registers(&self, control: &Control) -> Registers {
        Registers {
            resetting: control.resetting,
            reset_finished: control.reset_finished,
            fatal: self.alarm.is_raised(),
            fatal_told: control.alarm_seen,
            bases: control.bases,
            response: control.response,
            had_response: control.had_response,
            interrupts_masked: control.interrupts_masked,
            interrupt_owed: control.interrupt_owed,
            link_up: control.link_up,
            cable_pulled: self.port.link().is_pulled(),
        }
    }

    fn load_registers(&self, control: &mut Control, state: &Registers) {
        (control.resetting, control.reset_finished) = (state.resetting, state.reset_finished);
        control.bases = state.bases;
        (control.response, control.had_response) = (state.response, state.had_response);
        control.interrupts_masked = state.interrupts_masked;
        control.interrupt_owed = state.interrupt_owed;
        control.link_up = state.link_up;
        self.clear_alarm(control);
        if state.fatal {
            control.alarm_seen = state.fatal_told;
            self.alarm.raise();
        }
    }

    fn save_settings(&self, control: &Control) -> Settings {
        let settings = &control.settings;
        Settings {
            mtu: settings.mtu,
            llq: settings.llq,
            rss: settings.rss.save(),
            host: settings.host.clone(),
            hints: control.hints,
        }
    }

    fn load_settings(&self, control: &mut Control, state: Settings) -> Result<(), LoadError> {
        let Settings { mtu, llq, rss, host, hints } = state;
        if !(MIN_MTU..=self.max_mtu).contains(&mtu) && mtu != self.max_mtu {
            return Err(bad("settings.mtu", format!("{mtu} cannot be set")));
        }
        if llq.is_some_and(|policy| self.window.is_none() || !llq::is_offered(&policy)) {
            return Err(bad("settings.llq", format!("{llq:?} is not offered")));
        }
        if host.as_ref().is_some_and(|host| !host.is_possible()) {
            return Err(bad("settings.host", "it is no text that a card reads"));
        }
        let rss = rss::Settings::load(&rss, self.pairs)?;
        control.settings = super::settings::Settings { mtu, llq, rss, host };
        control.hints = hints;
        Ok(())
    }

    fn load_vectors(&self, states: &[VectorState]) -> Result<(), LoadError> {
        let vectors = self.doorbells.vectors();
        if states.len() != vectors.len() {
            let why = format!("there are {}, not {}", states.len(), vectors.len());
            return Err(bad("vectors", why));
        }
        for (vector, state) in vectors.iter().zip(states) {
            vector.load(state);
        }
        Ok(())
    }

    fn load_window(&self, pieces: Option<&Vec<Piece>>) -> Result<(), LoadError> {
        let memory = self.window.as_ref().map(|window| window.memory());
        let (memory, pieces) = match (memory, pieces) {
            (None, None) => return Ok(()),
            (Some(memory), Some(pieces)) => (memory, pieces),
            (None, Some(_)) => return Err(bad("window", "the card has no low-latency queues")),
            (Some(_), None) => return Err(bad("window", "the card has low-latency queues")),
        };
        for piece in pieces {
            if memory.write_slice(&piece.bytes, GuestAddress(piece.at)).is_err() {
                let (at, len) = (piece.at, piece.bytes.len());
                return Err(bad("window", format!("{len} bytes at {at:#x} are not in it")));
            }
        }
        Ok(())
    }

    fn save_statistics(&self, control: &Control) -> Statistics {
        Statistics {
            since_reset: self.totals(control),
            exceeded: self.allowances(control).exceeded(),
            resets: control.resets,
            last_reset: control.last_reset.map(|ResetReason(code)| code),
        }
    }

    fn load_statistics(&self, control: &mut Control, state: &Statistics) {
        // What this process has counted goes on from there.
        control.base = Totals::of(&self.port).since(&state.since_reset);
        control.exceeded_before = [0; 5];
        let counted = self.allowances(control).exceeded();
        let before = state.exceeded.iter().zip(counted);
        for (place, (then, now)) in control.exceeded_before.iter_mut().zip(before) {
            *place = then.wrapping_sub(now);
        }
        control.resets = state.resets;
        control.last_reset = state.last_reset.map(ResetReason);
    }

    fn load_all(&self, control: &mut Control, state: State, now: Instant) -> Result<(), LoadError> {
        self.check_facts(&state.card)?;
        if state.neighbours.len() > MOST || !state.neighbours.iter().all(Neighbour::is_possible) {
            return Err(bad("neighbours", format!("no card knows these, or more than {MOST}")));
        }
        self.clear(control, now);
        self.port.remember(&state.neighbours);
        self.port.set_inside(self.mac);
        self.load_registers(control, &state.registers);
        control.admin = AdminQueue::load(&state.admin, &self.memory)?;
        control.events = EventQueue::load(&state.events, now, &self.memory)?;
        self.load_settings(control, state.settings)?;
        self.load_window(state.window.as_ref())?;
        let lost = |ring: bool| !ring && !state.registers.fatal;
        if state.registers.resetting && !state.queues.is_empty() {
            return Err(bad("queues", "a card that is reset has none"));
        }
        if state.queues.tx.iter().flatten().any(|sq| lost(sq.ring.is_some()))
            || state.queues.rx.iter().flatten().any(|sq| lost(sq.ring.is_some()))
        {
            return Err(bad("queues", "one was lost, and the card has not failed"));
        }
        self.load_queues(control, &state.queues)?;
        self.load_vectors(&state.vectors)?;
        self.port.set_levels(&state.limits);
        self.load_statistics(control, &state.statistics);
        self.mischief.load(&state.faults.waiting);
        if !control.plan.load(&state.faults.plan, now) {
            return Err(bad("faults.plan.age_ns", "no card is so old"));
        }
        self.limit_frames(control.settings.mtu);
        self.steer(control);
        Ok(())
    }
}

impl Snapshot for Card {
    type State = State;
    const KIND: &'static str = KIND;
    const VERSION: u16 = 1;

    fn save(&self) -> State {
        let control = &*self.control();
        let now = control.stopped_at.unwrap_or_else(Instant::now);
        State {
            card: self.facts(),
            registers: self.save_registers(control),
            admin: control.admin.save(),
            events: control.events.save(now),
            settings: self.save_settings(control),
            queues: self.save_queues(control, now),
            vectors: self.doorbells.vectors().iter().map(|vector| vector.save()).collect(),
            window: self.window.as_ref().map(|window| pieces(window.memory())),
            limits: self.port.levels(),
            statistics: self.save_statistics(control),
            faults: Faults { waiting: self.mischief.save(), plan: control.plan.save(now) },
            neighbours: self.port.neighbours(),
        }
    }

    fn load(&self, state: State) -> Result<(), LoadError> {
        let now = Instant::now();
        let pulled = state.registers.cable_pulled;
        self.with(|control| {
            // Until it is started.
            (control.started, control.stopped_at) = (false, Some(now));
            self.load_all(control, state, now)
        })?;
        self.port.set_link(!pulled);
        Ok(())
    }
}

/// Where the pieces of a window begin.
fn starts(memory: &GuestRam) -> impl Iterator<Item = u64> {
    (0..=memory.last_addr().0).step_by(PIECE)
}

/// All that is not zero.
fn pieces(memory: &GuestRam) -> Vec<Piece> {
    let piece = |at| {
        let mut bytes = vec![0; PIECE];
        memory.read_slice(&mut bytes, GuestAddress(at)).ok()?;
        bytes.iter().any(|byte| *byte != 0).then_some(Piece { at, bytes })
    };
    starts(memory).filter_map(piece).collect()
}
