//! The card's state behind its registers, and the rules about when it may do what.
//!
//! ```text
//! vCPU: registers ──► control (lock) ──► commands ──► plug, unplug ──► lanes
//! vCPU: doorbells ──► no lock                                            │
//! slow: attendant ──► control (lock) ◄── alarm ◄── broken ring ──────────┘
//! ```
//! Who holds the lock may wait for lanes; lanes never wait for the lock.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Kit;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::ram_window::RamWindow;
use net::control::{Fault, NicEvent};
use net::mac::MacAddr;
use net::port::NetPort;
use net::spec::NicSpec;
use net::stage::filter::ReceiveFilter;
use net::stage::segment;
use vm_memory::{Bytes, GuestAddress};

use crate::admin::events::{EventQueue, Hints};
use crate::admin::features::{MAX_MTU, Settings};
use crate::admin::queue::{AdminQueue, Ring};
use crate::admin::queues::Queues;
use crate::admin::stats::{Allowances, Totals};
use crate::alarm::Alarm;
use crate::doorbells::Doorbells;
use crate::faults::{Mischief, Plan};
use crate::inspect;
use crate::registers::{self, FIXED, Reg, ResetReason, status};
use crate::ring::{Rx, Tx, Vector};

/// Everything of the card that its device, its attendant and its commands share.
pub struct Card {
    pub(crate) id: String,
    pub(crate) mac: MacAddr,
    pub(crate) memory: GuestRam,
    pub(crate) port: NetPort<Tx, Rx>,
    pub(crate) msi: Arc<dyn MsiSet>,
    /// What is behind BAR 2: the rings of low-latency queues.
    /// `None`: there are none.
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
    pub(crate) resets: u64,
    pub(crate) last_reset: Option<ResetReason>,
    pub(crate) plan: Plan,
}

impl Control {
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

/// Ring addresses as written, until a CAPS register takes them.
#[derive(Clone, Copy, Debug, Default)]
struct Bases {
    commands: u64,
    answers: u64,
    events: u64,
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
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
        let control = Control {
            started: true,
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
            queues: Queues::new(pairs),
            base: Totals::of(&port),
            resets: 0,
            last_reset: None,
            plan: Plan::new(&spec.faults),
        };
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

    /// Shows the window to the guest at `at`. Where that cannot be, each access is an exit: slower,
    /// but the same.
    pub(crate) fn place_window(&self, at: Option<u64>) {
        if let Some(window) = &self.window
            && let Err(error) = window.place(at)
        {
            guest_warn!(self.log, "network card {}: BAR 2 is slow: {error}", self.id);
        }
    }

