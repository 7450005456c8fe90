//! A Linux that is saved while it works, and goes on in another process.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor, Model, Running};
use tests::vsock::listener;

use crate::network::{printed, some};
use crate::scenario::{Scenario, Wired, eventually, finish, is_healthy, long};

pub fn scenarios() -> Vec<Scenario> {
    let of = |release: Release, model, word: &str| {
        let name = format!(
            "snapshot::streams_disks_and_clocks_go_on_in_another_process [{word}] [{}]",
            release.name()
        );
        Scenario::new(name, move || goes_on(release, model))
    };
    if !long() {
        return vec![of(Release::Guest6_12, Model::Virtio, "virtio")];
    }
    let both = |release| [of(release, Model::Virtio, "virtio"), of(release, Model::Ena, "ena")];
    Release::GUESTS.into_iter().flat_map(both).collect()
}

/// Bytes of each disk.
const SIZE: u64 = 16 << 20;
/// Bytes of each that are written, and read again.
fn written() -> u64 {
    if long() { 8 << 20 } else { 2 << 20 }
}

/// Disks of the guest.
const NAMES: [&str; 2] = ["vda", "nvme0n1"];
/// Ports of the guest's echo, and of a host that never answers.
const ECHO: u32 = 1002;
const MUTE: u32 = 2000;

/// Times that it is saved and goes on, under load.
fn rounds() -> usize {
    if long() { 100 } else { 1 }
}

/// Seconds that nobody runs it.
fn away() -> Duration {
    Duration::from_secs(if long() { 60 } else { 3 })
}

/// Its source of time, and what becomes of its clock meanwhile; each of them at least.
fn clock_ways() -> &'static [(&'static str, &'static str)] {
    const ALL: [(&str, &str); 4] =
        [("kvm-clock", "advance"), ("tsc", "freeze"), ("kvm-clock", "freeze"), ("tsc", "advance")];
    if long() { &ALL } else { &ALL[..2] }
}

