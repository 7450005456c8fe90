//! A snapshot is the old one or the new one, whatever happens while it is written (snapshot facts, statements 43 to 45).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;
use tests::process;

use super::{FRAMES, LIMIT, Machine, Scene, Test, WITNESS, reach};

pub const TESTS: [(&str, Test); 3] = [
    ("a_vmm_that_is_killed_while_it_writes_leaves_the_old_or_the_new_snapshot", killed),
    ("a_disk_that_is_full_loses_nothing_of_what_has_changed", full),
    ("a_machine_is_not_changed_by_snapshots_over_the_file_that_it_comes_from", own),
];

fn kills() -> u64 {
    if std::env::var_os("VMM_LONG").is_some() { 200 } else { 10 }
}

/// Its name, and whether it is as it was written.
fn name(scene: &Scene, folder: &Path) -> Result<String> {
    scene.snapshot(&["check"], &[folder])?;
    let shown = scene.snapshot(&["show"], &[folder])?;
    let name = shown.lines().find_map(|line| line.strip_prefix("name "));
    Ok(name.context("no name")?.trim().to_owned())
}

/// In each round a machine is killed at another moment of a save that takes as long as the one before.
fn killed(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start_with(WITNESS, &["--track-dirty-pages"])?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    let begun = Instant::now();
    machine.save(&folder)?;
    let took = begun.elapsed();
    drop(machine);
    let mut last = name(scene, &folder)?;
    let (mut old, mut new) = (0, 0);
    for round in 0..kills() {
        let mut listener = Listener::new(Link::open(TAP)?)?;
        let mut machine = scene.restore(&folder)?;
        listener.hear_many(FRAMES, LIMIT)?;
        machine.pause()?;
        let (state, memory) = (folder.join("state"), folder.join("memory"));
        let body = json!({ "snapshot_path": state, "mem_file_path": memory });
        machine.api.send("PUT", "/snapshot/create", &body.to_string())?;
        // Evenly over all of it, and a little behind.
        std::thread::sleep(took.mul_f64(1.2 * round as f64 / kills() as f64));
        // By SIGKILL.
        drop(machine);
        let now = name(scene, &folder).with_context(|| format!("round {round}"))?;
        if now == last {
            old += 1
        } else {
            new += 1
        }
        last = now;
    }
    ensure!(old > 0, "each save was whole before the kill: {new}");
    // What was left by those who were killed goes with the next.
    let mut machine = scene.restore(&folder)?;
    machine.pause()?;
    machine.save(&folder)?;
    let names = fs::read_dir(&folder)?.count();
    ensure!(names == 2, "{names} files");
    Ok(())
}

/// A small file system, as long as this lives.
struct Small(PathBuf);

impl Small {
    fn new(place: PathBuf, options: &str) -> Result<Small> {
        fs::create_dir_all(&place)?;
        process::quiet(
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&place),
        )?;
        Ok(Small(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Its folder cannot be removed then, which is told.
        let _ = process::quiet(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Asks for a snapshot that cannot be written, and for what it says.
fn refused(machine: &mut Machine, folder: &Path, kind: &str) -> Result<String> {
    let (state, memory) = (folder.join("state"), folder.join("memory"));
    let body = json!({ "snapshot_path": state, "mem_file_path": memory, "snapshot_type": kind });
    let answer = machine.api.ask("PUT", "/snapshot/create", &body.to_string())?;
    if answer.status == 204 {
        bail!("it was written");
    }
    answer.fault()
}

/// 43: with no room for all, or no right to write, nothing is left, the machine goes on, and the next changes are right.
fn full(scene: &Scene) -> Result<()> {
    let small = Small::new(scene.path("small"), "size=16k")?;
    let closed = Small::new(scene.path("closed"), "ro")?;
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start_with(WITNESS, &["--track-dirty-pages"])?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let (base, changes, all) = (scene.path("base"), scene.path("changes"), scene.path("all"));
    machine.save(&base)?;
    machine.resume()?;
    reach(&mut listener, 20)?;
    machine.pause()?;
    for kind in ["Diff", "Full"] {
        let why = refused(&mut machine, &small.0, kind)?;
        ensure!(why.contains("small/memory: cannot be written: No space left"), "{kind}: {why}");
        ensure!(fs::read_dir(&small.0)?.count() == 0, "{kind}: something was left");
        let why = refused(&mut machine, &closed.0, kind)?;
        ensure!(why.contains("closed/memory: cannot be written: Read-only"), "{kind}: {why}");
    }
    machine.resume()?;
    reach(&mut listener, 5)?;
    machine.pause()?;
    machine.save_changes(&changes)?;
    machine.save(&all)?;
    scene.compare(&base, &changes, &all)?;
    machine.resume()?;
    listener.hear_many(FRAMES, LIMIT)?;
    Ok(())
}

/// 44: its memory is that of a file that others take the place of, again and again, and its guest looks at its pages.
fn own(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    machine.resume()?;
    // What takes its place is of later, and of another moment than what the next machine has.
    reach(&mut listener, 20)?;
    machine.pause()?;
    let other = scene.path("other");
    machine.save(&other)?;
    drop(machine);
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.restore(&folder)?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    machine.save(&folder)?;
    machine.resume()?;
    for name in ["state", "memory"] {
        fs::rename(other.join(name), folder.join(name))?;
    }
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    machine.save(&folder)?;
    machine.resume()?;
    listener.hear_many(FRAMES, LIMIT)?;
    Ok(())
}
