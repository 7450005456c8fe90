//! The controller's state behind its registers, and the rules about when it may do what.
//!
//! ```text
//! vCPU: registers ──► control (lock) ──► commands ──► plug, unplug ──► lanes
//! vCPU: doorbells ──► no lock                                            │
//! slow: attendant ──► control (lock) ◄── alarm ◄── home ◄── ring ────────┘
//! ```
//! Nobody waits for requests in flight, and lanes never wait for the lock: a ring that has ended its last
//! one is put at home's door, and whoever takes the lock next lets it in.

mod access;
mod errand;
pub mod home;
mod phase;
pub mod queues;
mod saved;
mod settle;
mod upkeep;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use block::port::PortControl;
use block::spec::{Cache, DiskSpec, Fault, Model};
use device_core::GuestRam;
use device_core::device::Kit;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::kick::KickBinder;
use serde::{Deserialize, Serialize};

use crate::admin::events::Events;
use crate::admin::queue::AdminQueue;
use crate::admin::settings::Settings;
use crate::alarm::Alarm;
use crate::completion::{CompletionQueue, Vector};
use crate::doorbells::SqBells;
use crate::errors::ErrorLog;
use crate::identity::Identity;
use crate::lanes::Lanes;
use crate::registers::Configuration;
use crate::stats::LaneStats;

use errand::Errand;
pub(crate) use errand::Reason;
use home::Home;
use queues::Queues;

/// Everything of the controller that its device, its attendant and its commands share.
pub struct Card {
    pub(crate) id: String,
    pub(crate) identity: Identity,
    pub(crate) memory: GuestRam,
    pub(crate) lanes: Box<dyn Lanes>,
    pub(crate) port: Arc<dyn PortControl>,
    pub(crate) model: Model,
    pub(crate) msi: Arc<dyn MsiSet>,
    pub(crate) kicks: Arc<dyn KickBinder>,
    /// By number from 1 on, one for each lane.
    pub(crate) bells: SqBells,
    /// By number; the first is the admin queue's.
    pub(crate) completions: Vec<Arc<CompletionQueue>>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) errors: Arc<ErrorLog>,
    /// The host has the write cache on.
    pub(crate) write_cache: Arc<AtomicBool>,
    /// Writes may be lost until they are flushed, and the host is told.
    pub(crate) has_cache: bool,
    pub(crate) read_only: bool,
    /// By lane.
    pub(crate) stats: Vec<Arc<LaneStats>>,
    pub(crate) home: Arc<Home>,
    /// The controller answers no more, until it is told to.
    gone: AtomicBool,
    /// It fails as soon as it is enabled, until it is told not to.
    fatal: AtomicBool,
    control: Mutex<Control>,
    log: LogLimit,
}

/// What the controller is at. See [`crate::registers::status`] for what of it the host sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has no queues.
    Disabled,
    /// It takes commands.
    Ready,
    /// Being reset: requests in flight end, and nothing is told of them. Until then it may have to look
    /// ready.
    Draining {
        /// CSTS.RDY stays.
        looks_ready: bool,
    },
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shutdown {
    /// Nobody asked for one.
    #[default]
    None,
    /// What was written is being made durable.
    Going,
    /// Power may go.
    Over,
}

/// What is behind the lock.
pub struct Control {
    /// The machine runs, and the guest lets the controller do DMA.
    started: bool,
    bus_master: bool,
    pub(crate) phase: Phase,
    shutdown: Shutdown,
    configuration: Configuration,
    admin_sizes: u32,
    admin_sq: u64,
    admin_cq: u64,
    interrupt_mask: u32,
    /// The attendant has seen that the controller failed.
    failure_seen: bool,
    /// Guest-physical address of BAR 0.
    mapped: Option<u64>,
    pub(crate) admin: AdminQueue,
    pub(crate) events: Events,
    /// Aborts that wait for their answer.
    pub(crate) aborts: u8,
    pub(crate) settings: Settings,
    pub(crate) queues: Queues,
    /// What the controller has to do on the disk itself.
    errand: Option<Errand>,
    /// Pages of doorbells and of what goes with them.
    pub(crate) doorbell_pages: Option<[u64; 2]>,
    /// Bytes of the disk, as the host was told.
    pub(crate) size: u64,
    pub(crate) resets: u64,
    /// What requests waited for limits before the process began; see [`PortControl::throttled_us`].
    throttled_before: [u64; 2],
}

