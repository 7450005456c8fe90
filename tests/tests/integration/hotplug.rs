//! Cards that come into a guest that runs, are used, and leave it: stock kernels, told by ACPI alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor};
use tests::net::{Network, Tap};
use tests::process::stdout_of;

use crate::scenario::{Scenario, eventually, finish, long, machine, network};

pub fn scenarios() -> Vec<Scenario> {
    const NAME: &str = "hotplug::cards_come_into_a_guest_that_runs_and_leave_it";
    const DEAF: &str = "hotplug::a_guest_that_does_not_let_go_keeps_its_card";
    let mut all = Scenario::for_each_kernel(NAME, hotplug);
    if long() {
        all.extend(Scenario::for_each_kernel(DEAF, a_guest_without_hotplug));
    }
    all
}

const MIB: u64 = 1 << 20;
/// How often each card comes and goes.
const ROUNDS: usize = 2;
const LONG_ROUNDS: usize = 100;

/// The owner of the machine.
struct Host {
    vmm: PathBuf,
    socket: PathBuf,
    network: Network,
}

impl Host {
    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut ctl = Command::new(&self.vmm);
        stdout_of(ctl.arg("ctl").arg(&self.socket).args(arguments))
    }

    fn devices(&self) -> Result<Value> {
        Api::connect(&self.socket)?.get("/devices")
    }
}

fn hotplug(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = |name: &str| {
        let path = folder.path().join(name);
        File::create(&path)?.set_len(32 * MIB)?;
        anyhow::Ok(path)
    };
    let (disk, pmem) = (image("disk.raw")?, image("pmem.raw")?);
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("another hypervisor") };
    let mut network = network()?;
    let tap = network.tap(1, 1500)?;
    let host = Host { vmm, socket: folder.path().join("api"), network };
    let machine = machine(release)?
        .cpus(2)
        .tools(&[Tool::Disks, Tool::Memory])
        .argument("--imds=tokens=optional")
        .argument("--api-sock")
        .argument(&host.socket);
    let mut running = machine.start(Some(&host.network))?;
    // One that comes while the guest boots is found too.
    drop(Api::wait(&host.socket, PATIENCE)?);
    host.ctl(&["plug", "--disk", &disk.display().to_string()])?;
    let mut shell = running.shell(BOOT)?;
    appears(&mut shell, "/sys/block/vda").context("a disk that came early")?;
    host.ctl(&["unplug", "disk0"])?;
    is_gone(&mut shell, "/sys/block/vda")?;
    let mut before = None;
    let load = long().then(|| begin_load(&mut shell)).transpose()?;

    for round in 0..if long() { LONG_ROUNDS } else { ROUNDS } {
        let about = |what: &str| format!("{what}, round {round}");
        a_disk(&host, &mut shell, &disk, "virtio", "vda").with_context(|| about("virtio-blk"))?;
        a_disk(&host, &mut shell, &disk, "nvme", "nvme0n1").with_context(|| about("NVMe"))?;
        a_card(&host, &mut shell, &tap, "virtio", "virtio_net")
            .with_context(|| about("virtio-net"))?;
        a_card(&host, &mut shell, &tap, "ena", "ena").with_context(|| about("ENA"))?;
        a_pmem(&host, &mut shell, &pmem).with_context(|| about("pmem"))?;
        // Threads of the first ones wait for the next.
        if before.is_none() {
            before = Some(held_by(running.pid())?);
        }
    }
    let left = host.devices()?;
    ensure!(left.as_array().is_some_and(Vec::is_empty), "{left} are left");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", running.pid()))?;
    let paths = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let held: Vec<_> = paths.filter(|path| path.starts_with(folder.path())).collect();
    ensure!(held.is_empty(), "vmm still holds {held:?}");
    // The guest's eject returns before the host has let go of all.
    eventually("what it had before", PATIENCE, || Ok(Some(held_by(running.pid())?) == before))
        .with_context(|| format!("vmm had {before:?}, and has {:?}", held_by(running.pid())))?;
    if load.is_some() {
        shell.sh("kill $(cat /tmp/load.pid)")?;
    }
    finish(&mut running, &mut shell)
}

/// Descriptors and threads of a process.
fn held_by(pid: u32) -> Result<[usize; 2]> {
    let count =
        |folder: &str| anyhow::Ok(std::fs::read_dir(format!("/proc/{pid}/{folder}"))?.count());
    Ok([count("fd")?, count("task")?])
}

/// Keeps a CPU and the guest's memory busy.
fn begin_load(shell: &mut Shell) -> Result<()> {
    let work = "while :; do dd if=/dev/urandom of=/tmp/load bs=64k count=16 2>/dev/null; done";
    shell.sh(&format!("( {work} ) & echo $! >/tmp/load.pid"))?;
    Ok(())
}

/// A kernel that hears of no slots: its owner finds cards, and lets them go.
fn a_guest_without_hotplug(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk.raw");
    File::create(&disk)?.set_len(32 * MIB)?;
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("another hypervisor") };
    let host = Host { vmm, socket: folder.path().join("api"), network: network()? };
    let machine = machine(release)?
        .tools(&[Tool::Disks])
        .parameter("acpiphp.disable=1")
        .argument("--api-sock")
        .argument(&host.socket);
    let (mut running, mut shell) = machine.boot(Some(&host.network))?;
    host.ctl(&["plug", "--disk", &disk.display().to_string()])?;
    shell.sh("echo 1 >/sys/bus/pci/rescan")?;
    appears(&mut shell, "/sys/block/vda")?;

    let why = host.ctl(&["unplug", "disk0"]).map_err(|error| format!("{error:#}"));
    let why = why.err().context("it was unplugged without the guest")?;
    ensure!(
        why.contains("drives/disk0: the guest has not let go of it within 10 s, and it stays"),
        "{why}"
    );
    shell.sh("dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null")?;
    let devices = host.devices()?;
    ensure!(devices[0]["state"] == "plugged", "{devices}");

    // Nobody there uses it any more.
    shell.sh("echo 1 >$(readlink -f /sys/block/vda/device/..)/remove")?;
    host.ctl(&["unplug", "disk0"])?;
    is_gone(&mut shell, "/sys/block/vda")?;
    finish(&mut running, &mut shell)
}

