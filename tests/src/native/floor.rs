//! The floor: what a TAP costs by bare system calls, in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::cargo;
use crate::native::guest::Load;
use crate::native::wire::{TAP, Wire};
use crate::process::stdout_of;

/// Builds the loops, `devices/net/examples/bare-tap.rs`.
pub fn build() -> Result<PathBuf> {
    cargo::example("net", "bare-tap")
}

/// Frames a second, and nanoseconds of CPU time a frame, of bare loops that do what a VMM under this load does at
/// the TAP, one on each of so many queues. `None` for a load that has both ways.
pub fn measure(
    program: &Path,
    wire: &Wire,
    (load, len, queues): (Load, u32, u16),
    for_long: Duration,
) -> Result<Option<(f64, f64)>> {
    let (way, flood) = match load {
        Load::Send => ("send", None),
        Load::Receive => ("receive", Some(wire.flood(len as usize)?)),
        Load::Both | Load::Answer => return Ok(None),
    };
    let run = || {
        let mut command = Command::new(program);
        command.args([TAP, way, &len.to_string(), &for_long.as_secs_f64().to_string()]);
        let text = stdout_of(&mut command)?;
        let numbers = text.trim().split_once(' ');
        let numbers = numbers.and_then(|(rate, cpu)| Some((rate.parse().ok()?, cpu.parse().ok()?)));
        numbers.with_context(|| format!("the floor said {text:?}"))
    };
    let loops: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..queues).map(|_| scope.spawn(run)).collect();
        let done = loops.into_iter().map(|one| one.join().map_err(|_| anyhow!("it panicked"))?);
        done.collect::<Result<_>>()
    })?;
    drop(flood);
    let rate: f64 = loops.iter().map(|(rate, _)| rate).sum();
    let cpu: f64 = loops.iter().map(|(rate, cpu)| rate * cpu).sum();
    Ok(Some((rate, cpu / rate)))
}
