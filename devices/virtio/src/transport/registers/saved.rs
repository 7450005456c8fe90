//! What of the registers outlives its process.

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{DRIVER_OK, DRIVER_STATUS, FAILED, FEATURES_OK, Registers};
use crate::transport::queue::QueueRegisters;

/// The registers that a driver writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterState {
    /// Device status (virtio 1.2, 2.1) without DEVICE_NEEDS_RESET.
    pub status: u8,
    /// Which word of the device's features is shown.
    pub device_feature_select: u32,
    /// Which word of the driver's features is shown.
    pub driver_feature_select: u32,
    /// What the driver accepts.
    pub driver_features: u64,
    /// It acknowledged a feature past bit 63.
    pub acked_beyond: bool,
    /// Which queue the queue registers are of.
    pub queue_select: u16,
    /// Of each queue.
    pub queues: Vec<QueueRegisters>,
}

impl Registers {
    /// The registers as they are now.
    pub fn saved(&self) -> RegisterState {
        RegisterState {
            status: self.status,
            device_feature_select: self.device_feature_select,
            driver_feature_select: self.driver_feature_select,
            driver_features: self.driver_features,
            acked_beyond: self.acked_beyond,
            queue_select: self.queue_select,
            queues: self.queues.clone(),
        }
    }

    /// Becomes what `state`, of a `kind`, says. Fails if no driver could have brought that about here.
    pub fn restore(&mut self, kind: &'static str, state: RegisterState) -> Result<(), LoadError> {
        let refuse = |field, why: String| Err(LoadError::field(kind, field, why));
        if state.queues.len() != self.max_sizes.len() {
            let (found, own) = (state.queues.len(), self.max_sizes.len());
            return refuse("queues", format!("there are {found}; this device has {own}"));
        }
        let interrupts = self.bulletin.interrupts();
        let known = |queue: &QueueRegisters| interrupts.accepted(queue.vector) == queue.vector;
        if let Some(index) = state.queues.iter().position(|queue| !known(queue)) {
            return refuse("queues", format!("queue {index} has a vector that is not there"));
        }
        let status = state.status;
        if status & !DRIVER_STATUS != 0 || status & DRIVER_OK != 0 && status & FEATURES_OK == 0 {
            return refuse("status", format!("no driver can set it to {status:#x}"));
        }
        self.driver_features = state.driver_features;
        self.acked_beyond = state.acked_beyond;
        if status & FEATURES_OK != 0 && !self.features_are_acceptable() {
            let (found, own) = (state.driver_features, self.offered);
            return refuse("driver_features", format!("{found:#x}; this device offers {own:#x}"));
        }
        self.status = status;
        self.device_feature_select = state.device_feature_select;
        self.driver_feature_select = state.driver_feature_select;
        self.queue_select = state.queue_select;
        self.queues = state.queues;
        Ok(())
    }

    /// What was agreed on; none before FEATURES_OK.
    pub fn agreed_features(&self) -> u64 {
        if self.status & FEATURES_OK != 0 { self.driver_features } else { 0 }
    }

    /// Whether the driver let the device run, and has not given it up.
    pub fn wants_it_to_run(&self) -> bool {
        self.status & (DRIVER_OK | FAILED) == DRIVER_OK
    }
}
