//! What is said of a machine: what it is, and what it is like, but for its memory.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::snapshot::format::ARCHITECTURE;
use crate::snapshot::kept::Kept;
use crate::vm::saved::MachineState;

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Version of the vmm that sends it.
    pub vmm_version: String,
    /// Of the processor, as Rust has it.
    pub architecture: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// What it is made of, in the layout of a configuration file.
    pub config: Value,
    /// What it was like.
    pub state: MachineState,
    /// What it had in its process alone.
    pub kept: Kept,
    /// Whether it is to run.
    pub runs: bool,
}

impl Machine {
    /// Of this process, with memory of so many bytes.
    pub fn here(
        memory_bytes: u64,
        config: Value,
        state: MachineState,
        kept: Kept,
        runs: bool,
    ) -> Machine {
        let (vmm_version, architecture) =
            (env!("VMM_VERSION").to_string(), ARCHITECTURE.to_string());
        Machine { vmm_version, architecture, memory_bytes, config, state, kept, runs }
    }
}