impl Control {
    fn new(queues: u16, size: u64) -> Control {
        Control {
            started: true,
            bus_master: false,
            phase: Phase::Disabled,
            shutdown: Shutdown::None,
            configuration: Configuration::default(),
            admin_sizes: 0,
            admin_sq: 0,
            admin_cq: 0,
            interrupt_mask: 0,
            failure_seen: false,
            mapped: None,
            admin: AdminQueue::default(),
            events: Events::default(),
            aborts: 0,
            settings: Settings::new(queues.saturating_add(1)),
            queues: Queues::new(queues),
            errand: None,
            doorbell_pages: None,
            size,
            resets: 0,
            throttled_before: [0; 2],
        }
    }
}

impl Control {
    /// The controller has something to do on the disk itself.
    pub(crate) fn is_busy(&self) -> bool {
        self.errand.is_some()
    }

    /// No ring is on a lane.
    fn all_home(&self) -> bool {
        self.queues.are_home() && self.errand.as_ref().is_none_or(Errand::is_home)
    }
}

impl Card {
    /// A controller of the disk that `spec` describes and `lanes` reach.
    pub(crate) fn new(
        spec: &DiskSpec,
        lanes: Box<dyn Lanes>,
        port: Arc<dyn PortControl>,
        kit: &Kit<'_>,
    ) -> io::Result<Arc<Card>> {
        let queues = lanes.count();
        let memory = kit.memory.clone();
        let completion = |_| Arc::new(CompletionQueue::new(memory.clone()));
        let alarm = Arc::new(Alarm::new()?);
        Ok(Arc::new(Card {
            id: spec.id.clone(),
            identity: Identity::of(spec),
            msi: kit.msi.allocate(queues.saturating_add(1))?,
            kicks: kit.kicks.clone(),
            bells: SqBells::new(queues, &memory)?,
            completions: (0..=queues).map(completion).collect(),
            home: Arc::new(Home::new(alarm.clone())),
            alarm,
            errors: Arc::default(),
            write_cache: Arc::new(AtomicBool::new(true)),
            has_cache: spec.cache == Cache::Writeback && !spec.read_only,
            read_only: spec.read_only,
            stats: (0..queues).map(|_| Arc::default()).collect(),
            gone: AtomicBool::new(spec.faults.contains(&Fault::Vanish)),
            fatal: AtomicBool::new(spec.faults.contains(&Fault::Fatal)),
            control: Mutex::new(Control::new(queues, lanes.size())),
            log: LogLimit::default(),
            model: spec.model,
            lanes,
            port,
            memory,
        }))
    }

    /// I/O queues of either kind that there can be.
    pub(crate) fn queue_count(&self) -> u16 {
        self.lanes.count()
    }

    /// The interrupt `number`, if there is one.
    pub(crate) fn vector(&self, number: u16) -> Option<Vector> {
        self.msi.vector(number).map(|msi| Vector { number, msi })
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` under the lock, with all rings in that have come home, and sees to what follows from it.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        let mut control = self.control();
        self.settle(&mut control);
        let result = f(&mut control);
        self.settle(&mut control);
        result
    }

    /// Whether queues in guest memory may be read and written.
    pub(crate) fn may_touch_memory(&self, control: &Control) -> bool {
        control.started && control.bus_master
    }

    /// Whether admin commands may be taken.
    pub(crate) fn takes_commands(&self, control: &Control) -> bool {
        self.may_touch_memory(control) && control.phase == Phase::Ready && !self.alarm.has_failed()
    }

    /// Whether I/O queues may have their rings on lanes.
    fn runs_queues(&self, control: &Control) -> bool {
        self.takes_commands(control)
            && control.errand.is_none()
            && control.shutdown == Shutdown::None
    }

    /// The guest broke a structure that cannot do without: the fatal state.
    pub(crate) fn fail(&self, why: &dyn std::error::Error) {
        guest_warn!(self.log, "disk {}: its controller fails: {why}", self.id);
        self.alarm.fail();
    }

    /// Whether the controller answers no more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether it is to fail on purpose.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Relaxed)
    }

    /// It fails now and whenever it is enabled; or it will no more, once the host has reset it.
    pub(crate) fn set_fatal(&self, fatal: bool) {
        self.fatal.store(fatal, Ordering::Relaxed);
        if fatal {
            self.alarm.fail();
        }
    }
}
