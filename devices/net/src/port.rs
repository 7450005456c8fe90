//! What a card's front holds: a backend and its lanes, on threads of their own.

mod addresses;
mod control;
mod steering;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::GuestRam;
use device_core::device::Kit;
use device_core::worker::{IoThread, Post};

use crate::backend::interface::is_gone;
use crate::backend::packet::{self, OpenPacketError};
use crate::backend::tap::{self, OpenTapError, Opened as OpenTap, open_by_fds};
use crate::backend::vhost::{self, OpenVhostError};
use crate::backend::{Limits, NetBackend, NetQueue};
use crate::capture::Capture;
use crate::frame::Offloads;
use crate::lane::Lane;
use crate::lent::{Rings, Standing};
use crate::pipeline::LaneCounters;
use crate::ring::{RxRing, TxRing};
use crate::rss::hits::Hits;
use crate::rss::sorter::{self, Sorter, SorterCounters};
use crate::rss::{Rss, Steering};
use crate::service::Shares;
use crate::service::metadata::{Metadata, ServiceCounters};
use crate::spec::{BackendSpec, Mover, NicSpec, Outside, SpecError};
use crate::stage::delay::Delays;
use crate::stage::filter::ReceiveFilter;
use crate::stage::limiter::{Allowances, Allowed, Levels, Limiter};

pub use crate::link::{Link, Outlook};
pub use control::PortControl;

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The card cannot be as described.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The TAP is not to be had.
    #[error(transparent)]
    Tap(#[from] OpenTapError),
    /// The interface is not to be had.
    #[error(transparent)]
    Packet(#[from] OpenPacketError),
    /// The kernel's vhost-net is not to be had.
    #[error(transparent)]
    Vhost(#[from] OpenVhostError),
    /// The process is shut in.
    #[error(
        "{id}: interfaces, descriptors and vhost-net are not to be had any more once the guest runs; give the card before \
         the start, take a TAP by name, or start with --seccomp off"
    )]
    Late {
        /// The card's id.
        id: String,
    },
    /// The host has no threads or descriptors left.
    #[error("cannot start the I/O threads of {id}")]
    Threads {
        /// The card's id.
        id: String,
        /// What the host said.
        source: io::Error,
    },
}

/// A backend, and a lane for each of its queues.
///
/// Every call that reaches a lane waits until its thread answers, at most one turn; so none may be
/// made from a lane's thread.
pub struct NetPort<T, R> {
    lanes: Vec<Post<Lane<T, R>>>,
    counters: Vec<Arc<LaneCounters>>,
    limits: Limits,
    /// Rings are lent to the backend's queues, and lanes move no frames.
    lends: bool,
    link: Arc<Link>,
    outlook: Arc<Outlook>,
    limiter: Arc<Limiter>,
    /// For backends that cannot steer.
    sorter: Option<Post<Sorter>>,
    sorter_counters: Option<Arc<SorterCounters>>,
    memory: GuestRam,
    control: Mutex<Control>,
    /// What the card is called.
    id: String,
    capture: Mutex<Option<Capture>>,
    capture_home: IoThread,
    measured: Mutex<Measured>,
    /// What the service has done on this card, if it has one.
    served: Mutex<Option<Arc<ServiceCounters>>>,
}

/// How long frames take, by lane; empty before it was ever measured.
#[derive(Default)]
struct Measured {
    on: bool,
    delays: Vec<Arc<Delays>>,
}

struct Control {
    backend: Box<dyn NetBackend>,
    /// Lanes that the host may use, and that it shall use unless a table names all.
    active: u16,
    wanted: u16,
    steering: Steering,
    rss: Option<Rss>,
    /// How often each bucket was hit, by lane; empty while nobody finds hashes.
    hits: Vec<Arc<Hits>>,
    allowed: Allowed,
    /// What the wire sees in place of the guest's addresses.
    outside: Option<Outside>,
}

