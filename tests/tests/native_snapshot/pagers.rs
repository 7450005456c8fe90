//! Machines that go on while their memory comes page by page: from another process, or from a thread of vmm's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::frames::Link;
use tests::host::eventually;
use tests::native::line::TAP;
use tests::native::witness::Listener;
use tests::process::Owned;
use tests::{api::Api, cargo};

use super::{FRAMES, LIMIT, Machine, Scene, Test, reach};

pub const TESTS: [(&str, Test); 5] = [
    ("a_guest_is_what_it_was_whoever_brings_its_memory", goes_on),
    ("memory_given_back_while_it_still_comes_is_zero_whoever_brings_it", gives_back),
    ("a_pager_that_dies_ends_the_machine_with_one_line_and_its_code", dies),
    ("what_was_used_first_is_written_down_and_fetched_ahead", recorded),
    ("a_pager_that_stalls_ends_the_machine_with_one_line_and_its_code", stalls),
];

/// Exit codes of a machine that was not made, and of one whose memory did not come.
const NOT_LOADED: i32 = 7;
const PAGES_LOST: i32 = 8;

/// What the guest uses and gives up.
pub(super) const MIB: u64 = 64;

/// A process that brings pages; see `devices/core/examples/pager.rs`.
struct Pager {
    process: Owned,
    socket: PathBuf,
}

impl Pager {
    fn start(scene: &Scene, memory: &Path, how: &[&str]) -> Result<Self> {
        let socket = scene.path("pager");
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(cargo::slow_example("device-core", "pager")?);
        command.arg(&socket).arg(memory).args(how).stdout(Stdio::piped());
        let mut pager = Self { process: Owned::spawn(&mut command)?, socket };
        ensure!(pager.line()? == "listening");
        Ok(pager)
    }

    /// Where it listens, as a word of a command line.
    fn place(&self) -> String {
        self.socket.to_string_lossy().into_owned()
    }

