//! Snapshots of what has changed: laid over their base they are what a full snapshot of the same moment is, whoever
//! wrote to memory (snapshot facts, statements 39 to 42).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;

use super::{FRAMES, LIMIT, Machine, Scene, Test, WITNESS, reach};

pub const OF_CARDS: [(&str, Test); 2] = [
    ("each_page_that_changes_is_among_the_changes", tracked),
    ("changes_since_a_restore_are_told_without_tracking", untracked),
];

pub const OF_DISKS: [(&str, Test); 1] =
    [("each_page_that_a_disk_is_read_to_is_among_the_changes", of_disks)];

const TRACK: &str = "--track-dirty-pages";

fn rounds() -> usize {
    if std::env::var_os("VMM_LONG").is_some() { 100 } else { 3 }
}

impl Machine {
    /// Writes what has changed into a folder, as `vmm ctl` does.
    pub(super) fn save_changes(&mut self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let (state, memory) = (folder.join("state"), folder.join("memory"));
        let body =
            json!({ "snapshot_path": state, "mem_file_path": memory, "snapshot_type": "Diff" });
        self.api.done("PUT", "/snapshot/create", &body)
    }
}

impl Scene {
    /// What `vmm snapshot` says. Fails if it does.
    pub(super) fn snapshot(&self, words: &[&str], paths: &[&Path]) -> Result<String> {
        let mut command = Command::new(&self.vmm);
        let output = command.arg("snapshot").args(words).args(paths).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?} {paths:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The numbered pair of folders of a round: for changes, and for all.
    fn folders(&self, round: usize) -> (PathBuf, PathBuf) {
        (self.path(&format!("changes{}", round % 2)), self.path(&format!("all{}", round % 2)))
    }

    /// Whether what has changed, laid over the base, is what all is.
    pub(super) fn compare(&self, base: &Path, changes: &Path, all: &Path) -> Result<()> {
        let to = self.path("merged");
        self.snapshot(&["merge", "--to"], &[&to, base, changes])?;
        is_same(&to.join("memory"), &all.join("memory"))
    }
}

/// Whether two files are the same, byte for byte.
fn is_same(one: &Path, other: &Path) -> Result<()> {
    const STEP: usize = 1 << 20;
    let (files, mut bytes) =
        ([File::open(one)?, File::open(other)?], [vec![0; STEP], vec![0; STEP]]);
    let len = files[0].metadata()?.len();
    ensure!(len == files[1].metadata()?.len(), "{} has {len} bytes", one.display());
    for at in (0..len).step_by(STEP) {
        let step = STEP.min((len - at) as usize);
        for (file, bytes) in files.iter().zip(&mut bytes) {
            file.read_exact_at(&mut bytes[..step], at)?;
        }
        let [one, other] = &bytes;
        if one != other {
            let place = one.iter().zip(other).take_while(|(one, other)| one == other).count();
            bail!("they differ at {:#x}", at + place as u64);
        }
    }
    Ok(())
}

/// Bytes that a memory's file takes.
fn on_disk(folder: &Path) -> Result<u64> {
    Ok(fs::metadata(folder.join("memory"))?.blocks() * 512)
}

fn tracked(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start_with(WITNESS, &[TRACK])?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let (first, mut base) = scene.folders(0);
    machine.save_changes(&first)?;
    machine.save(&base)?;
    // Since the beginning: there was no other.
    is_same(&first.join("memory"), &base.join("memory"))?;
    for round in 1..=rounds() {
        machine.resume()?;
        reach(&mut listener, 20)?;
        machine.pause()?;
        let (changes, all) = scene.folders(round);
        let _ = fs::remove_dir_all(&changes);
        machine.save_changes(&changes)?;
        machine.save(&all)?;
        scene.compare(&base, &changes, &all).with_context(|| format!("round {round}"))?;
        let (of_changes, of_all) = (on_disk(&changes)?, on_disk(&all)?);
        ensure!(of_changes < of_all, "changes take {of_changes} bytes, and all {of_all}");
        base = all;
    }
    // In a file that has the last one's memory all is as it is now, and goes on.
    machine.resume()?;
    reach(&mut listener, 5)?;
    machine.pause()?;
    machine.save_changes(&base)?;
    let told = scene.snapshot(&["show"], &[&base])?;
    ensure!(told.contains(", full,"), "{told}");
    scene.snapshot(&["check"], &[&base])?;
    // A file of another one's is left alone.
    let (other, _) = scene.folders(0);
    let (state, memory) = (scene.path("state"), other.join("memory"));
    let body = json!({ "snapshot_path": state, "mem_file_path": memory, "snapshot_type": "Diff" });
    let answer = machine.api.ask("PUT", "/snapshot/create", &body.to_string())?;
    ensure!(answer.fault()?.contains("memory that is not of the last snapshot"), "{answer:?}");
    drop(machine);
    let machine = scene.restore(&base)?;
    listener.hear_many(FRAMES, LIMIT)?;
    drop(machine);
    Ok(())
}

fn untracked(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let base = scene.path("base");
    machine.save(&base)?;
    machine.resume()?;
    reach(&mut listener, 5)?;
    machine.pause()?;
    // Nobody has looked: all that there is may have changed.
    let (changes, all) = (scene.path("changes"), scene.path("all"));
    machine.save_changes(&changes)?;
    machine.save(&all)?;
    scene.compare(&base, &changes, &all).context("since the beginning")?;
    drop(machine);

    let mut machine = scene.restore(&all)?;
    for round in 0..3 {
        reach(&mut listener, 5)?;
        machine.pause()?;
        let (changes, now) = scene.folders(round);
        let _ = fs::remove_dir_all(&changes);
        machine.save_changes(&changes)?;
        machine.save(&now)?;
        // Always since what it came from.
        scene.compare(&all, &changes, &now).with_context(|| format!("round {round}"))?;
        let (of_changes, of_all) = (on_disk(&changes)?, on_disk(&now)?);
        ensure!(of_changes < of_all, "changes take {of_changes} bytes, and all {of_all}");
        machine.resume()?;
    }
    drop(machine);
    // The changes alone are not loaded, and go on once they are merged.
    let (changes, _) = scene.folders(2);
    let refused = Command::new(&scene.vmm).arg("restore").arg(&changes).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && said.contains("vmm snapshot merge"), "{said}");
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let machine = scene.restore(&scene.path("merged"))?;
    listener.hear_many(FRAMES, LIMIT)?;
    drop(machine);
    Ok(())
}

fn of_disks(scene: &Scene) -> Result<()> {
    let image = scene.path("image");
    File::create(&image)?.set_len(16 << 20)?;
    let model = if scene.card.model == "ena" { "nvme" } else { "virtio" };
    let mut command = scene.command("disk=verify count=1000000000000000");
    command.arg(TRACK).arg("--disk").arg(format!("{},model={model}", image.display()));
    let mut machine = scene.run(command)?;
    let writes = |image: &Path| Ok::<_, anyhow::Error>(fs::metadata(image)?.mtime_nsec());
    let mut base = None;
    for round in 0..=rounds() {
        let before = writes(&image)?;
        tests::host::eventually("the disk is written to", LIMIT, || Ok(writes(&image)? != before))?;
        machine.pause()?;
        let (changes, all) = scene.folders(round);
        let _ = fs::remove_dir_all(&changes);
        machine.save_changes(&changes)?;
        machine.save(&all)?;
        if let Some(base) = base.replace(all.clone()) {
            scene.compare(&base, &changes, &all).with_context(|| format!("round {round}"))?;
        }
        machine.resume()?;
    }
    ensure!(machine.process.wait(std::time::Duration::ZERO)?.is_none());
    Ok(())
}
