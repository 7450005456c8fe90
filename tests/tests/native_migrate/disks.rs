//! A machine that works on its disk, which both processes have by the same image: never at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::host;
use tests::native::disk::Image;

use crate::{LIMIT, Scene, is_long, to};

/// Bytes of the disk.
const DISK: u64 = (16 << 20) + 5 * 512;
/// How fast it may go: it is to be at work still when it goes.
const PACE: &str = "bw=48M";

/// Bytes that the guest reads and writes in all.
fn load() -> u64 {
    if is_long() { 8 << 30 } else { 256 << 20 }
}

/// Times that it goes, as long as it is at work, and how long that may take to its end.
fn turns() -> (usize, Duration) {
    if is_long() { (100, 10 * LIMIT) } else { (3, LIMIT) }
}

/// The guest goes in the middle of its work, and ends it elsewhere.
pub fn verify(scene: &Scene) -> Result<()> {
    let image = Image::empty(scene.path("disk"), DISK)?;
    let disk = format!("{},{PACE}", image.path().display());
    let line = format!("disk=verify count={} seed=7", load());
    let mut machine = scene.start_with(&["--cmdline", &line, "--disk", &disk])?;
    host::eventually("some of its writes", LIMIT, || {
        let disks = machine.api()?.get("/drives")?;
        let counted = disks[0]["counters"]["write_bytes"].as_u64().context("no count")?;
        Ok(counted > 6 << 20)
    })?;

    // To one whose image is not there it does not go.
    let place = |turn| format!("unix:{}", scene.destination(turn).display());
    let other = format!("disk0={}", scene.path("none").display());
    let mut wrong = scene.receive_at(&place(1), 1, &["--disk", &other])?;
    let body = to(&scene.destination(1)).to_string();
    let answer = machine.api()?.ask("PUT", "/migration", &body)?;
    ensure!(answer.status == 400 && answer.fault()?.contains("none"), "{answer:?}");
    ensure!(wrong.end()? == Some(7));

    let mut went = 0;
    let (turns, limit) = turns();
    for turn in 2..turns + 2 {
        if image.report()?.is_some() {
            break;
        }
        let mut target = scene.receive_at(&place(turn), turn, &[])?;
        let told = machine.migrate(&to(&scene.destination(turn)))?;
        ensure!(machine.end()? == Some(0), "{told}");
        target.await_api()?;
        machine = target;
        went += 1;
    }
    let enough = if is_long() { turns } else { 1 };
    ensure!(went >= enough, "it was at its end after it had gone {went} times");
    let mut told = None;
    host::eventually("a report", limit, || {
        told = image.report()?.filter(|report| report.step >= 1);
        Ok(told.is_some())
    })?;
    let report = told.context("no report")?;
    ensure!(report.is_clean(), "{report:?}");
    let digest = image.digest(report.sectors)?;
    ensure!(digest == report.digest, "{digest} in its image, {report:?}");
    Ok(())
}
