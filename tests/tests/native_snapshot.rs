//! Snapshots under real KVM, of a guest that polls from user mode and would notice if it were not what it was: at
//! native speed on any host, where no Linux could be booted.

#[path = "native_snapshot/busy.rs"]
mod busy;
#[path = "native_snapshot/changes.rs"]
mod changes;
#[path = "native_snapshot/clones.rs"]
mod clones;
#[path = "native_snapshot/contents.rs"]
mod contents;
#[path = "native_snapshot/disks.rs"]
mod disks;
#[path = "native_snapshot/pagers.rs"]
mod pagers;
#[path = "native_snapshot/racing.rs"]
mod racing;
#[path = "native_snapshot/refusals.rs"]
mod refusals;
#[path = "native_snapshot/resets.rs"]
mod resets;
#[path = "native_snapshot/whole.rs"]
mod whole;

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::scene::{self, Card, FRAMES, LIMIT, Named};
use tests::native::wire;
use tests::native::witness::Listener;
use tests::process::Owned;

/// What the guest does: tells of itself, with a rest between.
const WITNESS: &str = "load=witness rest=1000000";

/// A test of a machine with a card.
type Test = fn(&Scene) -> Result<()>;

fn main() {
    scene::run(|scene| Ok(Scene(scene)), tests);
}

fn tests(card: Card) -> Vec<Named<Scene>> {
    let mut tests: Vec<(&str, Test)> = vec![
        ("a_guest_is_what_it_was_from_snapshot_to_snapshot", goes_on),
        ("a_machine_goes_on_after_its_snapshot_as_if_there_were_none", stays),
    ];
    if card.is_on_pci() {
        tests.extend(changes::OF_CARDS);
        tests.extend(changes::OF_DISKS);
        tests.extend(busy::TESTS);
        tests.extend(clones::TESTS);
        tests.extend(disks::OF_MODELS);
    }
    match (card.is_ena(), card.is_on_pci()) {
        (true, _) => tests.extend(resets::OF_ENA),
        (false, true) => tests.extend(resets::OF_VIRTIO),
        (false, false) => {}
    }
    if card.is_ena() {
        tests.extend(refusals::TESTS);
        tests.extend(disks::TESTS);
        tests.extend(whole::TESTS);
        tests.extend(contents::TESTS);
        tests.extend(pagers::TESTS);
        tests.extend(racing::TESTS);
    }
    tests
}

/// Where a machine is started, and comes back.
struct Scene(scene::Scene);

impl Deref for Scene {
    type Target = scene::Scene;

    fn deref(&self) -> &scene::Scene {
        &self.0
    }
}

/// A machine, and its API.
struct Machine {
    process: Owned,
    api: Api,
}

impl Scene {
    /// Starts a machine whose guest tells of itself.
    fn start(&self) -> Result<Machine> {
        self.start_with(WITNESS, &[])
    }

    /// What every machine is started with.
    fn command(&self, line: &str) -> Command {
        let mut command = self.0.command();
        command.args(["--cmdline", line]);
        command
    }

    /// The same with other words for the guest and more options.
    fn start_with(&self, words: &str, more: &[&str]) -> Result<Machine> {
        let mut command = self.command(words);
        command.args(more);
        let card = format!("id=eth0,tap={TAP},mac=02:00:00:00:00:01,model={}", self.card.model);
        command.args(["--net", &card]);
        self.run(command)
    }

    /// Lets the machine of a snapshot go on.
    fn restore(&self, snapshot: &Path) -> Result<Machine> {
        self.restore_as("api", snapshot, &[])
    }

    /// The same beside others, with more options.
    fn restore_as(&self, socket: &str, snapshot: &Path, options: &[&str]) -> Result<Machine> {
        let mut command = Command::new(&self.vmm);
        command.arg("restore").arg(snapshot).args(options);
        self.run_as(socket, command)
    }

    fn run(&self, command: Command) -> Result<Machine> {
        self.run_as("api", command)
    }

    fn run_as(&self, socket: &str, mut command: Command) -> Result<Machine> {
        let socket = self.path(socket);
        let mut process = self.spawn(&mut command, &socket, self.log()?)?;
        let api = Api::of(&mut process, &socket, LIMIT)?;
        Ok(Machine { process, api })
    }
}

impl Machine {
    /// Returns once it is there: who loads it takes connections before.
    fn loaded(&mut self) -> Result<()> {
        self.api.get("/memory")?;
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        self.api.done("PATCH", "/vm", &json!({ "state": "Paused" }))
    }

    fn resume(&mut self) -> Result<()> {
        self.api.done("PATCH", "/vm", &json!({ "state": "Resumed" }))
    }

    /// Writes a snapshot into a folder, as `vmm ctl` does.
    fn save(&mut self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let (state, memory) = (folder.join("state"), folder.join("memory"));
        let body = json!({ "snapshot_path": state, "mem_file_path": memory });
        self.api.done("PUT", "/snapshot/create", &body)
    }
}

/// Snapshots in a row.
fn rounds() -> usize {
    if std::env::var_os("VMM_LONG").is_some() { 1000 } else { 6 }
}

/// Sends frames until the guest has got so many more.
fn reach(listener: &mut Listener, frames: u64) -> Result<()> {
    let before = listener.hear(LIMIT)?.received;
    for _ in 0..frames {
        // What was heard may be from before, and the TAP without a machine yet: then it takes no frame.
        while listener.link().send(&wire::frame(100)).is_err() {
            listener.hear(LIMIT)?;
        }
    }
    let begun = Instant::now();
    while listener.hear(LIMIT)?.received < before + frames {
        ensure!(begun.elapsed() < LIMIT, "it hears, and not {frames} frames in {LIMIT:?}");
        // One from when the machine was not there yet is lost.
        let _ = listener.link().send(&wire::frame(100));
    }
    Ok(())
}

/// In each round it is saved at a moment that it does not choose, dies, and goes on in another process.
fn goes_on(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    let folder = scene.path("snapshot");
    for round in 0..rounds() {
        let turn = turn(scene, machine, &mut listener, &folder);
        machine = turn.with_context(|| format!("round {round}"))?;
    }
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    Ok(())
}

fn turn(
    scene: &Scene,
    mut machine: Machine,
    listener: &mut Listener,
    folder: &Path,
) -> Result<Machine> {
    reach(listener, 5)?;
    machine.pause()?;
    machine.save(folder)?;
    drop(machine);
    let machine = scene.restore(folder)?;
    listener.hear_many(FRAMES, LIMIT)?;
    Ok(machine)
}

/// It is saved twice, with the same file in the same place, and nothing comes of it.
fn stays(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    let folder = scene.path("snapshot");
    for _ in 0..3 {
        machine.pause()?;
        machine.save(&folder)?;
        machine.resume()?;
        reach(&mut listener, 5)?;
    }
    // The file that it would be mapped from changes its place, and not its content.
    drop(machine);
    // It goes on from before what was heard last.
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.restore(&folder)?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    machine.save(&folder)?;
    machine.resume()?;
    listener.hear_many(FRAMES, LIMIT)?;
    let names: Vec<_> =
        std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(names.len() == 2, "{names:?}");
    Ok(())
}
