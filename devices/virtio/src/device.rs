//! What a virtio device is to its transport.

use std::io;
use std::sync::Arc;

use device_core::bus::Width;
use device_core::fault::GuestFault;
use device_core::interrupt::Interrupt;
use device_core::snapshot::{LoadError, SaveError, Saved};
use vmm_sys_util::eventfd::EventFd;

/// Why a device refused its queues; the transport answers with DEVICE_NEEDS_RESET.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlugError(pub String);

impl From<GuestFault> for PlugError {
    fn from(fault: GuestFault) -> PlugError {
        PlugError(fault.to_string())
    }
}

impl From<io::Error> for PlugError {
    fn from(error: io::Error) -> PlugError {
        PlugError(error.to_string())
    }
}

/// One queue as the driver set it up, built once at DRIVER_OK; the guest cannot reach it again.
pub struct LiveQueue {
    /// Number of the queue, from 0; an odd one sends, on a network card.
    pub index: u16,
    /// A private copy of the registers, checked: ready, size a power of two within the maximum,
    /// rings aligned and in RAM, EVENT_IDX as negotiated.
    pub ring: virtio_queue::Queue,
    /// Signalled by the guest's notifications; edge-triggered watchers need not read it.
    pub kick: Arc<EventFd>,
    /// Its interrupt; `None` if the driver gave it none (VIRTIO_MSI_NO_VECTOR).
    pub irq: Option<Arc<dyn Interrupt>>,
}

/// How a device tells its driver something outside any queue.
pub trait Notice: Send + Sync {
    /// The device's configuration changed: raises the generation and interrupts the driver.
    fn config_changed(&self);

    /// The device met a ring it cannot go on with: sets DEVICE_NEEDS_RESET and tells the driver.
    fn needs_reset(&self);
}

/// A virtio device without its transport (virtio 1.2, 2).
///
/// The transport calls `plug` once per DRIVER_OK and `unplug` once per reset, pause or loss of bus
/// mastering, never both at once. Configuration accesses come from any vCPU.
pub trait VirtioDevice: Send + Sync {
    /// The device's name for people.
    fn id(&self) -> &str;

    /// Virtio device id (virtio 1.2, 5): 1 is a network card, 2 a disk.
    fn kind(&self) -> u16;

    /// Feature bits the device offers, without the transport's own (VERSION_1 and up are the
    /// transport's).
    fn features(&self) -> u64;

    /// Largest size of each queue; their number is the number of queues. Powers of two.
    fn queue_sizes(&self) -> &[u16];

    /// Bytes past the end of the configuration read as zero.
    fn read_config(&self, offset: u64, width: Width) -> u64;
    /// Writes the low `width` bytes of `value`; ignored where the configuration is read-only.
    fn write_config(&self, _offset: u64, _width: Width, _value: u64) {}

    /// Takes the queues the driver enabled, with the negotiated features (transport's included).
    /// On error the queues are lost, and the driver must reset.
    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError>;

    /// Brings all queues home; once it returns the device touches no guest memory. `plug` with
    /// the same queues goes on where they stopped.
    fn unplug(&self) -> Vec<LiveQueue>;

    /// Forgets all state that the driver set, as after power-on. Only while unplugged.
    fn reset(&self);

    /// Takes what it knows besides the transport's registers and the queues' places. Only while unplugged.
    fn save(&self) -> Result<Saved, SaveError>;

    /// Becomes what `saved` says, for a driver that has negotiated `features`, none of which it lacks. Only before
    /// queues are plugged, and as after power-on. Fails if that cannot be, or is not of a device such as this one.
    fn load(&self, features: u64, saved: &Saved) -> Result<(), LoadError>;
}