    /// A guest's access to the window that came as an exit.
    pub(crate) fn read_window(&self, offset: u64, width: Width) -> u64 {
        let mut bytes = [0; 8];
        let (wanted, _) = bytes.split_at_mut(width.bytes() as usize);
        if let Some(window) = &self.window {
            // The access lies within the BAR, and the window is as large.
            drop(window.memory().read_slice(wanted, GuestAddress(offset)));
        }
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write_window(&self, offset: u64, width: Width, value: u64) {
        let bytes = value.to_le_bytes();
        let (given, _) = bytes.split_at(width.bytes() as usize);
        if let Some(window) = &self.window {
            drop(window.memory().write_slice(given, GuestAddress(offset)));
        }
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

    pub(crate) fn allowances(&self) -> Allowances {
        self.port.allowances().into()
    }

    /// One management interrupt, or a note that one is owed.
    pub(crate) fn interrupt_management(&self, control: &mut Control) {
        if control.interrupts_masked {
            control.interrupt_owed = true;
        } else if let Some(vector) = self.msi.vector(0) {
            vector.fire();
        }
    }

    /// Posts events that are due and have room.
    pub(crate) fn post_events(&self, control: &mut Control, now: Instant) {
        if !self.may_touch_memory(control) {
            return;
        }
        let link_up = control.link_up;
        match control.events.post(link_up, now, &self.memory) {
            Ok(true) => self.interrupt_management(control),
            Ok(false) => {}
            Err(why) => {
                control.events.set_ring(None);
                self.fail(&why);
            }
        }
    }

    /// Reads a fixed register.
    pub(crate) fn read_register(&self, register: Reg) -> u32 {
        self.peek(&self.control(), register)
    }

    fn peek(&self, control: &Control, register: Reg) -> u32 {
        match register {
            Reg::Version => registers::VERSION,
            Reg::ControllerVersion => registers::CONTROLLER_VERSION,
            Reg::Caps => registers::CAPS,
            Reg::AcqTail => control.admin.produced().into(),
            Reg::AenqTail => control.events.produced().into(),
            Reg::InterruptMask => control.interrupts_masked.into(),
            Reg::DeviceStatus => {
                let bit = |set: bool, bit: u32| if set { bit } else { 0 };
                status::READY
                    | bit(control.resetting, status::RESET_IN_PROGRESS)
                    | bit(control.reset_finished, status::RESET_FINISHED)
                    | bit(self.alarm.is_raised(), status::FATAL_ERROR)
            }
            _ => 0,
        }
    }

    /// Writes a fixed register; what it asks for has happened when this returns.
    pub(crate) fn write_register(&self, register: Reg, value: u32, now: Instant) {
        self.with(|control| self.poke(control, register, value, now));
    }

    fn poke(&self, control: &mut Control, register: Reg, value: u32, now: Instant) {
        match register {
            Reg::AqBaseLow => set_low(&mut control.bases.commands, value),
            Reg::AqBaseHigh => set_high(&mut control.bases.commands, value),
            Reg::AcqBaseLow => set_low(&mut control.bases.answers, value),
            Reg::AcqBaseHigh => set_high(&mut control.bases.answers, value),
            Reg::AenqBaseLow => set_low(&mut control.bases.events, value),
            Reg::AenqBaseHigh => set_high(&mut control.bases.events, value),
            Reg::AqCaps => {
                let ring = self.latch(control.bases.commands, value);
                control.admin.set_commands(ring);
            }
            Reg::AcqCaps => {
                let ring = self.latch(control.bases.answers, value);
                control.admin.set_answers(ring);
            }
            Reg::AenqCaps => {
                let ring = self.latch(control.bases.events, value);
                control.events.set_ring(ring);
            }
            Reg::AqDoorbell if !control.resetting => {
                control.admin.ring(value);
                self.run_commands(control, now);
                self.post_events(control, now);
            }
            Reg::AenqHead => {
                control.events.grant(value, now);
                self.post_events(control, now);
            }
            Reg::InterruptMask => {
                control.interrupts_masked = value & 1 != 0;
                if !control.interrupts_masked && std::mem::take(&mut control.interrupt_owed) {
                    self.interrupt_management(control);
                }
            }
            Reg::DeviceControl if value & registers::CONTROL_RESET != 0 => {
                self.begin_reset(control, ResetReason::of(value), now);
            }
            Reg::DeviceControl => self.finish_reset(control),
            Reg::MmioRead => self.answer_readless(control, value),
            Reg::MmioResponseLow => set_low(&mut control.response, value),
            Reg::MmioResponseHigh => {
                set_high(&mut control.response, value);
                if control.response != 0 {
                    control.had_response = true;
                } else if control.had_response && !control.resetting {
                    control.events.abandon();
                }
            }
            // No driver sets single entries here, and the admin command does as well.
            _ => {}
        }
    }

    fn latch(&self, base: u64, caps: u32) -> Option<Ring> {
        match Ring::latch(base, caps, &self.memory) {
            Ok(ring) => ring,
            Err(why) => {
                self.fail(&why);
                None
            }
        }
    }

    /// Answers a register read by a write to the driver's cell: value and offset are visible no
    /// later than the id (2.3). Works in every state.
    fn answer_readless(&self, control: &Control, request: u32) {
        if control.response == 0 || !control.started || !control.bus_master {
            return;
        }
        let offset = u64::from(request >> 16);
        let register = FIXED.find(offset, Width::B4);
        let value = register.map_or(u32::MAX, |register| self.peek(control, register));
        // The request is laid out as its echo.
        let cell = u64::from(request) | u64::from(value) << 32;
        let at = GuestAddress(control.response);
        if self.memory.store(cell.to_le(), at, Ordering::Release).is_err() {
            // Not aligned, or not all in RAM: then the parts that are, the id last.
            let (value, id) = (value.to_le_bytes(), request.to_le_bytes());
            let value_at = GuestAddress(control.response.wrapping_add(4));
            if self.memory.write_slice(&value, value_at).is_ok() {
                drop(self.memory.write_slice(&id, at));
            }
        }
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
        self.port.outlook().tell(NicEvent::Reset(inspect::reset(reason)));
        control.resetting = true;
        control.reset_finished = false;
    }

    fn finish_reset(&self, control: &mut Control) {
        if control.resetting {
            control.resetting = false;
            control.reset_finished = true;
            self.alarm.clear();
            control.alarm_seen = false;
        }
    }

    /// As after power-on.
    pub(crate) fn power_on(&self, now: Instant) {
        self.with(|control| {
            self.clear(control, now);
            (control.resetting, control.reset_finished) = (false, false);
            control.bus_master = false;
            self.alarm.clear();
            control.alarm_seen = false;
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
                control.events.resumed(now);
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

    /// Makes something go wrong.
    pub(crate) fn inject(&self, fault: Fault, now: Instant) {
        self.with(|control| self.go_wrong(control, fault, now));
    }

    fn go_wrong(&self, control: &mut Control, fault: Fault, now: Instant) {
        self.port.outlook().tell(NicEvent::Fault { fault });
        match fault {
            Fault::StopKeepAlive => control.events.withhold_keep_alives(true, now),
            Fault::NoAnswer => self.mischief.leave_unanswered(1),
            Fault::SwallowTxCompletions(count) => self.mischief.swallow(count),
            Fault::WrongTxRequestId => self.mischief.invent_ids(1),
            Fault::RequestReset => {
                control.events.request_reset();
                self.post_events(control, now);
            }
            Fault::Fatal => self.alarm.raise(),
        }
    }

    /// Advises the driver of other timeouts.
    pub(crate) fn advise(&self, hints: Hints, now: Instant) {
        self.with(|control| {
            control.hints = hints;
            control.events.advise(hints);
            self.post_events(control, now);
        });
    }

    /// Nothing goes wrong any more, but for what has.
    pub(crate) fn behave(&self, now: Instant) {
        self.with(|control| {
            self.mischief.clear();
            if !self.alarm.is_raised() {
                control.events.withhold_keep_alives(false, now);
            }
        });
    }

    /// Does what is due at `now`; returns when to come again.
    pub(crate) fn attend(&self, now: Instant) -> Option<Instant> {
        let control = &mut *self.control();
        if self.alarm.is_raised() && !control.alarm_seen && !control.resetting {
            control.alarm_seen = true;
            self.port.outlook().tell(NicEvent::Failed);
            self.settle(control);
            control.events.request_reset();
            // Drivers that do not know the event find out by the silence.
            control.events.withhold_keep_alives(true, now);
        }
        let link_up = self.port.link().is_up();
        if link_up != control.link_up {
            control.link_up = link_up;
            control.events.link_changed();
        }
        while control.is_up()
            && let Some(fault) = control.plan.take(now)
        {
            tracing::info!("network card {}: goes wrong as planned: {fault:?}", self.id);
            self.go_wrong(control, fault, now);
        }
        self.post_events(control, now);
        if !self.may_touch_memory(control) {
            return None;
        }
        if control.events.take_keep_alive(now) {
            let drops = self.totals(control).drops();
            match control.events.keep_alive(drops, now, &self.memory) {
                Ok(true) => self.interrupt_management(control),
                Ok(false) => {}
                Err(why) => {
                    control.events.set_ring(None);
                    self.fail(&why);
                }
            }
        }
        control.next_at()
    }
}