impl Control {
    /// For a backend all of whose `queues` are on.
    fn new(backend: Box<dyn NetBackend>, queues: u16) -> Control {
        Control {
            backend,
            active: queues,
            wanted: 1,
            steering: Steering::ByFlow,
            rss: None,
            hits: Vec::new(),
            allowed: Allowed::default(),
            outside: None,
        }
    }

    /// Tells the backend by which queues frames shall come; a sorter reads the first.
    fn spread(&mut self) -> io::Result<()> {
        let sorted = self.steering == Steering::Sorted;
        self.backend.spread(if sorted { 1 } else { self.active })
    }
}

type Opened = (Box<dyn NetBackend>, Vec<Box<dyn NetQueue>>);

fn boxed(opened: (impl NetBackend, Vec<impl NetQueue>)) -> Opened {
    let queues = opened.1.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
    (Box::new(opened.0), queues.collect())
}

/// Why there is nothing to be had that a lane does.
const PASSED_BY: &str =
    "with backend=vhost the guest's frames pass the vmm by; give the card without it";

/// Opens a TAP, and who moves its frames in place of lanes, if that is asked for.
fn moved(
    spec: &NicSpec,
    open: impl FnOnce() -> Result<OpenTap, OpenTapError>,
) -> Result<Opened, OpenError> {
    match spec.mover {
        Mover::Vmm => Ok(boxed(open()?)),
        Mover::Vhost => {
            // Before a TAP is made for it.
            let kernels = vhost::open(spec.queues)?;
            let lent = vhost::over(open()?, kernels);
            let lent = lent.map_err(|source| OpenError::Threads { id: spec.id.clone(), source })?;
            Ok(boxed(lent))
        }
    }
}

/// Whether a process that is shut in cannot have it.
fn is_early(spec: &NicSpec) -> bool {
    spec.mover == Mover::Vhost || !matches!(spec.backend, BackendSpec::Tap(_))
}

impl<T: TxRing, R: RxRing> NetPort<T, R> {
    /// Opens the backend of `spec` and starts a lane for each queue; only lane 0 is active. Fails if
    /// `spec` contradicts itself, or the host lacks what it needs.
    pub fn open(spec: &NicSpec, kit: &Kit<'_>) -> Result<NetPort<T, R>, OpenError> {
        spec.validate()?;
        let (backend, queues) = match &spec.backend {
            _ if is_early(spec) && !kit.files.is_own() => {
                return Err(OpenError::Late { id: spec.id.clone() });
            }
            BackendSpec::Tap(name) => {
                moved(spec, || tap::open_by(name, spec.queues, spec.mtu, kit.files))?
            }
            BackendSpec::Fd(fds) => moved(spec, || open_by_fds(fds, spec.mtu))?,
            BackendSpec::Dev(name) => boxed(packet::open_by_name(name, spec.queues, spec.mtu)?),
        };
        let port = NetPort::with_backend(&spec.id, backend, queues, kit)
            .map_err(|source| OpenError::Threads { id: spec.id.clone(), source })?;
        port.limit(&spec.limits);
        port.control().outside = spec.outside;
        Ok(port)
    }

