//! A Linux that goes to another host and back while it works. Hosts are network namespaces, each with its TAP on a bridge
//! of its own, which a wire joins; the disk is one that both reach.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::api::Api;
use tests::authority::{Authority, Valid};
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor, Model, Running};
use tests::net::{Network, Tap};

use crate::network::{printed, traffic_in};
use crate::scenario::{Scenario, eventually, finish, is_healthy, long, machine, network};
use crate::snapshot::ahead;

pub fn scenarios() -> Vec<Scenario> {
    let of = |model, word: &str| {
        let name = format!("migrate::streams_a_disk_and_the_clock_go_to_another_host [{word}]");
        Scenario::new(name, move || goes(model))
    };
    if !long() {
        return Vec::new();
    }
    vec![of(Model::Virtio, "virtio"), of(Model::Ena, "ena")]
}

/// Addresses of the two hosts.
const HOSTS: [&str; 2] = ["192.0.0.1", "192.0.0.3"];
const PORT: u16 = 7000;
/// Bytes of the disk.
const SIZE: u64 = 16 << 20;
/// Time all of it may take to go: its memory several times, by a cipher in software, beside all that it does.
const WAY: Duration = Duration::from_secs(900);
/// Milliseconds between 64 KiB of each stream, which leave the CPU to what the streams are to stand: a guest that rests for
/// more than five seconds at last, as what has changed meanwhile goes that slowly, has an ENA driver that complains.
const REST: &str = "400";

/// Where the machine may be.
struct Hosts {
    folder: tempfile::TempDir,
    networks: [Network; 2],
    tap: Tap,
}

impl Hosts {
    fn new() -> Result<Hosts> {
        let mut networks = [network()?, network()?];
        let [one, other] = &mut networks;
        one.wire("wire", other)?;
        let (tap, its) = (one.tap(1, 1500)?, other.tap(1, 1500)?);
        one.bridge(&tap, "wire", HOSTS[0])?;
        other.bridge(&its, "wire", HOSTS[1])?;
        Ok(Hosts { folder: tempfile::tempdir()?, networks, tap })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts who waits for the machine on a host.
    fn receive(&self, host: usize, place: &str, api: &str, options: &[&str]) -> Result<Running> {
        let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("it is not ours") };
        let mut command = self.networks[host].command(vmm);
        command.args(["receive", place, "--api-sock"]).arg(self.path(api)).args(options);
        Running::of(command)
    }
}

/// A machine, and its shell.
struct Place {
    running: Running,
    shell: Shell,
    api: PathBuf,
}

fn goes(model: Model) -> Result<()> {
    let hosts = Hosts::new()?;
    let authority = Authority::new()?;
    let ends = HOSTS.map(|host| authority.files(hosts.folder.path(), host, &[host], Valid::Now));
    let [source, target] = ends;
    let (source, target) = (source?, target?);
    let disk = hosts.path("disk");
    File::create(&disk)?.set_len(SIZE)?;
    let api = hosts.path("api-0");
    let built =
        machine(Release::Guest6_12)?.cpus(2).tools(&[Tool::Disks]).card_of(model, &hosts.tap);
    let mut built = built.argument("--disk").argument(&disk).argument("--api-sock").argument(&api);
    built = built.argument("--allow-tcp").argument(format!("*:{PORT}"));
    for option in source.options() {
        built = built.argument(option);
    }
    let (running, shell) = built.boot(Some(&hosts.networks[0]))?;
    let mut place = Place { running, shell, api };
    let write =
        "head -c 8388608 /dev/urandom >/dev/vda; sync; head -c 8388608 /dev/vda | sha256sum";
    let sum = place.shell.sh_within(write, PATIENCE)?;
    place.shell.sh("kept=42")?;

    let by_tls = format!("tls:{}:{PORT}", HOSTS[1]);
    let there = hosts.receive(1, &by_tls, "api-1", &target.options())?;
    place = turn(&hosts, place, there, 1, &by_tls, &sum).context("there, by TLS")?;
    let by_socket = format!("unix:{}", hosts.path("back").display());
    let back = hosts.receive(0, &by_socket, "api-2", &[])?;
    let Place { mut running, mut shell, .. } =
        turn(&hosts, place, back, 2, &by_socket, &sum).context("back, by a socket")?;
    finish(&mut running, &mut shell)
}

