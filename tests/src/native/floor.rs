//! The floor: what a line costs without a VMM, in the same run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::cargo;
use crate::native::guest::Load;
use crate::native::line::Line;
use crate::native::wire::{Flood, Wire};
use crate::process::{mortal, stdout_of};

/// The loops' programs.
pub struct Floors {
    tap: PathBuf,
    packet: PathBuf,
}

/// What loops took.
pub struct Figures {
    /// Frames a second.
    pub rate: f64,
    /// Nanoseconds of CPU time a frame.
    pub cpu: f64,
    /// The same of who sent them, a frame that it tried to send.
    pub sender: Option<f64>,
}

/// Builds the loops, `devices/net/examples/bare-tap.rs` and `bare-packet.rs`.
pub fn build() -> Result<Floors> {
    let example = |name| cargo::example("net", name);
    Ok(Floors { tap: example("bare-tap")?, packet: example("bare-packet")? })
}

/// Of bare loops that do what a VMM under this load does at the line, one on each of so many queues. `None` for a
/// load that has both ways, and for several queues of a pair: each loop would hear all that comes.
pub fn measure(
    programs: &Floors,
    wire: &Wire,
    line: Line,
    (load, len, queues): (Load, u32, u16),
    for_long: Duration,
) -> Result<Option<Figures>> {
    if line == Line::Veth && queues > 1 {
        return Ok(None);
    }
    let (way, flood) = match load {
        Load::Send => ("send", None),
        Load::Receive => ("receive", Some(wire.flood_on(line, len as usize)?)),
        Load::Both | Load::Answer => return Ok(None),
    };
    let program = if line == Line::Veth { &programs.packet } else { &programs.tap };
    let run = || {
        let mut command = mortal(program);
        command.args([line.near(), way, &len.to_string(), &for_long.as_secs_f64().to_string()]);
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
    let sender = flood.map(Flood::end);
    let rate: f64 = loops.iter().map(|(rate, _)| rate).sum();
    let cpu: f64 = loops.iter().map(|(rate, cpu)| rate * cpu).sum();
    Ok(Some(Figures { rate, cpu: cpu / rate, sender }))
}