    /// Starts a lane for each queue of an open backend; only lane 0 is active. Fails if the host has no
    /// threads or descriptors left.
    pub fn with_backend(
        id: &str,
        backend: Box<dyn NetBackend>,
        queues: Vec<Box<dyn NetQueue>>,
        kit: &Kit<'_>,
    ) -> io::Result<NetPort<T, R>> {
        let count = u16::try_from(queues.len()).unwrap_or(u16::MAX);
        let lends = backend.takes_rings();
        // Lanes that only lend and take back need no more than one.
        let busy = if lends { 1 } else { count };
        let threads = kit.threads.fast(&format!("net-{id}"), backend.duty(), busy)?;
        let memory = kit.memory.clone();
        let (sorter, queues) = if count > 1 && !backend.steers() {
            sorter::wrap(queues, memory.clone())
        } else {
            (None, queues)
        };
        let sorter_counters = sorter.as_ref().map(Sorter::counters);
        let sorter = match (sorter, threads.first()) {
            (Some(sorter), Some(home)) => Some(home.host(sorter)?),
            _ => None,
        };
        let outlook = Arc::new(Outlook::default());
        let link = Arc::new(Link::new(backend.name(), outlook.clone()));
        let limiter = Arc::new(Limiter::default());
        let counters: Vec<Arc<LaneCounters>> = queues.iter().map(|_| Arc::default()).collect();
        let lanes = (0..).zip(queues).zip(&counters).zip(threads.iter().cycle());
        let lanes = lanes.map(|(((index, queue), counters), home)| {
            let (link, counters) = (link.clone(), counters.clone());
            let mut lane = Lane::new(index, queue, memory.clone(), link, counters);
            lane.path.pipeline.limiter = limiter.clone();
            if kit.threads.may_spin() {
                lane.may_linger();
            }
            home.host(lane)
        });
        let port = NetPort {
            lanes: lanes.collect::<io::Result<_>>()?,
            counters,
            limits: backend.limits(),
            lends,
            link,
            outlook,
            limiter,
            sorter,
            sorter_counters,
            memory,
            control: Mutex::new(Control::new(backend, count)),
            id: id.to_string(),
            capture: Mutex::default(),
            capture_home: kit.threads.capture().clone(),
            measured: Mutex::default(),
            served: Mutex::default(),
        };
        port.set_active_lanes(1)?;
        Ok(port)
    }

    /// What the backend can do.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many lanes there are, one for each queue of the backend.
    pub fn lanes(&self) -> u16 {
        self.lanes.len() as u16 // made from at most u16::MAX queues
    }

    /// The card's cable.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Where the front tells what happens to its card.
    pub fn outlook(&self) -> &Arc<Outlook> {
        &self.outlook
    }

    /// Hands a ring to its lane, whose thread moves its frames from now on. Fails if there is no such
    /// lane, or the host refuses to watch the ring's kick.
    pub fn plug_tx(&self, lane: u16, ring: T) -> io::Result<()> {
        self.lane(lane)?.ask(move |lane, interest| lane.plug_tx(ring, interest))
    }

    /// Takes the ring home. Returns after its last DMA, so the guest may free the memory.
    pub fn unplug_tx(&self, lane: u16) -> Option<T> {
        self.lane(lane).ok()?.ask(|lane, interest| lane.unplug_tx(interest))
    }

    /// Hands a ring to its lane, whose thread fills its buffers from now on. Fails if there is no such
    /// lane, or the host refuses to watch the ring's kick.
    pub fn plug_rx(&self, lane: u16, ring: R) -> io::Result<()> {
        self.lane(lane)?.ask(move |lane, interest| lane.plug_rx(ring, interest))
    }

    /// Takes the ring home. Returns after its last DMA, so the guest may free the memory.
    pub fn unplug_rx(&self, lane: u16) -> Option<R> {
        self.lane(lane).ok()?.ask(|lane, interest| lane.unplug_rx(interest))
    }

    /// Whether rings are lent whole, by [`NetPort::lend`], and not plugged; then what lanes do to frames is not to be had.
    pub fn lends(&self) -> bool {
        self.lends
    }

    /// Lends the rings of a pair to the backend's queue, on the lane's thread; frames pass from now on. Fails if there is
    /// no such lane, or the host refuses.
    pub fn lend(&self, lane: u16, rings: Rings) -> io::Result<()> {
        self.lane(lane)?.ask(move |lane, _| lane.lend(rings))
    }

    /// Takes them back. Returns after the last DMA, so the guest may free the memory.
    pub fn take_back(&self, lane: u16) -> Option<Standing> {
        self.lane(lane).ok()?.ask(|lane, _| lane.take_back())
    }

