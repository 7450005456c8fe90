//! The disk: features, configuration, and the way of its queues to lanes and back.

pub mod saved;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block::port::DiskPort;
use block::spec::{Cache, DiskSpec, MAX_QUEUES};
use device_core::GuestRam;
use device_core::bus::Width;
use device_core::counters::SharedCounter;
use device_core::device::Kit;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::config::{self, QUEUE_SIZE, WRITEBACK_AT};
use super::features;
use super::grammar::ID_LEN;
use super::requests::{Common, Requests};
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};

pub use block::port::OpenError as BuildError;

/// A virtio disk.
pub struct Block {
    memory: GuestRam,
    features: u64,
    queue_sizes: Vec<u16>,
    port: DiskPort<Requests>,
    common: Arc<Common>,
    /// What was negotiated, while queues are plugged.
    negotiated: AtomicU64,
    running: AtomicBool,
    refused_writes: SharedCounter,
}

impl Block {
    /// Opens the image of `spec` and starts the lanes' threads; as many queues as `cpus` unless it says. Fails
    /// if the image cannot be opened or the host has no threads left.
    pub fn build(spec: &DiskSpec, cpus: u16, kit: &Kit<'_>) -> Result<Arc<Block>, BuildError> {
        let queues = spec.queues.unwrap_or(cpus).clamp(1, MAX_QUEUES);
        Ok(Block::on_port(DiskPort::open(spec, queues, kit)?, kit))
    }

    /// A disk on a port that is open already.
    pub fn on_port(port: DiskPort<Requests>, kit: &Kit<'_>) -> Arc<Block> {
        let (queues, cache) = (port.lanes(), port.cache());
        let mut serial = [0; ID_LEN];
        serial.iter_mut().zip(port.serial().bytes()).for_each(|(place, byte)| *place = byte);
        let has_cache = cache == Cache::Writeback;
        let common = Common { serial, writeback: AtomicBool::new(has_cache), has_cache };
        Arc::new(Block {
            memory: kit.memory.clone(),
            features: features::offered(&port.facts(), cache, queues),
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            port,
            common: Arc::new(common),
            negotiated: AtomicU64::new(0),
            running: AtomicBool::new(false),
            refused_writes: SharedCounter::default(),
        })
    }

    /// The engine behind it.
    pub fn port(&self) -> &DiskPort<Requests> {
        &self.port
    }

    /// A driver has its queues plugged.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// How many writes to the configuration came that may not.
    pub fn refused_writes(&self) -> u64 {
        self.refused_writes.get()
    }

    /// Returns after every lane has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.port.settle();
    }

    fn try_plug(
        &self,
        negotiated: u64,
        queues: Vec<LiveQueue>,
        notice: &Arc<dyn Notice>,
    ) -> Result<(), String> {
        let to = notice.clone();
        self.port.set_listener(Some(Box::new(move || to.config_changed())));
        for queue in queues {
            let (index, memory) = (queue.index, self.memory.clone());
            let failed =
                |error: &dyn std::fmt::Display| format!("cannot take queue {index}: {error}");
            let common = self.common.clone();
            let ring = Requests::new(queue, memory, negotiated, common, notice.clone())
                .map_err(|fault| failed(&fault))?;
            self.port.plug(index, ring).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> &str {
        self.port.id()
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_BLOCK as u16
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let writeback = self.common.writeback.load(Ordering::Relaxed);
        let facts = self.port.facts();
        let config = config::bytes(&facts, self.features, self.port.lanes(), writeback);
        width.load(&config, offset)
    }

    fn write_config(&self, offset: u64, width: Width, value: u64) {
        // Before its queues are plugged a driver may be about to negotiate it.
        let negotiated = match self.is_running() {
            true => self.negotiated.load(Ordering::Relaxed),
            false => self.features,
        };
        let is_writeback = offset == WRITEBACK_AT && width == Width::B1;
        if is_writeback && negotiated & features::CONFIG_WCE != 0 {
            self.common.writeback.store(value & 1 != 0, Ordering::Relaxed);
        } else {
            self.refused_writes.increment();
        }
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        if features & features::CONFIG_WCE == 0 {
            self.common.writeback.store(self.common.has_cache, Ordering::Relaxed);
        }
        self.negotiated.store(features, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
        self.try_plug(features, queues, &notice).map_err(|why| {
            drop(self.unplug());
            PlugError(why)
        })
    }

    /// Waits for what the host has of the queues' requests: a driver's reset is over when memory is its own
    /// again.
    fn unplug(&self) -> Vec<LiveQueue> {
        let rings = self.port.unplug_all();
        self.port.set_listener(None);
        self.running.store(false, Ordering::Relaxed);
        rings.into_iter().map(Requests::into_queue).collect()
    }

    fn reset(&self) {
        self.common.writeback.store(self.common.has_cache, Ordering::Relaxed);
        self.negotiated.store(0, Ordering::Relaxed);
    }

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
