//! Vsock as guests and hosts use it: streams each way, whoever began them, and peers that come and go at any time.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::api::Api;
use tests::exchange::exchange;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::machine::{Hypervisor, Running};

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
    if long() { (100, 1 << 20) } else { (20, 200_000) }
}

/// Connections at one time.
const AT_ONCE: u32 = 10;
/// How long peers come and go.
const STORM_S: u64 = 5;

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

/// A connection to the guest's port, as soon as somebody listens there.
fn to_guest(vsock: &Path, port: u32) -> Result<UnixStream> {
    let mut found = None;
    eventually("a connection to the guest", PATIENCE, || {
        found = try_guest(vsock, port)?;
        Ok(found.is_some())
    })?;
    found.context("no connection")
}

/// The same at once, if it is accepted.
fn try_guest(vsock: &Path, port: u32) -> Result<Option<UnixStream>> {
    let mut stream = UnixStream::connect(vsock)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "CONNECT {port}")?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.extend(byte),
            _ => return Ok(None),
        }
    }
    ensure!(answer.starts_with(b"OK "), "{:?}", String::from_utf8_lossy(&answer));
    Ok(Some(stream))
}

fn host_side(stream: &UnixStream, seed: u32, bytes: u64) -> Result<()> {
    let shut = || stream.shutdown(Shutdown::Write);
    exchange(stream, stream, shut, u64::from(seed) | 1 << 32, bytes).context("the host's side")
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

/// Listens for the guest's connections to a port.
fn listener(vsock: &Path, port: u32) -> Result<UnixListener> {
    let mut path = vsock.as_os_str().to_owned();
    path.push(format!("_{port}"));
    let path = PathBuf::from(path);
    // Of a round before.
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

/// On both sides peers connect, send, and are killed or close in the midst of it, again and again.
fn storms(vsock: &Path, shell: &mut Shell) -> Result<()> {
    let listener = listener(vsock, 3000)?;
    shell.sh(
        "vsock echo 1001 >/tmp/echo 2>&1 & until grep -q listening /tmp/echo; do sleep 0.1; done",
    )?;
    let over = AtomicU32::new(0);
    let is_over = || over.load(Ordering::Relaxed) != 0;
    thread::scope(|scope| -> Result<()> {
        // The host takes the guest's and drops each at another point.
        let taker = scope.spawn(|| -> Result<()> {
            listener.set_nonblocking(true)?;
            let mut nth = 0;
            while !is_over() {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                nth += 1;
                stream.set_nonblocking(true)?;
                let _ = stream.read(&mut vec![0; nth * 997 % 30_000]);
            }
            ensure!(nth > 0, "nobody came");
            Ok(())
        });
        // And calls the guest's echo, and goes without having read it all.
        let caller = scope.spawn(|| -> Result<()> {
            let mut nth = 0;
            while !is_over() {
                nth += 1;
                if let Some(mut stream) = try_guest(vsock, 1001)? {
                    stream.set_nonblocking(true)?;
                    let _ = stream.write(&vec![1; nth * 1009 % 100_000]);
                    let _ = stream.read(&mut vec![0; nth * 499 % 10_000]);
                }
            }
            ensure!(nth > 5, "only {nth} calls");
            Ok(())
        });
        let rounds = "for n in 1 2 3 4 5 6 7 8; do vsock storm 3000 --seconds 60 & p=$!; \
                      vsock storm 3000 --seconds 60 & q=$!; sleep 0.4; kill -9 $p $q; done";
        let stormed = shell.sh_within(rounds, PATIENCE);
        let more = shell.sh_within(&format!("vsock storm 3000 --seconds {STORM_S}"), PATIENCE);
        over.store(1, Ordering::Relaxed);
        joined(taker)?;
        joined(caller)?;
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
