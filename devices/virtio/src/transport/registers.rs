//! The registers that a driver finds on every bus, and the status machine (virtio 1.2, 2.1, 4.1.4.3 and
//! 4.2.2).

pub mod saved;

use std::sync::Arc;

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::notice::Bulletin;
use super::queue::QueueRegisters;

/// The registers, under the names of PCI's common configuration (`virtio_pci_common_cfg`; virtio 1.2,
/// 4.1.4.3); each bus shows those that it has. 64-bit ones are two words, as drivers write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// Which word of the device's features is shown.
    DeviceFeatureSelect,
    /// 32 features of the device; read-only.
    DeviceFeature,
    /// Which word of the driver's features is shown.
    DriverFeatureSelect,
    /// 32 features that the driver accepts.
    DriverFeature,
    /// Vector for configuration changes.
    ConfigVector,
    /// How many queues there are; read-only.
    QueueCount,
    /// Device status (virtio 1.2, 2.1); 0 resets.
    DeviceStatus,
    /// Changes with the device's configuration; read-only.
    ConfigGeneration,
    /// Which queue the following are of.
    QueueSelect,
    /// Most entries that the queue can have, 0 if it is not there; read-only.
    QueueSizeMax,
    /// Entries of the queue.
    QueueSize,
    /// Vector for the queue.
    QueueVector,
    /// 1 once the driver has set the queue up.
    QueueEnable,
    /// The same where a driver may take it back until the device runs.
    QueueReady,
    /// Where the queue is notified, in steps of the notify structure; read-only.
    QueueNotifyOffset,
    /// Address of the descriptor table.
    DescriptorsLow,
    /// Its upper half.
    DescriptorsHigh,
    /// Address of the available ring.
    AvailableLow,
    /// Its upper half.
    AvailableHigh,
    /// Address of the used ring.
    UsedLow,
    /// Its upper half.
    UsedHigh,
}

const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;
const FAILED: u8 = VIRTIO_CONFIG_S_FAILED as u8;
/// Status bits that are the driver's to set: ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, FAILED.
const DRIVER_STATUS: u8 = 1 | 2 | DRIVER_OK | FEATURES_OK | FAILED;

const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// What the transport and the rings offer for every device.
const TRANSPORT_FEATURES: u64 = VERSION_1 | EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// Bits 24 to 49 are not a device's to offer (virtio 1.2, 2.2).
const DEVICE_FEATURES: u64 = !((1 << 50) - (1 << 24));

/// What a write asks of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Done, or the register is read-only.
    Nothing,
    /// The driver may not write this register now, or not this value; nothing changed.
    Refused,
    /// Reset the device.
    Reset,
    /// DRIVER_OK: bring the queues to life.
    Run,
    /// FAILED: the driver gave up; leave its memory alone.
    GiveUp,
}

/// The state behind the registers.
pub struct Registers {
    bulletin: Arc<Bulletin>,
    offered: u64,
    max_sizes: Vec<u16>,
    queues: Vec<QueueRegisters>,
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    /// The driver acknowledged a feature past bit 63; there are none.
    acked_beyond: bool,
    queue_select: u16,
}

impl Registers {
    /// For a device that offers `features` of its own, with queues of up to `max_sizes`.
    pub fn new(features: u64, max_sizes: &[u16], bulletin: Arc<Bulletin>) -> Registers {
        Registers {
            bulletin,
            offered: features & DEVICE_FEATURES | TRANSPORT_FEATURES,
            max_sizes: max_sizes.to_vec(),
            queues: max_sizes.iter().map(|&max| QueueRegisters::new(max)).collect(),
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            acked_beyond: false,
            queue_select: 0,
        }
    }

    /// As after power-on; the driver reads status 0 from now on.
    pub fn reset(&mut self) {
        self.bulletin.reset();
        let offered = self.offered;
        *self = Registers::new(0, &self.max_sizes, self.bulletin.clone());
        self.offered = offered;
    }

    /// What was negotiated; settled once FEATURES_OK is set.
    pub fn features(&self) -> u64 {
        self.driver_features
    }

    /// Whether rings were negotiated to have event fields.
    pub fn event_idx(&self) -> bool {
        self.driver_features & EVENT_IDX != 0
    }

    /// The queues that the driver enabled: number, registers, largest size.
    pub fn enabled_queues(&self) -> impl Iterator<Item = (u16, &QueueRegisters, u16)> {
        (0u16..)
            .zip(self.queues.iter().zip(&self.max_sizes))
            .filter(|(_, (queue, _))| queue.enabled)
            .map(|(index, (queue, &max))| (index, queue, max))
    }

