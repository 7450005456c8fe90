//! What of the device outlives its process: which blocks the guest has. What is in them is memory's own part.

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};

use super::HotMemory;

/// The device without its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotMemoryState {
    /// Guest-physical address of the first block; it must come back there.
    pub address: u64,
    /// Bytes of all blocks; the same.
    pub size: u64,
    /// Bytes of a block; the same.
    pub block_size: u64,
    /// Bytes that the guest is to have.
    pub requested: u64,
    /// Bytes from the first block on in which it may plug some.
    pub usable: u64,
    /// A bit for each block, the lowest of the first byte first: whether the guest has it.
    #[serde(with = "blob")]
    pub plugged: Vec<u8>,
}

impl Snapshot for HotMemory {
    type State = HotMemoryState;
    const KIND: &'static str = "virtio-mem";
    const VERSION: u16 = 1;

    fn save(&self) -> HotMemoryState {
        let state = &self.state;
        HotMemoryState {
            address: state.region.start(),
            size: state.size(),
            block_size: state.region.blocks().block_bytes(),
            requested: state.requested(),
            usable: state.usable(),
            plugged: state.region.blocks().to_bytes(),
        }
    }

    fn load(&self, saved: HotMemoryState) -> Result<(), LoadError> {
        let refuse = |field, why: String| Err(LoadError::field(HotMemory::KIND, field, why));
        let own = Snapshot::save(self);
        for (field, found, own) in [
            ("address", saved.address, own.address),
            ("size", saved.size, own.size),
            ("block_size", saved.block_size, own.block_size),
        ] {
            if found != own {
                return refuse(field, format!("it is {found:#x}; here it is {own:#x}"));
            }
        }
        let is_size = |bytes: u64| bytes <= saved.size && bytes.is_multiple_of(saved.block_size);
        if !is_size(saved.requested) || saved.requested > saved.usable {
            return refuse(
                "requested",
                format!("{:#x} bytes cannot be asked for", saved.requested),
            );
        }
        if !is_size(saved.usable) {
            return refuse("usable", format!("{:#x} bytes cannot be usable", saved.usable));
        }
        let found = saved.plugged.len();
        if found != own.plugged.len() {
            return refuse("plugged", format!("{found} bytes instead of {}", own.plugged.len()));
        }
        let runs = runs(&saved.plugged);
        let usable = saved.usable.checked_div(saved.block_size).unwrap_or(0);
        if let Some((first, count)) = runs.last().copied()
            && first.saturating_add(count) > usable
        {
            return refuse("plugged", "a block is plugged that is not usable".to_string());
        }
        let region = &self.state.region;
        for (first, count) in runs {
            if let Err(error) = region.plug(first, count) {
                return refuse(
                    "plugged",
                    format!("{count} blocks from number {first} on: {error}"),
                );
            }
        }
        self.state.set_requested(saved.requested);
        self.state.set_usable(saved.usable);
        Ok(())
    }
}

/// Runs of set bits, each as the first and their number.
fn runs(bytes: &[u8]) -> Vec<(u64, u64)> {
    let bits = bytes.iter().flat_map(|byte| (0..u8::BITS).map(move |bit| byte >> bit & 1 != 0));
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut is_open = false;
    for (at, is_set) in (0u64..).zip(bits) {
        match runs.last_mut() {
            Some((_, count)) if is_set && is_open => *count = count.saturating_add(1),
            _ if is_set => runs.push((at, 1)),
            _ => {}
        }
        is_open = is_set;
    }
    runs
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;
