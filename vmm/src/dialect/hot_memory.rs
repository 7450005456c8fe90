//! `/hotplug/memory`.

use devices::memory::HotMemorySpec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::vm::hot_memory::HotMemoryView;

/// Memory that the guest gets, and gives up, while it runs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplug {
    /// All that the guest can have of it, in MiB: a multiple of `slot_size_mib`.
    pub total_size_mib: u32,
    /// What it comes and goes in, in MiB: a power of two, 2 at least.
    #[serde(default = "least_block")]
    pub block_size_mib: u32,
    /// What the guest cannot reach if it has nothing of it, in MiB: a multiple of `block_size_mib`, 128 at least.
    #[serde(default = "least_slot")]
    pub slot_size_mib: u32,
    /// What the guest is to have at first, in MiB: a multiple of `block_size_mib`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub requested_size_mib: u32,
}

fn least_block() -> u32 {
    HotMemorySpec::LEAST_BLOCK
}

fn least_slot() -> u32 {
    HotMemorySpec::LEAST_SLOT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde has it so")]
fn is_none(mib: &u32) -> bool {
    *mib == 0
}

/// How much of it the guest is to have.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugPatch {
    /// In MiB: a multiple of `block_size_mib`, and no more than there is.
    pub requested_size_mib: u32,
}

impl From<MemoryHotplug> for HotMemorySpec {
    fn from(body: MemoryHotplug) -> HotMemorySpec {
        HotMemorySpec {
            total_mib: body.total_size_mib,
            block_mib: body.block_size_mib,
            slot_mib: body.slot_size_mib,
            requested_mib: body.requested_size_mib,
        }
    }
}

impl From<&HotMemorySpec> for MemoryHotplug {
    fn from(spec: &HotMemorySpec) -> MemoryHotplug {
        MemoryHotplug {
            total_size_mib: spec.total_mib,
            block_size_mib: spec.block_mib,
            slot_size_mib: spec.slot_mib,
            requested_size_mib: spec.requested_mib,
        }
    }
}

/// How it is made, what the guest is to have and what it has.
pub fn shown(view: &HotMemoryView) -> Value {
    json!({
        "total_size_mib": view.spec.total_mib,
        "block_size_mib": view.spec.block_mib,
        "slot_size_mib": view.spec.slot_mib,
        "requested_size_mib": view.spec.requested_mib,
        "plugged_size_mib": view.plugged >> 20,
    })
}

#[cfg(test)]
#[path = "hot_memory_test.rs"]
mod tests;