    /// What a register shows.
    pub fn read(&self, register: Register) -> u32 {
        let queue = self.queues.get(usize::from(self.queue_select));
        let of_queue = |value: fn(&QueueRegisters) -> u64| queue.map_or(0, value) as u32;
        match register {
            Register::DeviceFeatureSelect => self.device_feature_select,
            Register::DeviceFeature => word(self.offered, self.device_feature_select),
            Register::DriverFeatureSelect => self.driver_feature_select,
            Register::DriverFeature => word(self.driver_features, self.driver_feature_select),
            Register::ConfigVector => self.bulletin.interrupts().config_vector().into(),
            Register::QueueCount => u32::try_from(self.queues.len()).unwrap_or_default(),
            Register::DeviceStatus => {
                let needs_reset = if self.bulletin.is_reset_needed() { NEEDS_RESET } else { 0 };
                (self.status | needs_reset).into()
            }
            Register::ConfigGeneration => self.bulletin.generation(),
            Register::QueueSelect => self.queue_select.into(),
            Register::QueueSizeMax => self
                .max_sizes
                .get(usize::from(self.queue_select))
                .copied()
                .unwrap_or_default()
                .into(),
            Register::QueueSize => of_queue(|queue| queue.size.into()),
            Register::QueueVector => of_queue(|queue| queue.vector.into()),
            Register::QueueEnable | Register::QueueReady => of_queue(|queue| queue.enabled.into()),
            Register::QueueNotifyOffset => queue.map_or(0, |_| self.queue_select.into()),
            Register::DescriptorsLow => of_queue(|queue| queue.descriptors),
            Register::DescriptorsHigh => of_queue(|queue| queue.descriptors >> 32),
            Register::AvailableLow => of_queue(|queue| queue.available),
            Register::AvailableHigh => of_queue(|queue| queue.available >> 32),
            Register::UsedLow => of_queue(|queue| queue.used),
            Register::UsedHigh => of_queue(|queue| queue.used >> 32),
        }
    }

    /// The driver's write, and what it asks of the card.
    pub fn write(&mut self, register: Register, value: u32) -> Asked {
        match register {
            Register::DeviceFeatureSelect => self.device_feature_select = value,
            Register::DriverFeatureSelect => self.driver_feature_select = value,
            Register::DriverFeature => return self.write_driver_features(value),
            Register::ConfigVector => self.bulletin.interrupts().set_config_vector(half(value)),
            Register::DeviceStatus => return self.write_status((value & 0xff) as u8),
            Register::QueueSelect => self.queue_select = half(value),
            Register::DeviceFeature
            | Register::QueueCount
            | Register::QueueSizeMax
            | Register::ConfigGeneration
            | Register::QueueNotifyOffset => {}
            Register::QueueSize
            | Register::QueueVector
            | Register::QueueEnable
            | Register::QueueReady
            | Register::DescriptorsLow
            | Register::DescriptorsHigh
            | Register::AvailableLow
            | Register::AvailableHigh
            | Register::UsedLow
            | Register::UsedHigh => return self.write_queue(register, value),
        }
        Asked::Nothing
    }

    fn write_driver_features(&mut self, value: u32) -> Asked {
        if self.status & FEATURES_OK != 0 {
            return Asked::Refused;
        }
        let value = u64::from(value);
        match self.driver_feature_select {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | value,
            1 => self.driver_features = self.driver_features & 0xffff_ffff | value << 32,
            _ => self.acked_beyond |= value != 0,
        }
        Asked::Nothing
    }

    fn write_status(&mut self, value: u8) -> Asked {
        if value == 0 {
            return Asked::Reset;
        }
        let value = value & DRIVER_STATUS;
        let mut added = value & !self.status;
        // A driver must not clear bits, other than by a reset.
        if self.status & !value != 0 {
            return Asked::Refused;
        }
        // Refused features show as FEATURES_OK still clear (virtio 1.2, 3.1.1).
        if !self.features_are_acceptable() {
            added &= !FEATURES_OK;
        }
        let now = self.status | added;
        if now & FEATURES_OK == 0 || now & FAILED != 0 {
            added &= !DRIVER_OK;
        }
        self.status |= added;
        if added & FAILED != 0 {
            Asked::GiveUp
        } else if added & DRIVER_OK != 0 {
            Asked::Run
        } else if value & !self.status != 0 {
            Asked::Refused
        } else {
            Asked::Nothing
        }
    }

    fn features_are_acceptable(&self) -> bool {
        self.driver_features & !self.offered == 0
            && self.driver_features & VERSION_1 != 0
            && !self.acked_beyond
    }

    fn write_queue(&mut self, register: Register, value: u32) -> Asked {
        // The rings live on private copies by now.
        if self.status & DRIVER_OK != 0 {
            return Asked::Refused;
        }
        let vector = self.bulletin.interrupts().accepted(half(value));
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
            return Asked::Refused;
        };
        match register {
            Register::QueueSize => queue.size = half(value),
            Register::QueueVector => queue.vector = vector,
            Register::QueueEnable if value == 1 => queue.enabled = true,
            Register::QueueReady if value <= 1 => queue.enabled = value == 1,
            Register::DescriptorsLow => set_low(&mut queue.descriptors, value),
            Register::DescriptorsHigh => set_high(&mut queue.descriptors, value),
            Register::AvailableLow => set_low(&mut queue.available, value),
            Register::AvailableHigh => set_high(&mut queue.available, value),
            Register::UsedLow => set_low(&mut queue.used, value),
            Register::UsedHigh => set_high(&mut queue.used, value),
            // Only a reset disables a queue, as VIRTIO_F_RING_RESET is not offered.
            _ => return Asked::Refused,
        }
        Asked::Nothing
    }
}

/// The word `select` of a set of features.
fn word(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// What 16 bits hold of a value; what they do not hold becomes the largest, which is no queue, no size of
/// one and no vector.
fn half(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}

#[cfg(test)]
#[path = "registers_test.rs"]
mod tests;