/// Lets the machine go to `target` while bytes stream both ways and it writes to its disk; it is there what it was.
fn turn(
    hosts: &Hosts,
    mut place: Place,
    target: Running,
    number: usize,
    to: &str,
    sum: &str,
) -> Result<Place> {
    let shell = &mut place.shell;
    let before = ahead(shell)?;
    // The other ends of the streams stay where they are.
    let [here, _] = &hosts.networks;
    let (host, guest) = (format!("{}:5001", HOSTS[0]), format!("{}:5002", hosts.tap.guest_ipv4));
    let mut receiver = traffic_in(here, &["receive", &host])?;
    shell.sh(&format!("traffic receive {guest} >/tmp/received 2>&1 & receives=$!"))?;
    shell.sh(&format!(
        "traffic send {host} --until /tmp/enough --rest {REST} --seed 3 >/tmp/sent 2>&1 & sends=$!"
    ))?;
    let enough = hosts.path(&format!("enough-{number}"));
    let until = enough.to_string_lossy();
    let ours = ["send", &guest, "--until", &until, "--rest", REST, "--seed", "4"];
    let mut sender = traffic_in(here, &ours)?;
    shell.sh("n=0; (while [ ! -e /tmp/enough ]; do n=$((n+1)); printf '%08d' $n | \
              dd of=/dev/vda bs=512 seek=20000 conv=fsync,notrunc 2>/dev/null; echo $n >/tmp/wrote; done) & writes=$!")?;

    let told = migrate(&place, to)?;
    ensure!(receiver.wait(Duration::ZERO)?.is_none(), "the stream out was over before");
    ensure!(sender.wait(Duration::ZERO)?.is_none(), "the stream in was over before");
    place.running.expect_exit(0, PATIENCE)?;
    let shell = Shell::resume(target.console.clone(), target.input()?, BOOT)
        .with_context(|| format!("vmm said {:?}", target.errors.text()))?;
    let api = hosts.path(&format!("api-{number}"));
    let mut place = Place { running: target, shell, api };
    let shell = &mut place.shell;
    ensure!(shell.sh("echo $kept")? == "42", "the shell is another");
    let after = ahead(shell)?;
    ensure!((after - before).abs() < 1.0, "its clock is {} s ahead", after - before);

    File::create(&enough)?;
    shell.sh("touch /tmp/enough")?;
    let limit = PATIENCE + Duration::from_secs(60);
    let (received, sent) = (printed(receiver, limit)?, printed(sender, limit)?);
    let waits = "wait $sends && wait $receives && cat /tmp/sent";
    ensure!(shell.sh_within(waits, limit)? == received, "guest to host");
    ensure!(shell.sh("cat /tmp/received")? == sent, "host to guest");
    shell.sh_within("wait $writes; rm /tmp/enough", PATIENCE)?;
    let read = "echo 3 >/proc/sys/vm/drop_caches; head -c 8388608 /dev/vda | sha256sum";
    ensure!(shell.sh_within(read, PATIENCE)? == sum, "the disk has changed");
    let last = "dd if=/dev/vda bs=512 skip=20000 count=1 2>/dev/null | head -c 8; printf ' %08d' $(cat /tmp/wrote)";
    let last = shell.sh(last)?;
    ensure!(last.split_once(' ').is_some_and(|(on_disk, said)| on_disk == said), "{last}");
    is_healthy(shell)?;
    println!("migration to {to}: {told}");
    Ok(place)
}

/// Has the machine go there, as soon as somebody waits; what is told of it.
fn migrate(place: &Place, to: &str) -> Result<Value> {
    let body =
        json!({ "destination": to, "max_downtime_ms": 1000, "max_rounds": 5, "at_last": "go-on" });
    let mut told = None;
    eventually("somebody who waits", PATIENCE, || {
        let mut api = Api::connect(&place.api)?.patient(WAY)?;
        let answer = api.ask("PUT", "/migration", &body.to_string())?;
        let waits = answer.status == 400 && answer.fault()?.contains("nobody can be reached");
        ensure!(waits || answer.status == 200, "{answer:?}");
        told = Some(answer).filter(|answer| answer.status == 200);
        Ok(told.is_some())
    })?;
    told.context("nothing was told")?.json()
}
