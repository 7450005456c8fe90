//! Cards with several queue pairs, served in turn by one CPU.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::frames::Link;
use tests::host::eventually;
use tests::native::guest::{Load, command_line};
use tests::native::line::TAP;
use tests::native::peer::{Board, MAC};
use tests::native::report::Report;
use tests::process::Owned;

use crate::{Guest, LIMIT, report};

const QUEUES: u16 = 4;
/// Parts of its fair share that a queue must have had, whatever else the machine does: it may be slow, but not
/// starve.
const SHARE: u64 = 20;

fn start(guest: &Guest, load: Load, more: &str) -> Result<Owned> {
    guest.wire.take_queues(QUEUES)?;
    let line = command_line(load, 60, QUEUES, more);
    guest.start_by(&line, Board::Card { interface: TAP, queues: QUEUES })
}

/// Checks that each queue has done its part one way: 0 to send, 1 to receive.
fn none_starves(report: &Report, way: usize, frames: u64) -> Result<()> {
    ensure!(report.pairs.len() == usize::from(QUEUES), "{report:?}");
    let sum: u64 = report.pairs.iter().map(|pair| pair[way]).sum();
    ensure!(sum == [report.sent, report.received][way], "{report:?}");
    let least = frames / u64::from(QUEUES) / SHARE;
    ensure!(report.pairs.iter().all(|pair| pair[way] >= least), "{report:?}");
    Ok(())
}

pub fn send(guest: &Guest) -> Result<()> {
    guest.wire.take_queues(QUEUES)?;
    let link = Link::open(TAP)?;
    let before = guest.wire.passed()?;
    let mut vmm = start(guest, Load::Send, "count=200000")?;
    let report = report(&mut vmm, &link, LIMIT)?;
    ensure!(report.sent >= 200_000, "{report:?}");
    // The report may have overtaken what is in other queues.
    eventually("all frames of all queues", LIMIT, || {
        Ok(guest.wire.passed()?.out - before.out > report.sent)
    })?;
    none_starves(&report, 0, report.sent)
}

pub fn receive(guest: &Guest) -> Result<()> {
    guest.wire.take_queues(QUEUES)?;
    let link = Link::open(TAP)?;
    let mut vmm = start(guest, Load::Receive, "count=50000")?;
    let flood = guest.wire.flood(1000)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    ensure!(report.received >= 50_000 && report.bytes == report.received * 1000, "{report:?}");
    none_starves(&report, 1, report.received)
}

pub fn both(guest: &Guest) -> Result<()> {
    guest.wire.take_queues(QUEUES)?;
    let link = Link::open(TAP)?;
    let mut vmm = start(guest, Load::Both, "count=400000")?;
    let flood = guest.wire.flood(200)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    none_starves(&report, 0, report.sent)?;
    none_starves(&report, 1, report.received)
}

pub fn answer(guest: &Guest) -> Result<()> {
    guest.wire.take_queues(QUEUES)?;
    let link = Link::open(TAP)?;
    let frames = guest.wire.frames(100);
    let mut vmm = start(guest, Load::Answer, "count=2000")?;
    let begun = Instant::now();
    while link.send(&frames[0]).is_err()
        || link.hear_first(&MAC, Duration::from_millis(50))?.is_none()
    {
        ensure!(begun.elapsed() < LIMIT, "no answer");
    }
    while link.hear_first(&MAC, Duration::from_millis(200))?.is_some() {}
    for frame in frames.iter().chain(&frames) {
        link.send(frame)?;
        let answer = link.hear_first(&MAC, LIMIT)?.context("no answer")?;
        ensure!(answer[12..] == frame[12..], "{answer:02x?} to {frame:02x?}");
    }
    let flood = guest.wire.trickle(100)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    ensure!(report.sent == report.received, "{report:?}");
    ensure!(
        report.pairs.iter().all(|[sent, received]| sent == received && *sent > 0),
        "{report:?}"
    );
    Ok(())
}
