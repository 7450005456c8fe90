//! A machine that works on its disk, which both processes have by the same image: never at once.

use anyhow::{Context, Result, ensure};
use tests::host;
use tests::native::disk::Image;

use crate::{LIMIT, Scene, to};

/// Bytes of the disk, and those that the guest reads and writes in all.
const DISK: u64 = (16 << 20) + 5 * 512;
const LOAD: u64 = 256 << 20;
/// How fast it may go: it is to be at work still when it goes.
const PACE: &str = "bw=48M";

/// The guest goes in the middle of its work, and ends it elsewhere.
pub fn verify(scene: &Scene) -> Result<()> {
    let image = Image::empty(scene.path("disk"), DISK)?;
    let disk = format!("{},{PACE}", image.path().display());
    let line = format!("disk=verify count={LOAD} seed=7");
    let mut machine = scene.start_with(&["--cmdline", &line, "--disk", &disk])?;
    host::eventually("some of its writes", LIMIT, || {
        let disks = machine.api()?.get("/drives")?;
        let counted = disks[0]["counters"]["write_bytes"].as_u64().context("no count")?;
        Ok(counted > LOAD / 40)
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
    for turn in 2..=4 {
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
    ensure!(went > 0, "it was at its end before it could go");
    let mut told = None;
    host::eventually("a report", LIMIT, || {
        told = image.report()?.filter(|report| report.step >= 1);
        Ok(told.is_some())
    })?;
    let report = told.context("no report")?;
    ensure!(report.is_clean(), "{report:?}");
    let digest = image.digest(report.sectors)?;
    ensure!(digest == report.digest, "{digest} in its image, {report:?}");
    Ok(())
}
