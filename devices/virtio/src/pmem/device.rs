//! The device: where its memory is, and the way of its queue to a thread of its own and back.

pub mod saved;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use block::image::{Image, Mode, OpenError};
use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Kit;
use device_core::limiter::{Limiter, Limits};
use device_core::ram_window::FileWindow;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use device_core::thread::Duty;
use virtio_bindings::virtio_ids::VIRTIO_ID_PMEM;

use super::requests::{PmemCounters, Requests, Shared};
use super::spec::{GRANULE, PmemSpec};
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use crate::port::QueuePort;

const QUEUE_SIZES: [u16; 1] = [256];

/// Why persistent memory cannot be had. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file cannot be had.
    #[error(transparent)]
    Image(#[from] OpenError),
    /// There is nothing in it.
    #[error("{} is empty; make it at least 2 MiB", .0.display())]
    Empty(PathBuf),
    /// A block device that cannot be made larger.
    #[error("{} has {size} bytes, no whole number of 2 MiB; take another, or make it read-only", path.display())]
    Odd {
        /// The device.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// The file did not become larger.
    #[error("cannot make {} up to whole 2 MiB", path.display())]
    Grow {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The guest does not get it.
    #[error("cannot map {} for the guest", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("it got no thread")]
    Thread(#[source] io::Error),
}

/// Persistent memory.
pub struct Pmem {
    id: String,
    memory: GuestRam,
    window: Arc<dyn FileWindow>,
    shared: Arc<Shared>,
    /// On a thread of its own, as flushes wait for a disk.
    port: QueuePort<Requests>,
}

impl Pmem {
    /// Opens the file and shows it to the guest. A file that is no whole number of 2 MiB becomes so, unless it is
    /// read-only; then zeroes stand behind its end. Fails if the host refuses something of it.
    pub fn build(spec: &PmemSpec, kit: &Kit<'_>) -> Result<Arc<Pmem>, BuildError> {
        let mode = Mode { read_only: spec.read_only, direct: false };
        let image = Image::open_by(&spec.path, mode, kit.files)?;
        Pmem::on(spec, image, kit)
    }

    /// On an image that is open already.
    pub fn on(spec: &PmemSpec, image: Image, kit: &Kit<'_>) -> Result<Arc<Pmem>, BuildError> {
        let size = settled_size(spec, &image)?;
        let window = kit.windows.map_file(image.file(), size, spec.read_only);
        let path = spec.path.clone();
        let window = window.map_err(|source| BuildError::Map { path, source })?;
        let threads = kit.threads.fast(&spec.id, Duty::Pmem, 1).map_err(BuildError::Thread)?;
        let none = || BuildError::Thread(io::ErrorKind::Other.into());
        let thread = threads.into_iter().next().ok_or_else(none)?;
        let limiter = Limiter::new(Instant::now());
        limiter.set(spec.limits);
        Ok(Arc::new(Pmem {
            id: spec.id.clone(),
            memory: kit.memory.clone(),
            window,
            shared: Arc::new(Shared {
                image,
                size,
                limiter,
                limits: Mutex::new(spec.limits),
                counters: PmemCounters::default(),
            }),
            port: QueuePort::new(thread),
        }))
    }

    /// What the user calls it.
    pub fn name(&self) -> &str {
        &self.id
    }

    /// What it has done.
    pub fn counters(&self) -> &PmemCounters {
        &self.shared.counters
    }

    /// How often it is flushed at most.
    pub fn limits(&self) -> Limits {
        *self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces that.
    pub fn limit(&self, limits: Limits) {
        *self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.shared.limiter.set(limits);
        // It may wait for an old limit.
        self.port.tell(|_| ());
    }

    /// Returns after it has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.port.settle();
    }
}

/// Bytes of the file, which is whole granules from now on if it is ever written.
fn settled_size(spec: &PmemSpec, image: &Image) -> Result<u64, BuildError> {
    let path = || spec.path.clone();
    let grow = |source| BuildError::Grow { path: path(), source };
    let about = image.file().metadata().map_err(grow)?;
    let size = if about.is_file() { about.len() } else { image.size() };
    if size == 0 {
        return Err(BuildError::Empty(path()));
    }
    if spec.read_only || size.is_multiple_of(GRANULE) {
        return Ok(size);
    }
    if !about.is_file() {
        return Err(BuildError::Odd { path: path(), size });
    }
    let whole = size.checked_next_multiple_of(GRANULE).unwrap_or(size);
    image.file().set_len(whole).map_err(grow)?;
    tracing::info!("{} is {whole} bytes now, whole 2 MiB: it had {size}", spec.path.display());
    Ok(whole)
}

impl VirtioDevice for Pmem {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_PMEM as u16
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// Where it is, and its bytes (virtio 1.2, 5.19.4).
    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let words = [self.window.address(), self.window.size()];
        width.load(words.map(u64::to_le_bytes).as_flattened(), offset)
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        for queue in queues {
            let (memory, shared) = (self.memory.clone(), self.shared.clone());
            let requests = Requests::new(queue, memory, features, shared)?;
            self.port.plug(requests, notice.clone())?;
        }
        Ok(())
    }

    /// Waits for a flush that the host has begun.
    fn unplug(&self) -> Vec<LiveQueue> {
        self.port.unplug()
    }

    fn reset(&self) {}

    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, _: u64, saved: &Saved) -> Result<(), LoadError> {
        self.load_saved(saved)
    }
}

#[cfg(test)]
#[path = "device_test.rs"]
mod tests;
