//! Memory that stock kernels give back and get more of, files that are memory, and random numbers.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::Hypervisor;
use tests::process::stdout_of;

use crate::scenario::{Scenario, eventually, finish, long, machine};

pub fn scenarios() -> Vec<Scenario> {
    let name = "memory::what_a_guest_does_not_need_goes_back_and_what_it_needs_it_has";
    Scenario::for_each_kernel(name, memory)
}

const MIB: u64 = 1 << 20;
/// Of the guest, in MiB.
fn memory_mib() -> u32 {
    if long() { 512 } else { 384 }
}

/// What the guest uses for a while, in MiB.
fn used() -> u64 {
    if long() { 160 } else { 80 }
}

/// What is nearly all of that, as a guest's kernel keeps some.
fn nearly() -> u64 {
    used() * 3 / 4
}

/// Bytes of the file that is memory.
const PMEM: u64 = 32 * MIB;

fn memory(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (socket, file) = (folder.path().join("api"), folder.path().join("pmem"));
    File::create(&file)?.set_len(PMEM)?;
    let machine = machine(release)?
        .tools(&[Tool::Memory])
        .memory(memory_mib())
        .argument("--entropy")
        .argument("bw=1G")
        .argument("--balloon")
        .argument("0,oom,reporting,hinting,stats=1")
        .argument("--memory-hotplug")
        .argument("512M,plugged=128M")
        .argument("--pmem")
        .argument(&file)
        .argument("--api-sock")
        .argument(&socket);
    let (mut running, mut shell) = machine.boot(None)?;
    let mut host = Host { api: Api::wait(&socket, PATIENCE)?, socket: &socket };

    gives_random_bytes(&mut shell)?;
    is_memory(&mut shell, &file).context("pmem")?;
    grows_and_shrinks(&mut shell, &mut host).context("memory that is plugged")?;
    tells_of_free_pages(&mut shell, &mut host).context("reporting")?;
    tells_on_demand(&mut shell, &mut host).context("hinting")?;
    inflates_and_deflates(&mut shell, &mut host).context("the balloon")?;
    gives_way(&mut shell, &mut host).context("a guest short of memory")?;
    finish(&mut running, &mut shell)
}

/// The owner of the machine.
struct Host<'a> {
    api: Api,
    socket: &'a Path,
}

impl Host<'_> {
    /// What `vmm ctl memory` says of `what`, in MiB.
    fn mib(&self, what: &str) -> Result<u64> {
        let Hypervisor::Vmm(program) = Hypervisor::ours()? else { bail!("another hypervisor") };
        let mut ctl = Command::new(program);
        ctl.arg("ctl").arg(self.socket).args(["memory", "--json"]);
        let told: Value = serde_json::from_str(&stdout_of(&mut ctl)?)?;
        let bytes = told.pointer(what).and_then(Value::as_u64);
        Ok(bytes.with_context(|| format!("no {what} in {told}"))? / MIB)
    }

    fn resident(&self) -> Result<u64> {
        self.mib("/anonymous")
    }

    fn set_balloon(&mut self, mib: u64) -> Result<()> {
        self.api.done("PATCH", "/balloon", &json!({ "amount_mib": mib }))
    }

    fn plug(&mut self, mib: u64) -> Result<()> {
        self.api.done("PATCH", "/hotplug/memory", &json!({ "requested_size_mib": mib }))
    }

    fn get(&mut self, path: &str) -> Result<Value> {
        self.api.ask("GET", path, "")?.json()
    }
}

fn gives_random_bytes(shell: &mut Shell) -> Result<()> {
    let source = shell.sh("cat /sys/class/misc/hw_random/rng_current")?;
    ensure!(source.starts_with("virtio_rng"), "the guest's source is {source}");
    let sum = "dd if=/dev/hwrng bs=4k count=64 2>/dev/null | sha256sum";
    let (one, other) = (shell.sh(sum)?, shell.sh(sum)?);
    ensure!(one != other, "it gives the same twice");
    let bytes = shell.sh("dd if=/dev/hwrng bs=64k count=16 iflag=fullblock 2>/dev/null | wc -c")?;
    ensure!(bytes == "1048576", "{bytes} bytes of a MiB came");
    Ok(())
}

