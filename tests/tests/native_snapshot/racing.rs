//! Machines that go on by a pager in the shape of those that serve fleets: it reads in one thread, copies in others, and runs ahead.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::cargo;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;
use tests::process::Owned;

use super::pagers::{MIB, reaches, restore, saved, with_balloon};
use super::{FRAMES, LIMIT, Machine, Scene, Test, reach};

pub const TESTS: [(&str, Test); 3] = [
    ("a_guest_is_what_it_was_by_a_pager_that_runs_ahead_of_it", goes_on),
    ("pages_of_2_mib_come_by_a_pager_that_runs_ahead", goes_on_in_huge_pages),
    ("memory_given_back_is_zero_by_a_pager_that_runs_ahead_and_reads_late", gives_back),
];

/// A process that brings pages; see `devices/core/examples/racing-pager.rs`.
struct Pager {
    process: Owned,
    socket: PathBuf,
    readiness: PipeReader,
}

/// What it did.
#[derive(Debug)]
struct Did {
    faults: u64,
    ahead: u64,
    there: u64,
    in_part: u64,
    again: u64,
    given_back: u64,
}

impl Pager {
    fn start(scene: &Scene, memory: &Path, how: &[&str]) -> Result<Self> {
        let socket = scene.path("racing-pager");
        let _ = fs::remove_file(&socket);
        let (readiness, tell) = pipe()?;
        let mut command = Command::new(cargo::slow_example("device-core", "racing-pager")?);
        command.arg(&socket).arg(memory).args(how).stdin(tell).stdout(Stdio::piped());
        let process = Owned::spawn(&mut command)?;
        // Its end of the pipe is the only one from here on.
        drop(command);
        let mut pager = Self { process, socket, readiness };
        pager.tells(b'l')?;
        Ok(pager)
    }

    /// Waits for the next that it tells of its readiness.
    fn tells(&mut self, wanted: u8) -> Result<()> {
        let mut told = [0];
        self.readiness.read_exact(&mut told).context("the pager has ended")?;
        ensure!(told == [wanted], "the pager told {told:?}");
        Ok(())
    }

    fn place(&self) -> String {
        self.socket.to_string_lossy().into_owned()
    }

    /// Once its machine has gone.
    fn did(mut self) -> Result<Did> {
        let mut line = String::new();
        let output = self.process.child().stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let numbers: Vec<_> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [faults, ahead, there, in_part, again, given_back] = numbers[..] else {
            anyhow::bail!("the pager said {line:?}");
        };
        Ok(Did { faults, ahead, there, in_part, again, given_back })
    }
}

/// Pages of 2 MiB that the host makes when they are wanted.
struct HugePages {
    before: String,
}

impl HugePages {
    const MOST: &str = "/proc/sys/vm/nr_overcommit_hugepages";

    fn more(count: u64) -> Result<Self> {
        let before = fs::read_to_string(Self::MOST)?;
        let most = before.trim().parse::<u64>()? + count;
        fs::write(Self::MOST, most.to_string()).context("the host has no more huge pages")?;
        Ok(Self { before })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(Self::MOST, &self.before);
    }
}

/// Lets the machine of a snapshot go on in pages of 2 MiB.
fn load_in_huge_pages(scene: &Scene, folder: &Path, pager: &Pager) -> Result<Machine> {
    let mut machine = scene.run(Command::new(&scene.vmm))?;
    let body = json!({
        "snapshot_path": folder.join("state"),
        "mem_backend": { "backend_type": "Uffd", "backend_path": pager.socket },
        "huge_pages": "2M",
        "resume_vm": true,
    });
    machine.api.done("PUT", "/snapshot/load", &body)?;
    Ok(machine)
}

/// The guest finds each of its pages as it left them.
fn is_itself(listener: &mut Listener) -> Result<()> {
    listener.hear_many(FRAMES, LIMIT)?;
    reach(listener, 5)?;
    listener.hear_many(1100, LIMIT)?;
    Ok(())
}

fn goes_on(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    let mut pager = Pager::start(scene, &folder.join("memory"), &["ahead=30"])?;
    let machine = restore(scene, &folder, &["--pager", &pager.place()])?;
    pager.tells(b's')?;
    is_itself(&mut listener)?;
    drop(machine);
    let did = pager.did()?;
    // It has met pages that were there, in the midst of what it copied and at its begin.
    ensure!(did.faults >= 30 && did.ahead == 128 * 4, "{did:?}");
    ensure!(did.there > 0 && did.in_part > 0, "{did:?}");
    Ok(())
}

fn goes_on_in_huge_pages(scene: &Scene) -> Result<()> {
    let _pages = HugePages::more(64)?;
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let folder = saved(scene, &mut listener)?;
    for ahead in [&["ahead=3"][..], &[]] {
        let mut pager = Pager::start(scene, &folder.join("memory"), ahead)?;
        let mut machine = load_in_huge_pages(scene, &folder, &pager)?;
        pager.tells(b's')?;
        is_itself(&mut listener)?;
        machine.pause()?;
        machine.save(&folder)?;
        drop(machine);
        let did = pager.did()?;
        let wanted = if ahead.is_empty() { 0 } else { 64 };
        ensure!(did.ahead == wanted && did.faults >= 3, "{did:?}");
        ensure!(ahead.is_empty() || did.there >= 3, "{did:?}");
    }
    // What was saved from there is what it was; it goes on in such pages unless told otherwise.
    let machine = restore(scene, &folder, &["--pager", "own"])?;
    is_itself(&mut listener)?;
    drop(machine);
    Ok(())
}

fn gives_back(scene: &Scene) -> Result<()> {
    let folder = with_balloon(scene)?;
    let how = ["ahead=0", "lag=2"];
    let pager = Pager::start(scene, &folder.join("memory"), &how)?;
    let mut machine = restore(scene, &folder, &["--pager", &pager.place()])?;
    for _ in 0..2 {
        // The guest looks whether pages that it gave up are zero, and ends if they are not.
        machine.api.done("PATCH", "/balloon", &json!({ "amount_mib": MIB }))?;
        reaches(&mut machine.api, MIB << 20)?;
        machine.api.done("PATCH", "/balloon", &json!({ "amount_mib": 0 }))?;
        reaches(&mut machine.api, 4096)?;
    }
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    drop(machine);
    let did = pager.did()?;
    // What was to be copied while messages had not been read came later.
    ensure!(did.again > 0 && did.given_back >= 2 * MIB * 256, "{did:?}");
    Ok(())
}