/// Waits until the guest's kernel has found a device by itself.
fn appears(shell: &mut Shell, path: &str) -> Result<()> {
    eventually(path, PATIENCE, || {
        Ok(shell.sh(&format!("ls -d {path} 2>/dev/null || true"))? == path)
    })
}

fn is_gone(shell: &mut Shell, path: &str) -> Result<()> {
    let left = shell.sh(&format!("ls -d {path} 2>/dev/null || true"))?;
    ensure!(left.is_empty(), "{left} is left");
    let cards = shell.sh("cat /sys/bus/pci/devices/*/vendor | wc -l")?;
    ensure!(cards == "1", "there are {cards} PCI devices, not the bridge alone");
    Ok(())
}

fn a_disk(host: &Host, shell: &mut Shell, image: &Path, model: &str, name: &str) -> Result<()> {
    let path = image.display();
    let id = host.ctl(&["plug", "--disk", &format!("path={path},model={model}")])?;
    ensure!(id.trim() == "disk0", "it is called {id}");
    appears(shell, &format!("/sys/block/{name}"))?;
    eventually("its device", PATIENCE, || Ok(shell.sh(&format!("test -b /dev/{name}")).is_ok()))?;
    let sum = shell.sh(&format!(
        "dd if=/dev/urandom of=/tmp/part bs=64k count=16 2>/dev/null && \
         dd if=/tmp/part of=/dev/{name} bs=64k seek=16 conv=fsync 2>/dev/null && sha256sum </tmp/part"
    ))?;
    let own = format!("tail -c +{} $0 | head -c {MIB} | sha256sum", MIB + 1);
    let on_host = stdout_of(Command::new("sh").args(["-c", &own]).arg(image))?;
    ensure!(sum.trim() == on_host.trim(), "the guest has {sum}, the host {on_host}");
    // It goes while it is read, which ends with it.
    let read = format!("while dd if=/dev/{name} of=/dev/null bs=64k 2>/dev/null; do :; done");
    shell.sh(&format!("( {read} ) & "))?;
    host.ctl(&["unplug", "disk0"])?;
    is_gone(shell, &format!("/sys/block/{name}"))
}

fn a_card(host: &Host, shell: &mut Shell, tap: &Tap, model: &str, driver: &str) -> Result<()> {
    let (name, mac) = (&tap.name, &tap.mac);
    let id = host.ctl(&["plug", "--net", &format!("tap={name},mac={mac},model={model}")])?;
    ensure!(id.trim() == "net0", "it is called {id}");
    appears(shell, "/sys/class/net/eth0")?;
    let bound = shell.sh("basename $(readlink /sys/class/net/eth0/device/driver)")?;
    ensure!(bound.starts_with(driver) || driver == "virtio_net", "its driver is {bound}");
    let address = shell.sh("cat /sys/class/net/eth0/address")?;
    ensure!(address == *mac, "its address is {address}");
    let guest = &tap.guest_ipv4;
    shell.sh(&format!("ip address add {guest}/24 dev eth0 && ip link set eth0 up"))?;
    let ping = format!("ping -c 1 -W 5 {} >/dev/null", tap.host_ipv4);
    eventually("an answer to ping", PATIENCE, || Ok(shell.sh(&ping).is_ok()))?;
    ensure!(host.network.statistic(tap, "tx_packets")? > 0, "nothing came from the host");
    // It brings metadata, which tells of it.
    shell.sh("ip route add 169.254.169.254 dev eth0")?;
    let told = shell.sh("wget -qO- http://169.254.169.254/latest/meta-data/mac")?;
    ensure!(told == *mac, "metadata tells of {told:?}");
    // Likewise.
    let ask = format!("while ping -c 1 -W 5 {}; do :; done", tap.host_ipv4);
    shell.sh(&format!("( {ask} ) >/dev/null 2>&1 & "))?;
    host.ctl(&["unplug", "net0"])?;
    is_gone(shell, "/sys/class/net/eth0")?;
    let told = Api::connect(&host.socket)?.get("/mmds")?;
    ensure!(told["latest"]["meta-data"].get("mac").is_none(), "metadata still tells of {told}");
    Ok(())
}

fn a_pmem(host: &Host, shell: &mut Shell, file: &Path) -> Result<()> {
    host.ctl(&["plug", "--pmem", &file.display().to_string()])?;
    eventually("its device", PATIENCE, || Ok(shell.sh("ls /dev/pmem*").is_ok()))?;
    let sum = shell.sh(
        "dd if=/dev/urandom of=/tmp/part bs=64k count=16 2>/dev/null && \
         dd if=/tmp/part of=$(ls /dev/pmem*) bs=64k seek=16 conv=fsync 2>/dev/null && sha256sum </tmp/part",
    )?;
    let own = format!("tail -c +{} $0 | head -c {MIB} | sha256sum", MIB + 1);
    let on_host = stdout_of(Command::new("sh").args(["-c", &own]).arg(file))?;
    ensure!(sum.trim() == on_host.trim(), "the guest has {sum}, the host {on_host}");
    host.ctl(&["unplug", "pmem0"])?;
    is_gone(shell, "/sys/class/nd/*")
}
