//! What can be asked of memory that is plugged while the guest runs.

use devices::memory::{HotMemory, HotMemorySpec, SizeError};

/// One thing to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotMemoryAsk {
    Describe,
    /// Changes how many MiB the guest is to have.
    Request(u32),
}

/// How it is made, and what the guest has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotMemoryView {
    /// With what the guest is to have now.
    pub spec: HotMemorySpec,
    /// Bytes that it has.
    pub plugged: u64,
}

/// Why it did not do something. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum HotMemoryError {
    #[error("there is none; a machine has it that was given it before its start")]
    None,
    #[error(transparent)]
    Size(#[from] SizeError),
}

/// What it is like now.
pub fn view(memory: &HotMemory) -> HotMemoryView {
    HotMemoryView { spec: memory.spec(), plugged: memory.plugged() }
}