fn is_memory(shell: &mut Shell, file: &Path) -> Result<()> {
    let sectors = shell.sh("cat /sys/block/pmem0/size")?;
    ensure!(sectors == (PMEM / 512).to_string(), "{sectors} sectors");
    // What is flushed is in the file.
    shell.sh("dd if=/dev/urandom of=/tmp/part bs=64k count=16 2>/dev/null")?;
    let sum = shell.sh("dd if=/tmp/part of=/dev/pmem0 bs=64k seek=16 conv=fsync 2>/dev/null && sha256sum </tmp/part")?;
    let mut part = vec![0; 2 * MIB as usize];
    File::open(file)?.read_exact(&mut part)?;
    let own = format!("tail -c +{} $0 | head -c {MIB} | sha256sum", MIB + 1);
    let on_host = stdout_of(Command::new("sh").args(["-c", &own]).arg(file))?;
    ensure!(sum.trim() == on_host.trim(), "the guest has {sum}, the host {on_host}");
    // A file system on it, mapped without a copy.
    shell.sh(
        "mkdir -p /mnt && mke2fs -b 4096 /dev/pmem0 >/dev/null 2>&1 && mount -t ext4 -o dax /dev/pmem0 /mnt && \
         cp /tmp/part /mnt/a && sync && umount /mnt && mount -t ext4 -o dax /dev/pmem0 /mnt",
    )?;
    let again = shell.sh("sha256sum </mnt/a && umount /mnt && rm /tmp/part")?;
    ensure!(again.trim() == sum.trim(), "of {sum} there was {again}");
    Ok(())
}

/// More memory than the guest began with is there to be used, and goes again with all that it was on the host.
fn grows_and_shrinks(shell: &mut Shell, host: &mut Host<'_>) -> Result<()> {
    /// What it begins with, what it has most, and what it uses of that.
    const FIRST: u64 = 128;
    const MOST: u64 = 384;
    let much = if long() { 300 } else { 100 };
    // It is in use without anybody's doing: the kernel was told so.
    plugged(shell, host, FIRST)?;
    let small = total(shell)?;
    host.plug(MOST)?;
    plugged(shell, host, MOST)?;
    let large = total(shell)?;
    ensure!(large == small + MOST - FIRST, "the guest had {small} MiB, and has {large}");
    shell.sh(&format!(
        "mkdir -p /mnt && mount -t tmpfs -o size=90% none /mnt && \
         dd if=/dev/zero of=/mnt/used bs=1M count={much} 2>/dev/null"
    ))?;
    let used = host.resident()?;
    ensure!(used >= much, "{used} MiB are resident");
    shell.sh("umount /mnt")?;
    host.plug(0)?;
    plugged(shell, host, 0)?;
    let left = total(shell)?;
    ensure!(left == small - FIRST, "the guest had {small} MiB, and has {left}");
    eventually("its memory to be the host's", PATIENCE, || {
        Ok(host.resident()? <= u64::from(memory_mib()))
    })
}

/// Waits until the guest has so many MiB of what is plugged, and uses them.
fn plugged(shell: &mut Shell, host: &mut Host<'_>, mib: u64) -> Result<()> {
    let mut last = Value::Null;
    let done = eventually("blocks", PATIENCE, || {
        last = host.get("/hotplug/memory")?;
        Ok(last["plugged_size_mib"] == mib)
    });
    done.with_context(|| format!("{mib} MiB are wanted, and there is {last}"))?;
    let states = "cat /sys/devices/system/memory/memory*/state | grep -vc online || true";
    eventually("blocks to be in use", PATIENCE, || Ok(shell.sh(states)? == "0"))
}

/// MiB that the guest's kernel has.
fn total(shell: &mut Shell) -> Result<u64> {
    meminfo(shell, "MemTotal")
}

