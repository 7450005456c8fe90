//! What of a machine outlives its process: all that its guest could tell, and nothing of the host.

use device_core::snapshot::Saved;
use serde::{Deserialize, Serialize};

use crate::kvm::vcpu_state::VcpuState;
use crate::kvm::vm_state::VmState;

/// A machine that rests, without its memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineState {
    /// In the order of their numbers.
    pub vcpus: Vec<VcpuState>,
    /// What KVM keeps beside them.
    pub kvm: VmState,
    /// Where memory of cards was that the guest reaches without an exit, each with its length in bytes, in the order
    /// in which the cards asked for it. They say so themselves; this is to have it there sooner.
    pub windows: Vec<(u64, u64)>,
    /// What every machine has.
    pub board: Vec<PartState>,
    /// What this one was asked to have, in order of attachment.
    pub devices: Vec<PartState>,
}

/// One part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartState {
    /// What the machine, or the user, calls it.
    pub id: String,
    /// Its state.
    pub saved: Saved,
}