    /// The next line that it says; those behind it may be lost.
    fn line(&mut self) -> Result<String> {
        let output = self.process.child().stdout.as_mut().context("no output")?;
        let mut line = String::new();
        BufReader::with_capacity(1, output).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Faults that it served and pages that were given back, once its machine has gone.
    fn counts(mut self) -> Result<[u64; 2]> {
        let line = self.line()?;
        let numbers: Vec<_> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().ok().with_context(|| format!("the pager said {line:?}"))
    }
}

/// Starts a machine from a snapshot with more words.
pub(super) fn restore(scene: &Scene, folder: &Path, words: &[&str]) -> Result<Machine> {
    let mut command = Command::new(&scene.vmm);
    command.arg("restore").arg(folder).args(words);
    scene.run(command)
}

/// A snapshot of a guest that watches itself.
pub(super) fn saved(scene: &Scene, listener: &mut Listener) -> Result<PathBuf> {
    let mut machine = scene.start()?;
    // It has been to each of its pages.
    listener.hear_many(1100, LIMIT)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    Ok(folder)
}

fn goes_on(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    let next = scene.path("next");

    let pager = Pager::start(scene, &folder.join("memory"), &[])?;
    let mut machine = restore(scene, &folder, &["--pager", &pager.place()])?;
    listener.hear_many(FRAMES, LIMIT)?;
    reach(&mut listener, 5)?;
    // All of it is written, most of which has not come yet.
    machine.pause()?;
    machine.save(&next)?;
    drop(machine);
    let [faults, _] = pager.counts()?;
    ensure!(faults > 100, "{faults} faults");

    let mut machine = restore(scene, &next, &["--pager", "own"])?;
    listener.hear_many(FRAMES, LIMIT)?;
    reach(&mut listener, 5)?;
    machine.pause()?;
    machine.save(&folder)?;
    drop(machine);
    let machine = scene.restore(&folder)?;
    listener.hear_many(1100, LIMIT)?;
    drop(machine);
    Ok(())
}

/// A snapshot of a guest that looks after its balloon.
pub(super) fn with_balloon(scene: &Scene) -> Result<PathBuf> {
    let mut command = Command::new(&scene.vmm);
    command.arg("--kernel").arg(&scene.kernel).args(["--mem", "256M", "--bus", "mmio"]);
    command.args(["--cmdline", &format!("balloon={}", MIB * 256)]);
    command.args(["--entropy", "bw=1G", "--balloon", "0"]);
    let mut machine = scene.run(command)?;
    reaches(&mut machine.api, 4096)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    Ok(folder)
}

fn gives_back(scene: &Scene) -> Result<()> {
    let folder = with_balloon(scene)?;
    let pager = Pager::start(scene, &folder.join("memory"), &[])?;
    let external = pager.place();
    for who in ["kernel", "own", external.as_str()] {
        let mut machine = restore(scene, &folder, &["--pager", who])?;
        for _ in 0..2 {
            // The guest looks whether pages that it gave up are zero, and ends if they are not.
            machine.api.done("PATCH", "/balloon", &json!({ "amount_mib": MIB }))?;
            reaches(&mut machine.api, MIB << 20).with_context(|| who.to_owned())?;
            machine.api.done("PATCH", "/balloon", &json!({ "amount_mib": 0 }))?;
            reaches(&mut machine.api, 4096).with_context(|| who.to_owned())?;
        }
        ensure!(machine.process.wait(Duration::ZERO)?.is_none(), "{who}");
    }
    let [_, given_back] = pager.counts()?;
    ensure!(given_back >= 2 * MIB * 256, "{given_back} pages were given back");
    Ok(())
}

/// Until the guest's balloon has so many bytes, or says that all was written.
pub(super) fn reaches(api: &mut Api, wanted: u64) -> Result<()> {
    eventually("the balloon", LIMIT, || {
        Ok(api.get("/memory")?.pointer("/balloon/actual") == Some(&json!(wanted)))
    })
}

/// The exit code of a machine, and the one line that it says.
fn end(scene: &Scene, mut machine: Machine) -> Result<(Option<i32>, String)> {
    let ended = machine.process.ended(LIMIT)?;
    let said = fs::read_to_string(scene.path("log"))?;
    ensure!(said.lines().count() == 1, "{said:?}");
    Ok((ended.code(), said))
}

fn dies(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    for how in [&["die", "30"][..], &["close"]] {
        let pager = Pager::start(scene, &folder.join("memory"), how)?;
        let mut command = Command::new(&scene.vmm);
        command.arg("restore").arg(&folder).arg("--pager").arg(&pager.socket);
        command.args(["--serial", "none"]);
        let log = fs::File::create(scene.path("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut vmm = Owned::spawn(&mut command)?;
        let ended = vmm.ended(LIMIT)?;
        let said = fs::read_to_string(scene.path("log"))?;
        ensure!(ended.code() == Some(PAGES_LOST), "{how:?}: {ended:?}, {said:?}");
        ensure!(said.lines().count() == 1 && said.contains("it has ended"), "{said:?}");
    }
    // Its socket is still there, and nobody listens.
    let mut command = Command::new(&scene.vmm);
    command.arg("restore").arg(&folder).arg("--pager").arg(scene.path("pager"));
    let output = command.args(["--serial", "none"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(NOT_LOADED), "{output:?}");
    ensure!(said.lines().count() == 1 && said.contains("nobody can be reached"), "{said:?}");
    Ok(())
}

/// Takes as long as a pager is waited for.
fn stalls(scene: &Scene) -> Result<()> {
    if std::env::var_os("VMM_LONG").is_none() {
        return Ok(());
    }
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    let pager = Pager::start(scene, &folder.join("memory"), &["stall", "30"])?;
    let machine = restore(scene, &folder, &["--pager", &pager.place()])?;
    let (code, said) = end(scene, machine)?;
    ensure!(code == Some(PAGES_LOST) && said.contains("no page has come"), "{code:?}: {said:?}");
    Ok(())
}

fn recorded(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    // What the guest said before it was saved is not heard again.
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = restore(scene, &folder, &["--record"])?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.api.act("Kill")?;
    machine.process.ended(LIMIT)?;
    let record = folder.join("memory.used");
    let first = fs::read(&record)?;
    ensure!(first.starts_with(b"vmm-used") && first.len() > 100, "{} bytes", first.len());

    // It is used, of whatever kind; and one that is damaged is named, and not used.
    let mut listener = Listener::new(Link::open(TAP)?)?;
    for who in ["kernel", "own"] {
        let machine = restore(scene, &folder, &["--pager", who])?;
        listener.hear(LIMIT)?;
        ensure!(scene.said().is_empty(), "{}", scene.said());
        drop(machine);
        listener = Listener::new(Link::open(TAP)?)?;
    }
    fs::File::options().write(true).open(&record)?.write_all_at(&[0x5a], 60)?;
    let machine = restore(scene, &folder, &[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    ensure!(scene.said().contains("it is damaged; it is not used"), "{}", scene.said());
    drop(machine);
    Ok(())
}
