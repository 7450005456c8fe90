//! Two lives of one saved Linux: its kernel hears that it is another machine, and draws random numbers of its own.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor, Model, Running};

use crate::scenario::{Scenario, Wired, long};

pub fn scenarios() -> Vec<Scenario> {
    // As long as those of snapshots are.
    if !long() {
        return Vec::new();
    }
    let name = "identity::two_lives_of_one_linux_draw_different_random_numbers";
    let of = |release: Release| {
        Scenario::new(format!("{name} [{}]", release.name()), move || two_lives(release))
    };
    [Release::Guest6_1, Release::Guest6_12].map(of).into()
}

/// What Linux says when its driver of the generation id hears of another one (`drivers/char/random.c`).
const RESEEDED: &str = "dmesg | grep -c 'crng reseeded due to virtual machine fork'; true";
const DRAW: &str = "head -c 16 /dev/urandom | sha256sum";

fn two_lives(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (socket, saved) = (folder.path().join("api"), folder.path().join("saved"));
    std::fs::create_dir(&saved)?;
    let mut wired = Wired::boot(release, Model::Virtio, 1, 1500, |machine| {
        machine.argument("--api-sock").argument(&socket)
    })?;
    ensure!(wired.shell.sh(RESEEDED)? == "0", "it was told before");
    let mut api = Api::wait(&socket, BOOT)?;
    api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
    let files =
        json!({ "snapshot_path": saved.join("state"), "mem_file_path": saved.join("memory") });
    api.done("PUT", "/snapshot/create", &files)?;
    let Wired { shell, running, tap: _tap, network } = wired;
    drop((api, shell, running));

    let life = || -> Result<String> {
        let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { unreachable!("it is ours") };
        let mut command = network.command(vmm);
        command.arg("restore").arg(Path::new(&saved));
        let running = Running::of(command)?;
        let mut shell = Shell::resume(running.console.clone(), running.input()?, BOOT)?;
        let drawn = shell.sh(DRAW)?;
        let reseeded = shell.sh(RESEEDED)?;
        ensure!(reseeded == "1", "told {reseeded} times");
        Ok(drawn)
    };
    let (one, other) = (life().context("the first life")?, life().context("the second")?);
    ensure!(one != other, "both draw {one}");
    Ok(())
}
