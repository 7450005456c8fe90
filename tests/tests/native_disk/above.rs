//! Disks that are overlays on a base, which stays what it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::host;
use tests::native::disk::{Image, Report};
use tests::process::{Owned, quiet};

use crate::{Guest, LIMIT, Test};

/// All of them.
pub const TESTS: [(&str, Test); 2] = [
    ("above_a_base_what_was_written_is_read_and_all_else_is_the_bases", verify),
    ("what_was_flushed_is_above_a_base_when_vmm_is_killed", killed),
];

/// A base, and an overlay that is not there yet.
struct Pair {
    base: PathBuf,
    overlay: PathBuf,
}

impl Pair {
    fn new(guest: &Guest, make: impl Fn(PathBuf) -> Result<Image>) -> Result<Pair> {
        let path = |name: &str| guest.folder.path().join(name);
        let pair = Pair { base: path("base.img"), overlay: path("over.cow") };
        drop(make(pair.base.clone())?);
        Ok(pair)
    }

    fn start(&self, guest: &Guest, line: &str) -> Result<Owned> {
        let options = format!("base={},{}", self.base.display(), guest.way.options);
        guest.start_on(&self.overlay, options.trim_end_matches(','), line)
    }

    /// The report that is in the overlay's file by now.
    fn wait_for(&self, vmm: &mut Owned, limit: Duration) -> Result<Report> {
        host::eventually("the overlay", LIMIT, || {
            let len = fs::metadata(&self.overlay).map_or(0, |about| about.len());
            Ok(len > 0 || vmm.wait(Duration::ZERO)?.is_some())
        })?;
        Image::overlay(self.overlay.clone())?.wait_for(vmm, 1, limit)
    }

    /// Both as one image, once nobody holds them.
    fn flat(&self, guest: &Guest) -> Result<Image> {
        let flat = guest.folder.path().join("flat.img");
        let _ = fs::remove_file(&flat);
        let words = [Path::new("disk"), "flatten".as_ref(), &self.overlay, "--base".as_ref()];
        let mut command = Command::new(&guest.peer.path);
        command.args(words).arg(&self.base).arg("--to").arg(&flat);
        quiet(&mut command)?;
        Image::at(flat)
    }
}

fn verify(guest: &Guest) -> Result<()> {
    // The guest takes what it has not written for zeroes.
    let pair = Pair::new(guest, |base| Image::empty(base, guest.length.image))?;
    let line = guest.line(&format!("disk=verify count={}", guest.length.bytes));
    let mut vmm = pair.start(guest, &line)?;
    let report = pair.wait_for(&mut vmm, guest.length.limit).with_context(|| line.clone())?;
    drop(vmm);
    ensure!(report.is_clean(), "{line}: {report:?}");
    ensure!(report.bytes >= guest.length.bytes && report.requests > 100, "{report:?}");
    let base = fs::read(&pair.base)?;
    ensure!(base.iter().all(|byte| *byte == 0), "nobody writes to the base");
    Ok(())
}

fn killed(guest: &Guest) -> Result<()> {
    for nth in 0..guest.length.kills {
        let pair = Pair::new(guest, |base| Image::filled(base, 4 << 20))?;
        let line = guest.line("disk=sync in-flight=8");
        let begun = Instant::now();
        let mut vmm = pair.start(guest, &line)?;
        pair.wait_for(&mut vmm, guest.length.limit).with_context(|| line.clone())?;
        // At any moment.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        std::thread::sleep(Duration::from_micros(u64::from(time.subsec_micros() % 100_000)));
        drop(vmm);
        let report = Image::overlay(pair.overlay.clone())?.report()?.context("no report")?;
        ensure!(report.is_clean(), "{line}: {report:?}");
        let flat = pair.flat(guest)?;
        flat.has_steps(report.step)
            .with_context(|| format!("kill {nth} after {:?}, {line}", begun.elapsed()))?;
        fs::remove_file(&pair.overlay)?;
        fs::remove_file(&pair.base)?;
    }
    Ok(())
}