/// Where a machine is, and comes back.
struct Scene {
    folder: tempfile::TempDir,
    cpus: u8,
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn goes_on(release: Release, model: Model) -> Result<()> {
    let scene = Scene { folder: tempfile::tempdir()?, cpus: if long() { 4 } else { 2 } };
    let mut wired = boot(&scene, release, model)?;
    wired.shell.sh("kept=42")?;
    let mut sums = Vec::new();
    for name in NAMES {
        let write = format!(
            "head -c {0} /dev/urandom >/dev/{name}; sync; head -c {0} /dev/{name} | sha256sum",
            written()
        );
        sums.push(wired.shell.sh_within(&write, PATIENCE)?);
    }
    wired.shell.sh(&format!("vsock echo {ECHO} >/tmp/echo 2>&1 &"))?;
    let begun = Instant::now();
    for round in 0..rounds() {
        if long() {
            println!("{:6.1} s  {round} times saved and restored", begun.elapsed().as_secs_f64());
        }
        wired = turn(&scene, wired).with_context(|| format!("round {round}"))?;
        ensure!(wired.shell.sh("echo $kept")? == "42", "the shell is another");
        for (name, sum) in NAMES.iter().zip(&sums) {
            let read = format!(
                "echo 3 >/proc/sys/vm/drop_caches; head -c {} /dev/{name} | sha256sum",
                written()
            );
            ensure!(wired.shell.sh_within(&read, PATIENCE)? == *sum, "{name} has changed");
        }
        is_healthy(&mut wired.shell)?;
    }
    for (source, how) in clock_ways() {
        let what = || format!("{source}, {how}");
        wired = clocks(&scene, wired, source, how).with_context(what)?;
    }
    // Each CPU hears its timer, and the others.
    let last = scene.cpus - 1;
    let each = format!("for cpu in $(seq 0 {last}); do taskset -c $cpu sleep 0.2 || exit 1; done");
    wired.shell.sh_within(&each, PATIENCE)?;
    wired.shell.sh("killall -9 vsock; true")?;
    finish(&mut wired.running, &mut wired.shell)
}

fn boot(scene: &Scene, release: Release, model: Model) -> Result<Wired> {
    let image = |name: &str| {
        let path = scene.path(name);
        File::create(&path)?.set_len(SIZE)?;
        anyhow::Ok(path.display().to_string())
    };
    let disks =
        [format!("{},id=v", image("v.raw")?), format!("{},id=n,model=nvme", image("n.raw")?)];
    let vsock = format!("cid=3,path={}", scene.path("v.sock").display());
    Wired::boot(release, model, 1, 1500, |machine| {
        let machine = machine.cpus(scene.cpus).tools(&[Tool::Disks, Tool::Vsock]);
        let machine =
            disks.iter().fold(machine, |machine, disk| machine.argument("--disk").argument(disk));
        // Where CPUs are emulated their counters are not said to be one, and Linux would not take them for a clock.
        let machine = machine.parameter("tsc=reliable").argument("--vsock").argument(vsock);
        machine.argument("--api-sock").argument(scene.path("api"))
    })
}

/// Saves the machine while bytes stream both ways, kills it, lets it go on, and sees the streams whole and the vsock's
/// connections ended.
fn turn(scene: &Scene, mut wired: Wired) -> Result<Wired> {
    let (bytes, limit) = (4 * some(), PATIENCE + Duration::from_secs(60));
    let (host, guest) = (wired.tap.host_ipv4.clone(), wired.tap.guest_ipv4.clone());
    let (to_host, to_guest) = (format!("{host}:5001"), format!("{guest}:5002"));
    let mute = listener(&scene.path("v.sock"), MUTE)?;
    wired.shell.sh(&format!(
        "vsock connect {MUTE} --connections 1 --bytes 100000000 >/tmp/mute 2>&1 & mute=$!"
    ))?;
    let (call, _) = mute.accept()?;
    let receiver = wired.traffic(&["receive", &to_host])?;
    wired.shell.sh(&format!("traffic receive {to_guest} >/tmp/received 2>&1 & receives=$!"))?;
    let send =
        format!("traffic send {to_host} --bytes {bytes} --seed 3 >/tmp/sent 2>&1 & sends=$!");
    wired.shell.sh(&send)?;
    let sender =
        wired.traffic(&["send", &to_guest, "--bytes", &bytes.to_string(), "--seed", "4"])?;

    let rests = save(scene, wired)?;
    drop(call);
    let mut wired = restore(scene, rests, &[])?;

    let (received, sent) = (printed(receiver, limit)?, printed(sender, limit)?);
    let waits = "wait $sends && wait $receives && cat /tmp/sent";
    ensure!(wired.shell.sh_within(waits, limit)? == received, "guest to host");
    ensure!(wired.shell.sh("cat /tmp/received")? == sent, "host to guest");
    let reset = wired.shell.sh_within("wait $mute; cat /tmp/mute", PATIENCE)?;
    ensure!(reset.lines().any(|line| line == "0 went well"), "the vsock's connection: {reset}");
    echo(&scene.path("v.sock")).context("a connection after the restore")?;
    Ok(wired)
}

/// A minute, or less, without the machine; its clock is right afterwards, or as far behind as it was away.
fn clocks(scene: &Scene, mut wired: Wired, source: &str, how: &str) -> Result<Wired> {
    let current = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    wired.shell.sh(&format!("echo {source} >{current}; [ $(cat {current}) = {source} ]"))?;
    let before = ahead(&mut wired.shell)?;
    let rests = save(scene, wired)?;
    thread::sleep(away());
    let mut wired = restore(scene, rests, &["--clock", how])?;
    let after = ahead(&mut wired.shell)?;
    let behind = before - after;
    let is_right = match how {
        "advance" => behind.abs() < 1.0,
        _ => behind > away().as_secs_f64() - 1.0,
    };
    ensure!(is_right, "its clock is {behind} s behind after {:?}", away());
    let kept = wired.shell.sh(&format!("cat {current}"))?;
    ensure!(kept == source, "its clock is {kept} now");
    Ok(wired)
}

/// Seconds by which the guest's clock is ahead of the host's.
pub fn ahead(shell: &mut Shell) -> Result<f64> {
    let host =
        || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
    // The moment at which a second begins.
    let told = shell.sh("s=$(date +%s); while [ $(date +%s) = $s ]; do :; done; date +%s")?;
    Ok(told.parse::<f64>()? - host()?)
}

/// What is left of a machine that was saved.
type Rests = (tests::net::Tap, tests::net::Network);

/// Saves the machine and kills it.
fn save(scene: &Scene, wired: Wired) -> Result<Rests> {
    let saved = scene.path("saved");
    fs::create_dir_all(&saved)?;
    let mut api = Api::wait(&scene.path("api"), BOOT)?;
    api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
    let files =
        json!({ "snapshot_path": saved.join("state"), "mem_file_path": saved.join("memory") });
    api.done("PUT", "/snapshot/create", &files)?;
    let Wired { shell, running, tap, network } = wired;
    drop((api, shell, running));
    Ok((tap, network))
}

fn restore(scene: &Scene, (tap, network): Rests, options: &[&str]) -> Result<Wired> {
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("it is not ours") };
    // Of the one that was killed.
    for socket in ["api", "v.sock"] {
        let _ = fs::remove_file(scene.path(socket));
    }
    let mut command = network.command(vmm);
    command.arg("restore").arg(scene.path("saved")).args(options);
    command.arg("--api-sock").arg(scene.path("api"));
    let running = Running::of(command)?;
    let shell = Shell::resume(running.console.clone(), running.input()?, BOOT)
        .with_context(|| format!("vmm said {:?}", running.errors.text()))?;
    Ok(Wired { shell, running, tap, network })
}

/// Says something to the guest's echo, which has listened all the time.
fn echo(vsock: &Path) -> Result<()> {
    let mut stream = None;
    // The guest takes nobody until it has heard that its connections are gone.
    eventually("a connection to the guest", PATIENCE, || {
        stream = called(vsock)?;
        Ok(stream.is_some())
    })?;
    let mut stream = stream.context("no connection")?;
    stream.write_all(b"word")?;
    let mut echo = [0; 4];
    stream.read_exact(&mut echo)?;
    ensure!(&echo == b"word", "another echo: {echo:?}");
    Ok(())
}

fn called(vsock: &Path) -> Result<Option<UnixStream>> {
    let mut stream = UnixStream::connect(vsock)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "CONNECT {ECHO}")?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.extend(byte),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answer.starts_with(b"OK ").then_some(stream))
}
