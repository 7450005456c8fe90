//! Migrations under real KVM, of a guest that polls from user mode and would notice if it were not what it was: at native
//! speed on any host, where no Linux could be booted.

#[path = "native_migrate/disks.rs"]
mod disks;
#[path = "native_migrate/identity.rs"]
mod identity;
#[path = "native_migrate/killed.rs"]
mod killed;
#[path = "native_migrate/network.rs"]
mod network;
#[path = "native_migrate/refusals.rs"]
mod refusals;
#[path = "native_migrate/tls.rs"]
mod tls;
#[path = "native_migrate/travel.rs"]
mod travel;

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::Api;
use tests::frames::Link;
use tests::host;
use tests::native::line::TAP;
use tests::native::scene::{self, Card, FRAMES, LIMIT, Named};
use tests::native::witness::{Listener, Told};
use tests::process::Owned;

/// Where the machine is, in turn.
const TAPS: [&str; 2] = [TAP, "tap1"];

/// A test of a machine with a card.
type Test = fn(&Scene) -> Result<()>;

fn main() {
    scene::run(Scene::new, tests);
}

fn tests(card: Card) -> Vec<Named<Scene>> {
    let mut tests: Vec<(&str, Test)> =
        vec![("a_guest_is_what_it_was_from_process_to_process", travel::there_and_back)];
    if card.is_ena() {
        tests.extend(killed::TESTS);
        tests.extend(refusals::TESTS);
        tests.extend(network::TESTS);
        tests.extend(tls::TESTS);
        tests.push(("a_disk_under_load_goes_along_and_is_whole", disks::verify));
        tests.push(("a_machine_keeps_its_identity_and_its_state_of_rest", identity::keeps));
    }
    if card.is_on_pci() {
        tests.push(("every_frame_is_accounted_for", travel::under_load));
    }
    tests
}

/// Whether there is time for all of it.
fn is_long() -> bool {
    std::env::var_os("VMM_LONG").is_some()
}

/// Where a machine is started, and goes from process to process.
struct Scene(scene::Scene);

impl Deref for Scene {
    type Target = scene::Scene;

    fn deref(&self) -> &scene::Scene {
        &self.0
    }
}

/// A process, which ends with this, and its API.
struct Machine {
    process: Owned,
    socket: PathBuf,
}

impl Scene {
    /// With a TAP for each of the machine's places.
    fn new(scene: scene::Scene) -> Result<Self> {
        let [_, other] = TAPS;
        scene.wire.ip(&format!("tuntap add dev {other} mode tap vnet_hdr"))?;
        scene.wire.ip(&format!("link set {other} mtu 65521 up"))?;
        Ok(Self(scene))
    }

    /// Who listens on the TAP that the machine has in its `turn`, from now on.
    fn listener(&self, turn: usize) -> Result<Listener> {
        Listener::new(Link::open(TAPS[turn % TAPS.len()])?)
    }

    /// Starts a machine whose guest tells of itself, in its turn 0.
    fn start(&self, more: &[&str]) -> Result<Machine> {
        let card = format!("id=eth0,tap={TAP},mac=02:00:00:00:00:01,model={}", self.card.model);
        let line = ["--cmdline", "load=witness rest=1000000", "--net", &card];
        self.start_with(&[&line, more].concat())
    }

    /// Starts a machine.
    fn start_with(&self, more: &[&str]) -> Result<Machine> {
        let mut machine = self.spawn(&mut self.command(), "0", more)?;
        machine.await_api()?;
        Ok(machine)
    }

    /// Where a machine is awaited in its `turn`.
    fn destination(&self, turn: usize) -> PathBuf {
        self.path(&format!("come-{turn}"))
    }

    /// Starts a process that waits for the machine, for its `turn`.
    fn receive(&self, turn: usize, more: &[&str]) -> Result<Machine> {
        let place = format!("unix:{}", self.destination(turn).display());
        let tap = format!("eth0={}", TAPS[turn % TAPS.len()]);
        self.receive_at(&place, turn, &[&["--net", &tap], more].concat())
    }

    /// The same, with nothing but what is said.
    fn receive_at(&self, place: &str, turn: usize, more: &[&str]) -> Result<Machine> {
        let mut command = Command::new(&self.vmm);
        command.args(["receive", place]);
        let mut machine = self.spawn(&mut command, &turn.to_string(), more)?;
        if let Some(path) = place.strip_prefix("unix:") {
            host::eventually("somebody who waits", LIMIT, || {
                let ended = machine.process.wait(Duration::ZERO)?;
                ensure!(ended.is_none(), "vmm has ended: {ended:?}");
                // The name is there before anybody listens.
                let sockets = fs::read_to_string("/proc/thread-self/net/unix")?;
                let listens = |line: &str| line.ends_with(path) && line.contains(" 00010000 ");
                Ok(sockets.lines().any(listens))
            })?;
        }
        Ok(machine)
    }

    /// Processes follow one another, and say all they have to say to one log.
    fn spawn(&self, command: &mut Command, name: &str, more: &[&str]) -> Result<Machine> {
        let socket = self.path(&format!("api-{name}"));
        let log = fs::File::options().create(true).append(true).open(self.path("log"))?;
        command.args(["--seccomp", "kill"]).args(more);
        Ok(Machine { process: self.0.spawn(command, &socket, log)?, socket })
    }
}

impl Machine {
    fn api(&self) -> Result<Api> {
        Api::connect(&self.socket)
    }

    /// Waits until it has an API.
    fn await_api(&mut self) -> Result<Api> {
        Api::of(&mut self.process, &self.socket, LIMIT)
    }

    /// Has it go on there; what is told of that.
    fn migrate(&mut self, body: &Value) -> Result<Value> {
        let answer = self.api()?.ask("PUT", "/migration", &body.to_string())?;
        ensure!(answer.status == 200, "{answer:?}");
        answer.json()
    }

    /// Waits for its end; the exit code.
    fn end(&mut self) -> Result<Option<i32>> {
        Ok(self.process.ended(LIMIT)?.code())
    }

    fn lives(&mut self) -> Result<bool> {
        Ok(self.process.wait(Duration::ZERO)?.is_none())
    }
}

fn to(path: &std::path::Path) -> Value {
    json!({ "destination": format!("unix:{}", path.display()) })
}

/// All that is left to hear where the machine is no more; what it told last.
fn drain(listener: &mut Listener) -> Result<Told> {
    loop {
        match listener.hear(Duration::from_millis(200)) {
            Ok(_) => {}
            Err(error) if error.to_string().contains("silence") => break,
            Err(error) => return Err(error),
        }
    }
    listener.last().context("it never told anything")
}

/// What the machine tells first where it is now, which is what comes next.
fn goes_on(before: Told, listener: &mut Listener) -> Result<Told> {
    let told = listener.hear(LIMIT)?;
    ensure!(told.number == before.number + 1, "{told:?} behind {before:?}");
    ensure!(told.received >= before.received, "{told:?} behind {before:?}");
    ensure!(told.clock > before.clock, "its clock went back: {told:?} behind {before:?}");
    listener.hear_many(FRAMES, LIMIT)
}
