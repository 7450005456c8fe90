//! Vsock as guests and hosts use it: streams each way, whoever began them, and peers that come and go at any time.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::machine::{Hypervisor, Running};
use tests::vsock::{call_and_go, drop_calls, host_side, listener, to_guest};

use crate::scenario::{Scenario, eventually, finish, long, machine};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Scenario::for_each_kernel(
        "vsock::streams_arrive_each_way_and_peers_come_and_go",
        |release| {
            let (mut guest, _) = usual::of_all(release)?;
            both_ways(&mut guest.running, &mut guest.shell)
        },
    );
    if long() {
        all.extend(Scenario::for_each_kernel(
            "vsock::streams_arrive_each_way_and_peers_come_and_go_without_pci",
            |release| {
                let machine = machine(release)?.cpus(2).tools(&[Tool::Vsock]).vsock(3).api();
                let machine = machine.argument("--bus").argument("mmio");
                let (mut running, mut shell) = machine.boot(None)?;
                both_ways(&mut running, &mut shell)
            },
        ));
    }
    all
}

/// Connections in each direction, and bytes of each that go each way.
fn amount() -> (u32, u64) {
    if long() { (100, 1 << 20) } else { (12, 100_000) }
}

/// Connections at one time.
const AT_ONCE: u32 = 10;
/// How often peers of the guest are killed in the midst of it, and how many seconds more they come and go.
fn storm() -> (u32, u64) {
    if long() { (8, 5) } else { (3, 1) }
}

fn both_ways(running: &mut Running, shell: &mut Shell) -> Result<()> {
    let (vsock, socket) = (running.path("v.sock"), running.path("api"));

    streams(&vsock, shell)?;
    storms(&vsock, shell)?;
    all_are_gone(&socket)?;
    pause(&vsock, shell, &socket)?;
    streams(&vsock, shell)?;
    all_are_gone(&socket)?;
    let counters = Api::connect(&socket)?.get("/vsock")?["counters"].clone();
    for none in ["overruns", "malformed_packets", "foreign_packets"] {
        ensure!(counters[none] == 0, "{none} in {counters}");
    }
    finish(running, shell)?;
    ensure!(!vsock.exists(), "the socket is still there");
    Ok(())
}

/// Streams that the host begins, then streams that the guest begins.
fn streams(vsock: &Path, shell: &mut Shell) -> Result<()> {
    let (connections, bytes) = amount();
    let said = "/tmp/listen";
    let listen = format!("vsock listen 1000 --connections {connections} --bytes {bytes}");
    shell.sh(&format!(
        "{listen} >{said} 2>&1 & until grep -q listening {said}; do sleep 0.1; done"
    ))?;
    let next = AtomicU32::new(0);
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= connections {
                return Ok(());
            }
            host_side(&to_guest(vsock, 1000)?, seed, bytes)?;
        }
    };
    at_once(work)?;
    let well = format!("{connections} went well");
    let heard = shell.sh_within(&format!("wait; cat {said}"), STREAMS)?;
    ensure!(heard.contains(&well), "the guest says {heard:?}");

    let listener = listener(vsock, 2000)?;
    let host = thread::scope(|scope| -> Result<String> {
        let host = scope.spawn(|| -> Result<()> {
            thread::scope(|each| {
                let mut ends = Vec::new();
                for seed in 0..connections {
                    let (stream, _) = listener.accept()?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    ends.push(each.spawn(move || host_side(&stream, seed, bytes)));
                }
                ends.into_iter().try_for_each(joined)
            })
        });
        let call = format!("vsock connect 2000 --connections {connections} --bytes {bytes}");
        let said = shell.sh_within(&call, STREAMS)?;
        joined(host)?;
        Ok(said)
    })?;
    ensure!(host.contains(&well), "the guest says {host:?}");
    Ok(())
}

/// How long the guest may take for its side of all streams.
const STREAMS: Duration = Duration::from_secs(240);

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread has panicked"))
}

/// Runs it on some threads; fails if one does.
fn at_once(work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().try_for_each(joined)
    })
}

/// On both sides peers connect, send, and are killed or close in the midst of it, again and again.
fn storms(vsock: &Path, shell: &mut Shell) -> Result<()> {
    let listener = listener(vsock, 3000)?;
    shell.sh(
        "vsock echo 1001 >/tmp/echo 2>&1 & until grep -q listening /tmp/echo; do sleep 0.1; done",
    )?;
    let (over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| -> Result<()> {
        let taker = scope.spawn(|| drop_calls(&listener, &over, &taken));
        let caller = scope.spawn(|| call_and_go(vsock, 1001, &over));
        let (kills, seconds) = storm();
        let rounds = format!(
            "for n in $(seq {kills}); do vsock storm 3000 --seconds 60 & p=$!; \
             vsock storm 3000 --seconds 60 & q=$!; sleep 0.4; kill -9 $p $q; done"
        );
        let stormed = shell.sh_within(&rounds, PATIENCE);
        let more = shell.sh_within(&format!("vsock storm 3000 --seconds {seconds}"), PATIENCE);
        over.store(true, Ordering::Relaxed);
        joined(taker)?;
        let (taken, called) = (taken.load(Ordering::Relaxed), joined(caller)?);
        ensure!(taken > 0 && called > 5, "{taken} calls came, {called} were accepted");
        stormed.and(more).map(drop)
    })?;
    shell.sh("killall -9 vsock; true").map(drop)
}

/// No connection is left, on either side.
fn all_are_gone(socket: &Path) -> Result<()> {
    let (mut last, mut api) = (Value::Null, Api::connect(socket)?);
    eventually("all connections are gone", PATIENCE, || {
        last = api.get("/vsock")?["connections"].clone();
        Ok(last.as_array().is_some_and(Vec::is_empty))
    })
    .with_context(|| format!("left are {last}"))
}

/// What people type: the words go to the guest and come back, and the end ends it.
fn by_ctl(socket: &Path) -> Result<()> {
    let Hypervisor::Vmm(program) = Hypervisor::ours()? else { bail!("no vmm") };
    let mut ctl = Command::new(program);
    ctl.arg("ctl").arg(socket).args(["connect", "1002"]);
    let mut ctl = ctl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ctl.stdin.take().context("no input")?.write_all(b"typed")?;
    let said = ctl.wait_with_output()?;
    ensure!(said.status.success() && said.stdout == b"typed", "{said:?}");
    Ok(())
}

/// A connection goes on after a pause, in both directions.
fn pause(vsock: &Path, shell: &mut Shell, socket: &Path) -> Result<()> {
    shell.sh(
        "vsock echo 1002 >/tmp/echo 2>&1 & until grep -q listening /tmp/echo; do sleep 0.1; done",
    )?;
    let mut stream = to_guest(vsock, 1002)?;
    let mut says = |word: &[u8]| -> Result<()> {
        stream.write_all(word)?;
        let mut echo = vec![0; word.len()];
        stream.read_exact(&mut echo).context("no echo")?;
        ensure!(echo == word, "another echo: {echo:?}");
        Ok(())
    };
    says(b"before")?;
    let mut api = Api::connect(socket)?;
    api.done("PATCH", "/vm", &serde_json::json!({ "state": "Paused" }))?;
    api.done("PATCH", "/vm", &serde_json::json!({ "state": "Resumed" }))?;
    says(b"after")?;
    drop(stream);
    by_ctl(socket)?;
    shell.sh("killall -9 vsock; true").map(drop)
}
