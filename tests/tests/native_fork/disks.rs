//! Forks of a machine that works on its disk, which it finds as it believes it to be, and its children in their copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::native::disk::Image;
use tests::process::{quiet, stdout_of};
use tests::{host, programs};

use crate::{CHILDREN, LIMIT, Scene};

/// Bytes of the disk, and those that each guest reads and writes in all.
const DISK: u64 = (16 << 20) + 5 * 512;
const LOAD: u64 = 96 << 20;

/// A file system whose copies share blocks; it goes with this.
struct Shares {
    at: PathBuf,
}

impl Shares {
    /// Makes one in `folder`. None where the host mounts no such file system.
    fn new(folder: &Path) -> Result<Option<Shares>> {
        let (image, at) = (folder.join("xfs"), folder.join("mounted"));
        programs::ensure(&[programs::XFS_REPAIR])?;
        let mkfs = host::find("mkfs.xfs").context("no mkfs.xfs")?;
        fs::File::create(&image)?.set_len(512 << 20)?;
        quiet(Command::new(mkfs).args(["-q", "-m", "reflink=1"]).arg(&image))?;
        fs::create_dir(&at)?;
        let mounted = Command::new("mount").args(["-o", "loop"]).args([&image, &at]).output()?;
        Ok(mounted.status.success().then_some(Shares { at }))
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// The guest is forked in the middle of its work; all end it.
pub fn verify(scene: &Scene) -> Result<()> {
    let Some(shares) = Shares::new(scene.folder.path())? else {
        // What is left to see here is what there is in the place of copies.
        return above(scene, scene.folder.path());
    };
    let image = Image::empty(shares.at.join("disk"), DISK)?;
    let disk = image.path().to_str().context("no text")?.to_owned();
    let mut machine = start(scene, &disk)?;
    host::eventually("a tenth of its writes", LIMIT, || {
        let written = &machine.api.get("/drives")?[0]["counters"]["write_bytes"];
        Ok(written.as_u64().is_some_and(|bytes| bytes > LOAD / 10))
    })?;
    let children = machine.fork(&json!({ "count": CHILDREN }))?;
    ensure!(image.report()?.is_none(), "it was at its end before it was forked");
    let mut images = vec![image];
    for number in 1..=CHILDREN {
        images.push(Image::at(format!("{disk}.{number}").into())?);
    }
    for (number, image) in images.iter().enumerate() {
        let report = || image.report();
        let mut told = None;
        host::eventually("a report", LIMIT, || {
            told = report()?.filter(|report| report.step >= 1);
            Ok(told.is_some())
        })?;
        let report = told.context("no report")?;
        ensure!(report.is_clean(), "machine {number}: {report:?}");
        let digest = image.digest(report.sectors)?;
        ensure!(digest == report.digest, "machine {number}: {digest} in its image, {report:?}");
    }
    drop(machine);
    for child in &children {
        Api::connect(&child.socket)?.act("Kill")?;
        host::eventually("its end", LIMIT, || Ok(!child.lives()))?;
    }
    let file_system = stdout_of(Command::new("stat").args(["-f", "-c", "%T"]).arg(&shares.at))?;
    ensure!(file_system.trim() == "xfs", "{file_system}");
    above(scene, scene.folder.path())
}

fn start(scene: &Scene, disk: &str) -> Result<crate::Machine> {
    let line = format!("disk=verify count={LOAD} seed=7");
    scene.start_with(&["--cmdline", &line, "--disk", disk])
}

/// Where copies would share nothing, all go on in overlays above what the machine had.
fn above(scene: &Scene, folder: &Path) -> Result<()> {
    let base = Image::empty(folder.join("disk"), DISK)?;
    let disk = base.path().to_str().context("no text")?.to_owned();
    let _ = fs::remove_file(scene.path("api"));
    let mut machine = start(scene, &disk)?;
    host::eventually("a tenth of its writes", LIMIT, || {
        let written = &machine.api.get("/drives")?[0]["counters"]["write_bytes"];
        Ok(written.as_u64().is_some_and(|bytes| bytes > LOAD / 10))
    })?;
    let children = machine.fork(&json!({ "count": CHILDREN }))?;
    ensure!(base.report()?.is_none(), "it was at its end before it was forked");
    let now = machine.api.get("/drives/disk0")?;
    if now["path_on_host"] == disk {
        // The folder for temporary files is on a file system that shares blocks.
        return Ok(());
    }
    ensure!(now["path_on_host"] == format!("{disk}.own-1"), "{now}");
    ensure!(now["base_paths_on_host"] == json!([disk]), "{now}");
    let as_it_was = fs::read(&disk)?;
    let mut overlays = vec![format!("{disk}.own-1")];
    overlays.extend((1..=CHILDREN).map(|number| format!("{disk}.{number}")));
    let mut reports = Vec::new();
    for overlay in &overlays {
        let image = Image::overlay(overlay.into())?;
        let mut told = None;
        host::eventually("a report", LIMIT, || {
            told = image.report()?.filter(|report| report.step >= 1);
            Ok(told.is_some())
        })?;
        reports.push(told.context("no report")?);
    }
    machine.api.act("Kill")?;
    machine.process.ended(LIMIT)?;
    for child in &children {
        Api::connect(&child.socket)?.act("Kill")?;
        host::eventually("its end", LIMIT, || Ok(!child.lives()))?;
    }
    for (overlay, report) in overlays.iter().zip(&reports) {
        ensure!(report.is_clean(), "{overlay}: {report:?}");
        let flat = format!("{overlay}.flat");
        let words = ["disk", "flatten", overlay, "--base", &disk, "--to", &flat];
        quiet(Command::new(&scene.vmm).args(words))?;
        let digest = Image::at(flat.into())?.digest(report.sectors)?;
        ensure!(digest == report.digest, "{overlay}: it has {digest}, and {report:?}");
    }
    ensure!(fs::read(&disk)? == as_it_was, "nobody writes to the base");
    Ok(())
}