    /// What the guest can take in received frames from now on. Fails if the backend refuses; one that is
    /// gone only takes the link down.
    pub fn accept(&self, offloads: Offloads) -> io::Result<()> {
        let mut control = self.control();
        let offloads = offloads & self.limits.rx;
        match control.backend.accept(offloads) {
            // Without a cable there is nothing to set, and the guest's driver comes up all the same.
            Err(error) if error.raw_os_error().is_some_and(is_gone) => self.link.lose(&error),
            result => result?,
        }
        for lane in &self.lanes {
            lane.ask(move |lane, _| lane.path.pipeline.accepted = offloads);
        }
        Ok(())
    }

    /// Packets of more bytes behind the Ethernet header are dropped from now on, as far as a guest can
    /// say what it takes.
    pub fn set_receive_mtu(&self, mtu: u16) {
        for lane in &self.lanes {
            lane.ask(move |lane, _| lane.path.pipeline.mtu = mtu.into());
        }
    }

    /// Which frames the guest wants from now on.
    pub fn set_receive_filter(&self, filter: &ReceiveFilter) {
        for lane in &self.lanes {
            let filter = filter.clone();
            lane.ask(move |lane, _| lane.path.pipeline.filter = filter);
        }
    }

    /// What the card may do from now on.
    pub fn limit(&self, limits: &Allowed) {
        self.control().allowed = *limits;
        self.limiter.set(limits);
        for lane in &self.lanes {
            lane.ask(|lane, _| lane.limits_changed());
        }
    }

    /// How far its limits are used up.
    pub fn levels(&self) -> Levels {
        self.limiter.levels(Instant::now())
    }

    /// Goes on from there. Only while no ring is plugged.
    pub fn set_levels(&self, levels: &Levels) {
        self.limiter.set_levels(levels, Instant::now());
    }

    /// From now on the guest reaches `metadata` by this card. Fails if the host has no descriptor left.
    pub fn serve(&self, metadata: &Arc<Metadata>) -> io::Result<()> {
        if self.lends {
            return Err(io::Error::other(PASSED_BY));
        }
        let shares = Shares::new(metadata, self.lanes.len())?;
        for (index, lane) in self.lanes.iter().enumerate() {
            if let Some(share) = shares.of(index) {
                lane.ask(move |lane, interest| lane.serve(share, interest))?;
            }
        }
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        *served = Some(shares.counters().clone());
        Ok(())
    }

    /// How often the card went beyond its limits.
    pub fn allowances(&self) -> Allowances {
        self.limiter.allowances()
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each lane's counters, in order of lanes.
    pub fn counters(&self) -> &[Arc<LaneCounters>] {
        &self.counters
    }

    /// All lanes' counters, added up by name.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let mut totals: Vec<(&'static str, u64)> = LaneCounters::default().values().collect();
        for lane in &self.counters {
            for (total, (_, count)) in totals.iter_mut().zip(lane.values()) {
                total.1 = total.1.wrapping_add(count);
            }
        }
        totals.extend(self.sorter_counters.iter().flat_map(|sorter| sorter.values()));
        totals
    }

    /// Frames lost between the sorter and lanes that did not keep up, if frames are sorted.
    pub fn sort_overflow(&self) -> u64 {
        self.sorter_counters.as_ref().map_or(0, |sorter| sorter.rx_sort_overflow.get())
    }

    /// Returns after every lane has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.sorter.iter().for_each(Post::settle);
        self.lanes.iter().for_each(Post::settle);
        // A thread takes its time, as it does in a machine.
        if self.capture_home.is_by_hand() {
            let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
            capture.iter().for_each(Capture::settle);
        }
    }

    fn lane(&self, index: u16) -> io::Result<&Post<Lane<T, R>>> {
        let missing = || io::Error::other(format!("there is no lane {index}"));
        self.lanes.get(usize::from(index)).ok_or_else(missing)
    }
}
