//! Forks under real KVM, of a guest that polls from user mode and would notice if it were not what it was: at native
//! speed on any host, where no Linux could be booted.

#[path = "native_fork/disks.rs"]
mod disks;
#[path = "native_fork/jail.rs"]
mod jail;
#[path = "native_fork/refusals.rs"]
mod refusals;
#[path = "native_fork/wire.rs"]
mod wire;

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::api::Api;
use tests::frames::Link;
use tests::host;
use tests::native::line::TAP;
use tests::native::scene::{self, Card, FRAMES, LIMIT, Named};
use tests::native::witness::Listener;
use tests::process::Owned;

const CHILDREN: usize = 3;

/// A test of a machine with a card.
type Test = fn(&Scene) -> Result<()>;

fn main() {
    scene::run(|scene| Ok(Scene(scene)), tests);
}

fn tests(card: Card) -> Vec<Named<Scene>> {
    let mut tests: Vec<(&str, Test)> =
        vec![("children_go_on_from_one_moment_and_nobody_disturbs_another", go_on)];
    if card.is_ena() {
        tests.push(("a_child_lives_longer_than_its_parent_and_dies_alone", live));
        tests.push(("children_have_other_addresses_on_the_wire", wire::others));
        tests.extend(refusals::TESTS);
        tests.push(("children_are_in_the_jail_of_their_parent", jail::within));
        tests.push(("children_go_on_with_copies_of_a_disk_under_load", disks::verify));
    }
    tests
}

/// Where a machine is started, and has children.
struct Scene(scene::Scene);

impl Deref for Scene {
    type Target = scene::Scene;

    fn deref(&self) -> &scene::Scene {
        &self.0
    }
}

/// Whatever is left of its machines ends with it, however the test does. A child has its parent's command line, which
/// names the folder, or in a jail its root in that.
impl Drop for Scene {
    fn drop(&mut self) {
        let folder = self.folder.path();
        let name = folder.to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let root = fs::read_link(entry.path().join("root")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&name) || root.starts_with(folder) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// A machine, and its API.
struct Machine {
    process: Owned,
    api: Api,
}

/// A machine that another one started; it ends with this.
struct Child {
    pid: Pid,
    socket: PathBuf,
    tap: String,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

impl Child {
    /// Whether its process is there, and no zombie.
    fn lives(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// Bytes that are its own, of its guest's memory and of all.
    fn private(&self) -> Result<(u64, u64)> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.pid))?;
        let (mut of_guest, mut all, mut is_guest) = (0, 0, false);
        for line in maps.lines() {
            let word = line.split_ascii_whitespace().next().unwrap_or_default();
            if !word.ends_with(':') {
                is_guest = line.contains("/memfd:guest");
            }
            if word == "Private_Dirty:" || word == "Private_Clean:" {
                let kib = line.split_ascii_whitespace().nth(1).context("no number")?;
                let bytes = kib.parse::<u64>()? * 1024;
                all += bytes;
                of_guest += if is_guest { bytes } else { 0 };
            }
        }
        Ok((of_guest, all))
    }
}

impl Scene {
    /// Starts a machine whose guest tells of itself.
    fn start(&self, more: &[&str]) -> Result<Machine> {
        let card = format!("tap={TAP},mac=02:00:00:00:00:01,model={}", self.card.model);
        let line = ["--cmdline", "load=witness rest=1000000", "--net", &card];
        self.start_with(&[&line, more].concat())
    }

    /// Starts a machine.
    fn start_with(&self, more: &[&str]) -> Result<Machine> {
        let mut command = self.command();
        command.args(["--id", "parent"]).args(more);
        let socket = self.path("api");
        let mut process = self.spawn(&mut command, &socket, self.log()?)?;
        let api = Api::of(&mut process, &socket, LIMIT)?;
        Ok(Machine { process, api })
    }

