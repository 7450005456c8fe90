//! The floor: what a TAP costs by bare system calls, in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::native::guest::Load;
use crate::native::wire::{TAP, Wire};
use crate::process::stdout_of;

/// Builds the loops, `devices/net/examples/bare-tap.rs`.
pub fn build() -> Result<PathBuf> {
    cargo::example("net", "bare-tap")
}

/// Frames a second, and nanoseconds of CPU time a frame, of a bare loop that does what a VMM under this load
/// does at the TAP.
pub fn measure(
    program: &Path,
    wire: &Wire,
    load: Load,
    len: u32,
    for_long: Duration,
) -> Result<(f64, f64)> {
    let (way, flood) = match load {
        Load::Send => ("send", None),
        Load::Receive => ("receive", Some(wire.flood(len as usize)?)),
        Load::Answer => bail!("a floor has one way"),
    };
    let mut command = Command::new(program);
    command.args([TAP, way, &len.to_string(), &for_long.as_secs_f64().to_string()]);
    let text = stdout_of(&mut command)?;
    drop(flood);
    let numbers = text.trim().split_once(' ');
    let numbers = numbers.and_then(|(rate, cpu)| Some((rate.parse().ok()?, cpu.parse().ok()?)));
    numbers.with_context(|| format!("the floor said {text:?}"))
}
