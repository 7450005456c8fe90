//! What a controller's front holds: a disk's image and its lanes, on threads of their own.

mod control;
#[cfg(test)]
mod device_test;
#[cfg(test)]
mod fallback_test;

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::GuestRam;
use device_core::device::Kit;
use device_core::limiter::Limiter;
use device_core::thread::Duty;
use device_core::worker::{self, Post};

use crate::engine::Engine;
#[cfg(any(test, feature = "testing"))]
use crate::engine::script;
use crate::engine::threads::{Crew, Threads};
use crate::engine::uring::Uring;
use crate::image::{self, Facts, Image, Medium, Mode};
use crate::lane::{Failures, Lane, Shared, Troubles};
use crate::ring::BlockRing;
use crate::spec::{Allowed, Cache, DiskSpec, Engine as Wanted, SpecError};
use crate::stats::LaneStats;

pub use control::PortControl;

/// Why a disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be as described.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The image is not to be had.
    #[error(transparent)]
    Image(#[from] image::OpenError),
    /// The host has no io_uring for us, and nothing else was wanted.
    #[error("the host lets disk {id} have no io_uring; take the engine auto or threads")]
    NoUring {
        /// The disk's id.
        id: String,
        /// What the host said.
        source: io::Error,
    },
    /// The host has no threads or descriptors left.
    #[error("cannot start the I/O threads of disk {id}")]
    Threads {
        /// The disk's id.
        id: String,
        /// What the host said.
        source: io::Error,
    },
}

/// What the front is called for when the disk's size has changed.
pub type Listener = Box<dyn Fn() + Send + Sync>;

/// An image, and a lane for each queue of the controller.
///
/// Calls that reach a lane wait until its thread answers, at most one turn, but for those that say that they wait
/// for more; none may be made from a lane's thread.
pub struct DiskPort<R: BlockRing> {
    lanes: Vec<Post<Lane<R>>>,
    stats: Vec<Arc<LaneStats>>,
    shared: Arc<Shared>,
    /// What the guest was told at first: nothing but the size ever changes.
    facts: Facts,
    serial: String,
    mode: Mode,
    engine: Wanted,
    /// Goes behind the lanes, as it stands behind them: its last owner gives the lock up, for which lanes have no call.
    image: Mutex<Arc<Image>>,
    allowed: Mutex<Allowed>,
    listener: Mutex<Option<Listener>>,
    /// Held by who changes the image.
    changing: Mutex<()>,
}

impl<R: BlockRing> DiskPort<R> {
    /// Opens the image of `spec` and starts `lanes` lanes, at least one. Fails if `spec` contradicts itself, the
    /// image is not to be had, or the host lacks what it needs.
    pub fn open(spec: &DiskSpec, lanes: u16, kit: &Kit<'_>) -> Result<DiskPort<R>, OpenError> {
        spec.validate()?;
        let mode = Mode { read_only: spec.read_only, direct: spec.direct };
        let image = Arc::new(Image::open_source(&spec.source(), mode, kit.files)?);
        let (engine, engines) = engines(spec, &image, lanes.max(1), kit.threads)?;
        DiskPort::build(spec, image, engine, engines, kit)
            .map_err(|source| OpenError::Threads { id: spec.id.clone(), source })
    }

    /// A disk of `lanes` scripted lanes on an image in memory, for tests of controllers. Panics if the host has
    /// no threads or descriptors left.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::unwrap_used)]
    pub fn scripted(
        spec: &DiskSpec,
        image: Image,
        lanes: u16,
        kit: &Kit<'_>,
    ) -> (DiskPort<R>, script::Stage) {
        let image = Arc::new(image);
        let (scripts, stage) = script::stage(image.clone(), lanes);
        let engines = scripts.into_iter().map(|script| Box::new(script) as Box<dyn Engine>);
        let port = DiskPort::build(spec, image, Wanted::Threads, engines.collect(), kit);
        (port.unwrap(), stage)
    }

    fn build(
        spec: &DiskSpec,
        image: Arc<Image>,
        engine: Wanted,
        engines: Vec<Box<dyn Engine>>,
        kit: &Kit<'_>,
    ) -> io::Result<DiskPort<R>> {
        let count = u16::try_from(engines.len()).unwrap_or(u16::MAX);
        let threads = kit.threads.fast(&format!("disk-{}", spec.id), Duty::DiskLane, count)?;
        let shared = Arc::new(Shared {
            id: spec.id.clone(),
            cache: spec.cache,
            limiter: Limiter::new(Instant::now()),
            troubles: Troubles::default(),
            failures: Failures::default(),
            bells: engines.iter().map(|engine| engine.bell()).collect(),
        });
        shared.limiter.set(spec.limits.into());
        if let (Some(overlay), Cache::Unsafe) = (image.overlay(), spec.cache) {
            overlay.promise_nothing();
        }
        spec.faults.iter().for_each(|fault| shared.troubles.add(*fault));
        let stats: Vec<Arc<LaneStats>> = engines.iter().map(|_| Arc::default()).collect();
        let (memory, may_linger): (&GuestRam, bool) = (kit.memory, kit.threads.may_spin());
        let lanes = (0..).zip(engines).zip(&stats).zip(threads.iter().cycle());
        let lanes = lanes.map(|(((index, engine), stats), home)| {
            let (shared, image) = (shared.clone(), image.clone());
            let (memory, stats) = (memory.clone(), stats.clone());
            home.host(Lane::new(index, shared, image, engine, memory, stats, may_linger))
        });
        Ok(DiskPort {
            lanes: lanes.collect::<io::Result<_>>()?,
            stats,
            shared,
            facts: image.facts(),
            serial: spec.serial_or_id(),
            mode: image.mode(),
            engine,
            image: Mutex::new(image),
            allowed: Mutex::new(spec.limits),
            listener: Mutex::default(),
            changing: Mutex::default(),
        })
    }