    /// TAPs for children from `first` on, and who listens on each.
    fn taps(&self, first: usize) -> Result<Vec<Listener>> {
        let listener = |number| {
            let tap = format!("{TAP}-{number}");
            self.wire.ip(&format!("tuntap add dev {tap} mode tap vnet_hdr"))?;
            self.wire.ip(&format!("link set {tap} up"))?;
            Listener::new(Link::open(&tap)?)
        };
        (first..first + CHILDREN).map(listener).collect()
    }
}

impl Machine {
    /// Forks it; checks what is told of it, and by the children themselves.
    fn fork(&mut self, body: &Value) -> Result<Vec<Child>> {
        let answer = self.api.ask("PUT", "/fork", &body.to_string())?;
        ensure!(answer.status == 200, "{answer:?}");
        let told = answer.json()?;
        let children = told["children"].as_array().context("no children")?;
        let child = |child: &Value| {
            let pid = child["pid"].as_i64().context("no pid")?;
            let nic = &child["network_interfaces"][0];
            ensure!(nic.is_null() || nic["guest_mac"] == "02:00:00:00:00:01", "{nic}");
            let word = |value: &Value| value.as_str().map(String::from).context("no text");
            let socket = PathBuf::from(word(&child["api_socket"])?);
            let itself = Api::connect(&socket)?.get("/")?;
            ensure!(itself["id"] == child["id"], "{itself}");
            Ok(Child {
                pid: Pid::from_raw(pid.try_into()?),
                socket,
                tap: nic["host_dev_name"].as_str().unwrap_or_default().to_owned(),
            })
        };
        children.iter().map(child).collect()
    }
}

/// Children of two forks, and of one that was never disturbed.
fn go_on(scene: &Scene) -> Result<()> {
    let mut parent_told = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start(&[])?;
    parent_told.hear_many(FRAMES, LIMIT)?;
    let mut family = Vec::new();
    for first in [1, 1 + CHILDREN] {
        let before = parent_told.last().context("nothing was told")?.number;
        let mut listeners = scene.taps(first)?;
        let children = machine.fork(&json!({ "count": CHILDREN, "first": first }))?;
        ensure!(children.len() == CHILDREN && children.iter().all(Child::lives));
        let mut begun = Vec::new();
        for listener in &mut listeners {
            begun.push(listener.hear(LIMIT)?.number);
        }
        ensure!(begun.iter().all(|number| *number == begun[0] && *number > before), "{begun:?}");
        // Each in its own way: what it finds of its memory is its own.
        parent_told.hear_many(FRAMES, LIMIT)?;
        for listener in &mut listeners {
            listener.hear_many(FRAMES, LIMIT)?;
        }
        family.extend(children.into_iter().zip(listeners));
    }
    for (child, listener) in &mut family {
        listener.hear_many(FRAMES, LIMIT)?;
        let (of_guest, all) = child.private()?;
        // It writes to one page of its own in each frame, and to few others.
        ensure!(of_guest < 8 << 20, "{of_guest} bytes of its guest's, {all} in all");
    }
    parent_told.hear_many(FRAMES, LIMIT)?;
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    Ok(())
}

/// One child is killed, then the parent.
fn live(scene: &Scene) -> Result<()> {
    let mut machine = scene.start(&[])?;
    let mut listeners = scene.taps(1)?;
    let mut children = machine.fork(&json!({ "count": CHILDREN, "id": "job-{n}" }))?;
    for listener in &mut listeners {
        listener.hear_many(FRAMES, LIMIT)?;
    }
    drop(children.remove(0));
    listeners.remove(0);
    ensure!(machine.api.get("/vm")?["state"] == "Running");
    for listener in &mut listeners {
        listener.hear_many(FRAMES, LIMIT)?;
    }
    drop(machine);
    for (child, listener) in children.iter().zip(&mut listeners) {
        ensure!(child.lives(), "{} died with its parent", child.tap);
        listener.hear_many(FRAMES, LIMIT)?;
        let mut api = Api::connect(&child.socket)?;
        ensure!(api.get("/")?["id"].as_str().is_some_and(|id| id.starts_with("job-")));
        api.act("Kill")?;
        host::eventually("its end", LIMIT, || Ok(!child.lives() && !child.socket.exists()))?;
    }
    Ok(())
}