/// The guest uses so many MiB, and frees them again.
fn churn(shell: &mut Shell, mib: u64) -> Result<()> {
    shell.sh(&format!(
        "dd if=/dev/zero of=/tmp/used bs=1M count={mib} 2>/dev/null && rm /tmp/used"
    ))?;
    Ok(())
}

fn tells_of_free_pages(shell: &mut Shell, host: &mut Host<'_>) -> Result<()> {
    for _ in 0..if long() { 10 } else { 1 } {
        let before = host.mib("/balloon/given_back")?;
        churn(shell, used())?;
        eventually("free pages to go back", PATIENCE, || {
            Ok(host.mib("/balloon/given_back")? >= before + nearly())
        })?;
    }
    let resident = host.resident()?;
    ensure!(resident + nearly() < u64::from(memory_mib()), "{resident} MiB are resident");
    Ok(())
}

fn tells_on_demand(shell: &mut Shell, host: &mut Host<'_>) -> Result<()> {
    churn(shell, used())?;
    let answer = host.api.ask("PATCH", "/balloon/hinting/start", "")?;
    ensure!(answer.status == 204, "{answer:?}");
    let told = eventually("the end of hinting", PATIENCE, || {
        let status = host.get("/balloon/hinting/status")?;
        Ok(status["host_cmd"] == 1 && status["guest_cmd"] == 0)
    });
    told.with_context(|| format!("{:?}", host.get("/balloon/hinting/status")))
}

fn inflates_and_deflates(shell: &mut Shell, host: &mut Host<'_>) -> Result<()> {
    // All of the guest's memory has been in use once.
    churn(shell, used())?;
    let before: u64 = free(shell)?;
    let size = if long() { 200 } else { 100 };
    host.set_balloon(size)?;
    eventually("the balloon to be full", PATIENCE, || Ok(host.mib("/balloon/actual")? == size))?;
    let resident = host.resident()?;
    ensure!(
        resident <= u64::from(memory_mib()) - size + 16,
        "{resident} MiB are resident with a balloon of {size}"
    );
    let after = free(shell)?;
    ensure!(after + size * 3 / 4 < before, "the guest had {before} MiB free, and has {after}");

    eventually("statistics", PATIENCE, || {
        let told = host.get("/balloon/statistics")?;
        Ok(told["actual_mib"] == size && told["free_memory"].as_u64().is_some_and(|free| free > 0))
    })?;

    host.set_balloon(0)?;
    eventually("the balloon to be empty", PATIENCE, || Ok(host.mib("/balloon/actual")? == 0))?;
    eventually("free memory", PATIENCE, || Ok(free(shell)? + 50 > before))
}

/// MiB that the guest's kernel has free.
fn free(shell: &mut Shell) -> Result<u64> {
    meminfo(shell, "MemFree")
}

fn meminfo(shell: &mut Shell, name: &str) -> Result<u64> {
    let line = shell.sh(&format!("grep {name} /proc/meminfo"))?;
    let kib = line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.with_context(|| line.clone())? / 1024)
}

/// With less left than it uses, the guest takes pages back and kills nobody.
fn gives_way(shell: &mut Shell, host: &mut Host<'_>) -> Result<()> {
    const MORE: u64 = 160;
    let much = u64::from(memory_mib()) - 192;
    host.set_balloon(much)?;
    eventually("the balloon to be full", PATIENCE, || Ok(host.mib("/balloon/actual")? == much))?;
    churn(shell, MORE)?;
    let left = host.mib("/balloon/actual")?;
    ensure!(left < much, "the balloon still has {left} MiB");
    host.set_balloon(0)?;
    eventually("the balloon to be empty", PATIENCE, || Ok(host.mib("/balloon/actual")? == 0))?;
    let killed = shell.sh("dmesg | grep -c 'Out of memory: Killed' || true")?;
    ensure!(killed == "0", "the guest killed {killed} processes");
    Ok(())
}