    /// The disk's name.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// What the guest is to read as its serial number: 1 to 20 printable characters.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> u16 {
        self.lanes.len() as u16 // made from at most u16::MAX engines
    }

    /// What the guest may want to know. All but the size stays as it is as long as the port.
    pub fn facts(&self) -> Facts {
        Facts { size: self.image().size(), ..self.facts }
    }

    /// What a completed write or flush promises; with [`Cache::Writeback`] only there is a cache to flush.
    pub fn cache(&self) -> Cache {
        self.shared.cache
    }

    /// Hands a ring to its lane, whose thread takes its requests from now on. Fails if there is no such lane, it
    /// has a ring, or the host refuses to watch the ring's kick.
    pub fn plug(&self, lane: u16, ring: R) -> io::Result<()> {
        self.lane(lane)?.ask(move |lane, interest| lane.plug(ring, interest))
    }

    /// Takes the ring home. Waits until the host has ended all that was taken from it, which is the host's to
    /// say; returns after the last DMA, so the guest may free the memory.
    pub fn unplug(&self, lane: u16) -> Option<R> {
        let post = self.lane(lane).ok()?;
        let (home, arrival) = sync_channel(1);
        // Who waits for it is below.
        post.tell(move |lane, _| lane.unplug(Box::new(move |ring| drop(home.send(ring)))));
        post.await_from(&arrival).flatten()
    }

    /// Takes all rings home, in order of lanes, as [`DiskPort::unplug`] does; no lane waits for another.
    pub fn unplug_all(&self) -> Vec<R> {
        let arrivals: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| {
                let (home, arrival) = sync_channel(1);
                lane.tell(move |lane, _| lane.unplug(Box::new(move |ring| drop(home.send(ring)))));
                arrival
            })
            .collect();
        let rings = self.lanes.iter().zip(&arrivals);
        rings.filter_map(|(lane, arrival)| lane.await_from(arrival).flatten()).collect()
    }

    /// Takes the ring home without waiting: nothing more is taken from it, and `then` gets it on the lane's
    /// thread after the last DMA. It gets `None` if there is none, or another call was first. It must neither
    /// wait nor ask a lane. False, and `then` is not called, if there is no such lane.
    pub fn unplug_then(&self, lane: u16, then: impl FnOnce(Option<R>) + Send + 'static) -> bool {
        let Ok(post) = self.lane(lane) else { return false };
        post.tell(move |lane, _| lane.unplug(Box::new(then)));
        true
    }

    /// The guest of a lane wants the request back that it calls `name`. `then` hears, on the lane's thread, whether
    /// it was still there to be taken back, once the guest can see that; it must neither wait nor ask a lane.
    pub fn take_back_then(&self, lane: u16, name: u16, then: impl FnOnce(bool) + Send + 'static) {
        match self.lane(lane) {
            Ok(post) => post.tell(move |lane, _| lane.take_back(name, Box::new(then))),
            Err(_) => then(false),
        }
    }

    /// Replaces who is told that the size has changed.
    pub fn set_listener(&self, listener: Option<Listener>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    /// Each lane's numbers, in order of lanes.
    pub fn stats(&self) -> &[Arc<LaneStats>] {
        &self.stats
    }

    /// Returns after every lane has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.lanes.iter().for_each(Post::settle);
    }

    fn image(&self) -> MutexGuard<'_, Arc<Image>> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, index: u16) -> io::Result<&Post<Lane<R>>> {
        let missing = || io::Error::other(format!("there is no lane {index}"));
        self.lanes.get(usize::from(index)).ok_or_else(missing)
    }
}

/// The engines of all lanes, and which kind it is.
fn engines(
    spec: &DiskSpec,
    image: &Arc<Image>,
    lanes: u16,
    threads: &worker::Threads,
) -> Result<(Wanted, Vec<Box<dyn Engine>>), OpenError> {
    let name = format!("disk-{}", spec.id);
    let no_threads = |source| OpenError::Threads { id: spec.id.clone(), source };
    if spec.engine != Wanted::Threads {
        match rings(&name, image, lanes, threads) {
            Ok(engines) => return Ok((Wanted::Uring, engines)),
            Err(source) if spec.engine == Wanted::Uring => {
                return Err(OpenError::NoUring { id: spec.id.clone(), source });
            }
            Err(error) => {
                tracing::info!("disk {}: no io_uring here: {error}; threads do its work", spec.id);
            }
        }
    }
    let crew = Arc::new(Crew::new(&name, lanes, threads).map_err(no_threads)?);
    let engine = |_| {
        let engine = Threads::new(crew.clone(), image.clone())?;
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    let engines = (0..lanes).map(engine).collect::<io::Result<_>>().map_err(no_threads)?;
    Ok((Wanted::Threads, engines))
}

fn rings(
    name: &str,
    image: &Arc<Image>,
    lanes: u16,
    threads: &worker::Threads,
) -> io::Result<Vec<Box<dyn Engine>>> {
    let is_device = matches!(image.medium(), Medium::Device { .. });
    let needs_helper = is_device && !image.mode().read_only;
    let helper = needs_helper.then(|| Crew::helper(name, threads)).transpose()?.map(Arc::new);
    let engine = |_| {
        let engine = Uring::new(image.clone(), helper.clone())?;
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    (0..lanes).map(engine).collect()
}

/// The map of an overlay has to be in its file when another opens that. Lanes have no requests by then.
impl<R: BlockRing> Drop for DiskPort<R> {
    fn drop(&mut self) {
        self.write_map();
    }
}

#[cfg(test)]
#[path = "port_test.rs"]
mod tests;
