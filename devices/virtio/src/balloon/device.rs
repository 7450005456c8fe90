//! The balloon: features, configuration, the way of its queues to their worker and back, and what its owner asks
//! of it.

pub mod saved;

use std::sync::{Arc, Mutex, PoisonError};

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::counters::SharedCounter;
use device_core::device::Kit;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;

use super::features::{self, roles};
use super::hinting::HintStatus;
use super::service::Service;
use super::spec::BalloonSpec;
use super::state::{BalloonCounters, State};
use super::statistics::Statistics;
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use crate::port::QueuePort;

const QUEUE_SIZE: u16 = 256;
/// Offsets of what the driver writes (virtio 1.2, 5.5.4): pages it gave up, and what its free pages hold.
const ACTUAL_AT: u64 = 4;
const POISON_AT: u64 = 12;

/// Why the balloon did not do something. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Statistics were not asked for when it was made, or cannot be turned off.
    #[error(
        "statistics cannot be enabled or disabled once the machine is started; \
         give stats_polling_interval_s before"
    )]
    StatisticsFixed,
    /// There are none.
    #[error("statistics are disabled; give stats_polling_interval_s before the start")]
    NoStatistics,
    /// Hinting was not asked for when it was made.
    #[error("hinting is not enabled; give free_page_hinting before the start")]
    NoHinting,
}

/// What the balloon tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalloonEvent {
    /// The guest has given up, or taken back, as many pages as it was asked to.
    Reached {
        /// Pages of 4 KiB in the balloon.
        pages: u32,
    },
}

/// Takes what the balloon tells, on a vCPU's thread; it must not wait.
pub type BalloonListener = Box<dyn Fn(BalloonEvent) + Send + Sync>;

/// A balloon.
pub struct Balloon {
    memory: GuestRam,
    features: u64,
    queue_sizes: Vec<u16>,
    state: Arc<State>,
    port: QueuePort<Service>,
    listener: Mutex<Option<BalloonListener>>,
    refused_writes: SharedCounter,
}

impl Balloon {
    /// As `spec` has it.
    pub fn build(spec: &BalloonSpec, kit: &Kit<'_>) -> Arc<Balloon> {
        let features = features::offered(spec);
        Arc::new(Balloon {
            memory: kit.memory.clone(),
            features,
            queue_sizes: roles(features).map(|_| QUEUE_SIZE).collect(),
            state: Arc::new(State::new(spec, kit.reclaim.clone())),
            port: QueuePort::new(kit.threads.slow().clone()),
            listener: Mutex::default(),
            refused_writes: SharedCounter::default(),
        })
    }

    /// What it has done.
    pub fn counters(&self) -> &BalloonCounters {
        &self.state.counters
    }

    /// How many writes to the configuration came that may not.
    pub fn refused_writes(&self) -> u64 {
        self.refused_writes.get()
    }

    /// Pages of 4 KiB that the guest is to give up.
    pub fn target(&self) -> u32 {
        self.state.target()
    }

    /// Changes that. The guest does it when it can: a driver that is not loaded yet, as soon as it is.
    pub fn set_target(&self, pages: u32) {
        self.state.set_target(pages);
    }

    /// Pages that the guest says it gave up; nobody else knows.
    pub fn actual(&self) -> u32 {
        self.state.actual()
    }

    /// The guest's last report about its memory. Fails if there are none.
    pub fn statistics(&self) -> Result<Statistics, ControlError> {
        match self.features & features::STATISTICS {
            0 => Err(ControlError::NoStatistics),
            _ => Ok(*self.state.statistics()),
        }
    }

    /// Seconds between two reports; 0 for none.
    pub fn interval_s(&self) -> u16 {
        u16::try_from(self.state.interval().as_secs()).unwrap_or(u16::MAX)
    }

    /// Changes that, and asks for a report. Fails if that would turn them on or off.
    pub fn set_interval(&self, seconds: u16) -> Result<(), ControlError> {
        if (seconds == 0) != (self.features & features::STATISTICS == 0) {
            return Err(ControlError::StatisticsFixed);
        }
        if seconds == self.interval_s() {
            return Ok(());
        }
        self.state.set_interval(seconds);
        self.port.tell(Service::ask_now);
        Ok(())
    }

    /// Where hinting stands. Fails if it is not enabled.
    pub fn hinting(&self) -> Result<HintStatus, ControlError> {
        self.check_hinting()?;
        Ok(self.state.hinting().status())
    }

    /// Asks the guest for hints of free pages. If it `acknowledges`, they are the guest's again as soon as it has
    /// told of all, else when hinting is stopped. Fails if it is not enabled.
    pub fn start_hinting(&self, acknowledges: bool) -> Result<(), ControlError> {
        self.check_hinting()?;
        self.state.hinting().start(acknowledges);
        self.state.tell();
        Ok(())
    }

    /// Lets the guest use all pages again that it gave hints of. Once it returns no hint is acted upon. Fails if
    /// hinting is not enabled.
    pub fn stop_hinting(&self) -> Result<(), ControlError> {
        self.check_hinting()?;
        self.state.hinting().stop();
        self.state.tell();
        Ok(())
    }

    /// Has `listener` told of events from now on.
    pub fn set_listener(&self, listener: Option<BalloonListener>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    /// Returns after its worker has had a turn.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.port.settle();
    }

    fn check_hinting(&self) -> Result<(), ControlError> {
        match self.features & features::HINTING {
            0 => Err(ControlError::NoHinting),
            _ => Ok(()),
        }
    }

    fn set_actual(&self, pages: u32) {
        let before = self.state.set_actual(pages);
        if pages != before && pages == self.target() {
            let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(listener) = &*listener {
                listener(BalloonEvent::Reached { pages });
            }
        }
    }
}

impl VirtioDevice for Balloon {
    fn id(&self) -> &str {
        BalloonSpec::ID
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_BALLOON as u16
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let command = match self.features & features::HINTING {
            0 => 0,
            _ => self.state.hinting().status().host_cmd,
        };
        let words = [self.target(), self.actual(), command, self.state.poison()];
        width.load(words.map(u32::to_le_bytes).as_flattened(), offset)
    }

    fn write_config(&self, offset: u64, width: Width, value: u64) {
        let value = (value & 0xffff_ffff) as u32;
        match (offset, width) {
            (ACTUAL_AT, Width::B4) => self.set_actual(value),
            (POISON_AT, Width::B4) if self.features & features::POISON != 0 => {
                self.state.set_poison(value);
            }
            _ => drop(self.refused_writes.increment()),
        }
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        self.state.listen(features, notice.clone());
        let service = Service::new(queues, &self.memory, features, self.state.clone())?;
        Ok(self.port.plug(service, notice)?)
    }

    fn unplug(&self) -> Vec<LiveQueue> {
        self.port.unplug()
    }

    fn reset(&self) {
        self.state.reset();
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
