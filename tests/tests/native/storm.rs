//! A guest that does whatever a broken or hostile driver may do to its card, at native speed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::bench::resident;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::peer::{Board, MEMORY_MIB};

use crate::{Guest, report};

/// Writes to rings and registers, by each way to drive a card.
const STRIKES: u64 = 250_000;
const STRIKES_LONG: u64 = 250_000_000;
/// What a machine may say at once, and each second after: a guest can cause warnings at will, so they are few.
const LINES: u64 = 200;
const LINES_A_SECOND: u64 = 4;
/// KiB that a machine may grow by after the first quarter.
const GROWTH: u64 = 2048;
/// The configuration space of PCI in our machines.
const ECAM: u64 = 0xe800_0000;

pub fn storm(guest: &Guest) -> Result<()> {
    let (strikes, limit) = match std::env::var_os("VMM_LONG") {
        Some(_) => (STRIKES_LONG, Duration::from_secs(3 * 3600)),
        None => (STRIKES, Duration::from_secs(120)),
    };
    let link = Link::open(TAP)?;
    let seed = seed();
    let line = format!("load=storm count={strikes} seed={seed} ecam={ECAM}");
    let began = Instant::now();
    let mut vmm = guest.start_by(&line, Board::Card { interface: TAP, queues: 1 })?;
    // Something is to be received, too.
    let flood = guest.wire.trickle(200)?;
    let mut first = None;
    loop {
        let report = report(&mut vmm, &link, limit).with_context(|| format!("storm {seed}"))?;
        ensure!(report.sent >= 1000, "storm {seed}: {report:?}");
        let beside = resident::beside(vmm.pid(), MEMORY_MIB)?;
        let before = *first.get_or_insert(beside);
        ensure!(beside < before + GROWTH, "storm {seed}: from {before} to {beside} KiB");
        if report.bytes >= strikes {
            break;
        }
    }
    drop(flood);
    let (said, may_say) =
        (guest.lines() as u64, LINES + LINES_A_SECOND * began.elapsed().as_secs());
    ensure!(said < may_say, "storm {seed}: {said} lines, at the end {}", guest.said());
    Ok(())
}

/// Another storm each time; a failure tells which.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_nanos() as u64 | 1)
}
