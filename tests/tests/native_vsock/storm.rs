//! A guest that does whatever a broken or hostile driver may do to its vsock, at native speed.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::native::vsock_bench::ECHO;
use tests::vsock::{host_side, try_guest};

use crate::Scene;

/// Writes to rings and registers.
const STRIKES: u64 = 250_000;
const STRIKES_LONG: u64 = 25_000_000;
/// Port of the echo that there is when it is over.
const OVER: u32 = 1002;
/// Bytes that show that the device works.
const PROOF: u64 = 1 << 20;
/// How long one who was accepted waits for an echo: in a storm anything may be said.
const PATIENCE: Duration = Duration::from_secs(5);
/// KiB that a machine may grow by.
const GROWTH: u64 = 4096;
/// The configuration space of PCI in our machines.
const ECAM: u64 = 0xe800_0000;

pub fn storm(scene: &Scene) -> Result<()> {
    let (strikes, limit) = match std::env::var_os("VMM_LONG") {
        Some(_) => (STRIKES_LONG, Duration::from_secs(3600)),
        None => (STRIKES, Duration::from_secs(120)),
    };
    let seed = seed();
    let machine = scene.start(&format!("vsock=storm count={strikes} seed={seed} ecam={ECAM}"))?;
    let (begun, before) = (Instant::now(), machine.beside()?);
    let mut parts = 0;
    while !works(scene, OVER)? {
        parts += u32::from(works(scene, ECHO)?);
        ensure!(begun.elapsed() < limit, "storm {seed}: it worked {parts} times, and is not over");
    }
    ensure!(parts > 0, "storm {seed}: it never worked");
    let beside = machine.beside().with_context(|| format!("storm {seed}"))?;
    ensure!(beside < before + GROWTH, "storm {seed}: from {before} to {beside} KiB");
    Ok(())
}

/// Whether somebody listens, and says all back.
fn works(scene: &Scene, port: u32) -> Result<bool> {
    let Some(mut stream) = try_guest(&scene.vsock, port)? else { return Ok(false) };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut echo = [0];
    let answered = stream.write_all(b"?").and_then(|()| stream.read_exact(&mut echo));
    Ok(answered.is_ok() && echo == *b"?" && host_side(&stream, 1, PROOF).is_ok())
}

/// Another storm each time; a failure tells which.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_nanos() as u64 | 1)
}
