//! The guest: its file, and what its command line can say.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Where the guest's source is, from the workspace.
pub const FOLDER: &str = "tests/native-guest";

/// Where it is built.
pub fn target() -> PathBuf {
    cargo::workspace().join("target/native-guest")
}

/// Builds the guest; the file is a kernel for PVH, and for Linux's 64-bit entry.
pub fn build() -> Result<PathBuf> {
    let (folder, target) = (cargo::workspace().join(FOLDER), target());
    let status = cargo::command()
        .args(["build", "--quiet", "--release", "--target-dir"])
        .arg(&target)
        .current_dir(&folder)
        // It is linked in a way of its own.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the native guest was not built");
    Ok(target.join("release/native-guest"))
}

/// What the guest does with its card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Sends as many frames as the card takes.
    Send,
    /// Receives as many as come.
    Receive,
    /// Does both.
    Both,
    /// Sends each frame back that it receives.
    Answer,
}

impl Load {
    /// As the command line of the guest has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Both => "both",
            Self::Answer => "answer",
        }
    }
}

/// The guest's command line for a load with frames of `len` bytes on so many queue pairs, and more words.
pub fn command_line(load: Load, len: u32, queues: u16, more: &str) -> String {
    format!("load={} len={len} queues={queues} {more}", load.word()).trim_end().to_owned()
}
