//! The card's state behind its registers, and the rules about when it may do what.
//!
//! ```text
//! vCPU: registers ──► control (lock) ──► commands ──► plug, unplug ──► lanes
//! vCPU: doorbells ──► no lock                                            │
//! slow: attendant ──► control (lock) ◄── alarm ◄── broken ring ──────────┘
//! ```
//! Who holds the lock may wait for lanes; lanes never wait for the lock.

mod access;
pub mod queues;
mod saved;
pub mod settings;
pub mod totals;
mod upkeep;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::GuestRam;
use device_core::device::Kit;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::ram_window::RamWindow;
use net::control::NicEvent;
use net::control::inspect::Reset;
use net::mac::MacAddr;
use net::port::NetPort;
use net::spec::NicSpec;
use net::stage::filter::ReceiveFilter;
use net::stage::segment;
use serde::{Deserialize, Serialize};

use crate::admin::events::{EventQueue, Hints};
use crate::admin::queue::AdminQueue;
use crate::alarm::Alarm;
use crate::doorbells::Doorbells;
use crate::faults::{Mischief, Plan};
use crate::registers::ResetReason;
use crate::ring::{Rx, Tx, Vector};

use queues::Queues;
use settings::{MAX_MTU, Settings};
use totals::{Allowances, Totals};

/// Everything of the card that its device, its attendant and its commands share.
pub struct Card {
    pub(crate) id: String,
    pub(crate) mac: MacAddr,
    pub(crate) memory: GuestRam,
    pub(crate) port: NetPort<Tx, Rx>,
    pub(crate) msi: Arc<dyn MsiSet>,
    /// What is behind BAR 2: the rings of low-latency queues, if there can be any.
    pub(crate) window: Option<Arc<dyn RamWindow>>,
    pub(crate) doorbells: Doorbells,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) mischief: Arc<Mischief>,
    /// Queues of each direction.
    pub(crate) pairs: u16,
    pub(crate) max_mtu: u16,
    control: Mutex<Control>,
    log: LogLimit,
}

/// What is behind the lock.
pub struct Control {
    /// The machine runs, and the guest lets the card do DMA.
    started: bool,
    /// Since when it rests, if it does.
    stopped_at: Option<Instant>,
    bus_master: bool,
    resetting: bool,
    reset_finished: bool,
    bases: Bases,
    response: u64,
    /// The driver set a response address since the last reset.
    had_response: bool,
    /// No management interrupts, and whether one was held back.
    interrupts_masked: bool,
    interrupt_owed: bool,
    /// The attendant has seen the alarm.
    alarm_seen: bool,
    link_up: bool,
    pub(crate) admin: AdminQueue,
    pub(crate) events: EventQueue,
    pub(crate) hints: Hints,
    pub(crate) settings: Settings,
    pub(crate) queues: Queues,
    /// The packet path's counters at the last reset.
    pub(crate) base: Totals,
    /// What went beyond limits before the process began; see [`Allowances::exceeded`].
    exceeded_before: [u64; 5],
    pub(crate) resets: u64,
    pub(crate) last_reset: Option<ResetReason>,
    pub(crate) plan: Plan,
}

/// Ring addresses as written, until a CAPS register takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bases {
    commands: u64,
    answers: u64,
    events: u64,
}

impl Control {
    fn new(spec: &NicSpec, port: &NetPort<Tx, Rx>, max_mtu: u16) -> Control {
        Control {
            started: true,
            stopped_at: None,
            bus_master: false,
            resetting: false,
            reset_finished: false,
            bases: Bases::default(),
            response: 0,
            had_response: false,
            interrupts_masked: false,
            interrupt_owed: false,
            alarm_seen: false,
            link_up: port.link().is_up(),
            admin: AdminQueue::default(),
            events: EventQueue::new(Instant::now()),
            hints: Hints::default(),
            settings: Settings::new(max_mtu),
            queues: Queues::new(port.lanes()),
            base: Totals::of(port),
            exceeded_before: [0; 5],
            resets: 0,
            last_reset: None,
            plan: Plan::new(&spec.faults),
        }
    }

    /// When the attendant is wanted next.
    fn next_at(&self) -> Option<Instant> {
        // A plan waits while the card is down: its reset would undo what is wrong.
        let fault = self.plan.next_at().filter(|_| self.is_up());
        [self.events.next_at(), fault].into_iter().flatten().min()
    }

    /// Between the two halves of the reset handshake.
    pub(crate) fn is_resetting(&self) -> bool {
        self.resetting
    }

    /// The driver has brought the card up: there is a receive queue.
    pub(crate) fn is_up(&self) -> bool {
        !self.resetting && self.queues.receivers() > 0
    }
}

impl Card {
    /// A card on an open port.
    pub(crate) fn new(
        spec: &NicSpec,
        port: NetPort<Tx, Rx>,
        window: Option<Arc<dyn RamWindow>>,
        kit: &Kit<'_>,
    ) -> io::Result<Arc<Card>> {
        let mac = spec.mac.unwrap_or_else(MacAddr::random);
        let max_mtu = spec.mtu.unwrap_or(MAX_MTU);
        let pairs = port.lanes();
        let msi = kit.msi.allocate(pairs.saturating_add(1))?;
        let mischief = Arc::new(Mischief::default());
        let alarm = Arc::new(Alarm::new(mischief.clone())?);
        let bell = alarm.clone();
        port.link().set_listener(Some(Box::new(move || bell.call())));
        // Drivers have no format for what is left to them in received frames; but what has its
        // checksum open is completed by the lane at no more cost than by the host, and then known
        // to be right, and what is still to be cut costs one read instead of many.
        port.accept(segment::CUT)?;
        let mut filter = ReceiveFilter::promiscuous(mac);
        (filter.promiscuous, filter.all_multicast) = (false, true);
        port.set_receive_filter(&filter);
        port.set_inside(mac);
        let control = Control::new(spec, &port, max_mtu);
        Ok(Arc::new(Card {
            id: spec.id.clone(),
            mac,
            memory: kit.memory.clone(),
            doorbells: Doorbells::new(pairs, &msi, kit.windows)?,
            port,
            msi,
            window,
            alarm,
            mischief,
            pairs,
            max_mtu,
            control: Mutex::new(control),
            log: LogLimit::default(),
        }))
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` under the lock; calls the attendant if it is wanted at another time than before.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        let mut control = self.control();
        let before = control.next_at();
        let result = f(&mut control);
        if control.next_at() != before {
            self.alarm.call();
        }
        result
    }

    /// Whether rings in guest memory may be read and written.
    pub(crate) fn may_touch_memory(&self, control: &Control) -> bool {
        control.started && control.bus_master && !control.resetting
    }

    /// Whether I/O queues may.
    pub(crate) fn may_move_frames(&self, control: &Control) -> bool {
        self.may_touch_memory(control) && !self.alarm.is_raised()
    }

    /// The guest broke a structure that cannot do without: the fatal state.
    pub(crate) fn fail(&self, why: &dyn std::error::Error) {
        guest_warn!(self.log, "network card {}: fatal error: {why}", self.id);
        self.alarm.raise();
    }

    pub(crate) fn vector(&self, number: u16) -> Option<&Arc<Vector>> {
        self.doorbells.vector(number)
    }

    /// The number of a queue's vector, from 1 on, if it is one.
    pub(crate) fn vector_number(&self, number: u32) -> Option<u16> {
        u16::try_from(number).ok().filter(|number| self.vector(*number).is_some())
    }

    /// Frames longer than this MTU allows are not for the driver any more.
    pub(crate) fn limit_frames(&self, mtu: u16) {
        self.port.set_receive_mtu(mtu);
    }

    /// Brings hash function, key and table to the packet path.
    pub(crate) fn steer(&self, control: &Control) {
        let steering = self.port.steer(control.settings.rss.for_lanes(self.pairs));
        tracing::debug!("network card {}: frames are steered {steering:?}", self.id);
        self.activate_lanes(control);
    }

    /// Since the machine was first built.
    pub(crate) fn allowances(&self, control: &Control) -> Allowances {
        Allowances::from(self.port.allowances()).plus(control.exceeded_before)
    }

    /// DEV_CTL asks for a reset: everything stops before the guest can see it begun (2.4).
    fn begin_reset(&self, control: &mut Control, reason: ResetReason, now: Instant) {
        if control.resetting {
            return;
        }
        tracing::info!("network card {}: its driver resets it, reason {reason}", self.id);
        control.last_reset = Some(reason);
        control.resets = control.resets.wrapping_add(1);
        self.clear(control, now);
        self.port.outlook().tell(NicEvent::Reset(reset_of(reason)));
        control.resetting = true;
        control.reset_finished = false;
    }

    fn finish_reset(&self, control: &mut Control) {
        if control.resetting {
            control.resetting = false;
            control.reset_finished = true;
            self.clear_alarm(control);
        }
    }

    fn clear_alarm(&self, control: &mut Control) {
        self.alarm.clear();
        control.alarm_seen = false;
    }

    /// As after power-on.
    pub(crate) fn power_on(&self, now: Instant) {
        self.with(|control| {
            self.clear(control, now);
            (control.resetting, control.reset_finished) = (false, false);
            control.bus_master = false;
            self.clear_alarm(control);
        });
    }

    /// Forgets all that a reset clears (2.5).
    fn clear(&self, control: &mut Control, now: Instant) {
        self.drop_queues(control);
        self.doorbells.reset();
        control.bases = Bases::default();
        (control.response, control.had_response) = (0, false);
        (control.interrupts_masked, control.interrupt_owed) = (false, false);
        control.admin = AdminQueue::default();
        control.events = EventQueue::new(now);
        control.settings = Settings::new(self.max_mtu);
        self.mischief.clear();
        control.base = Totals::of(&self.port);
        self.limit_frames(self.max_mtu);
        self.steer(control);
    }

    /// The machine runs or rests.
    pub(crate) fn set_started(&self, started: bool, now: Instant) {
        self.with(|control| {
            control.started = started;
            self.settle(control);
            if started {
                control.stopped_at = None;
                control.events.resumed(now);
                // Not by the attendant, which may come later than a vCPU: a guest whose clock has leapt would find that it
                // heard nothing for too long.
                self.keep_alive(control, now);
            } else {
                control.stopped_at.get_or_insert(now);
                // Before anybody looks at interrupts: one may be due.
                self.doorbells.drain();
            }
        });
        self.alarm.call();
    }

    /// The guest lets the card do DMA, or no more. What was asked for meanwhile is done then.
    pub(crate) fn set_bus_master(&self, on: bool, now: Instant) {
        self.with(|control| {
            control.bus_master = on;
            self.settle(control);
            self.run_commands(control, now);
            self.post_events(control, now);
        });
        self.alarm.call();
    }
}

/// A reset by the driver, for people.
pub fn reset_of(reason: ResetReason) -> Reset {
    Reset { code: Some(reason.0), reason: reason.name() }
}
