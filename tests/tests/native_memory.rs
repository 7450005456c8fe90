//! Memory under real KVM, given up and taken back by a guest that polls from user mode: at native speed on any host,
//! where no Linux could be booted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use tests::api::Api;
use tests::bench::resident::Resident;
use tests::host::{self, eventually};
use tests::native::guest;
use tests::native::peer::MEMORY_MIB;
use tests::native::trial;
use tests::process::{self, Owned};

/// Far longer than anything takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What the guest uses and gives up.
const MIB: u64 = 64;
const PAGES: u64 = MIB * 256;
/// What the guest has besides, in KiB: itself, its tables, its rings, and the pages that it looked at.
const BESIDE: u64 = 8 << 10;

type Test = fn() -> Result<()>;

fn main() {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 2] = [
        (
            "what_a_guest_gives_up_is_the_hosts_again_and_what_it_takes_back_is_its_own",
            gives_up_and_takes_back,
        ),
        ("memory_that_is_plugged_comes_and_goes_and_outlives_a_snapshot", comes_and_goes),
    ];
    let trial = |(name, test): (&str, fn() -> Result<()>)| {
        Trial::ignorable_test(name, move || {
            if let Err(error) = host::kvm() {
                return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
            }
            let done = test();
            done.map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit();
}

fn gives_up_and_takes_back() -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let socket = folder.path().join("api");
    let vmm = start(&socket)?;
    let mut api = Api::wait(&socket, LIMIT)?;
    let kib = || Ok::<_, anyhow::Error>(Resident::of(vmm.pid(), MEMORY_MIB)?.guest);
    for round in 0..3 {
        // The guest has written all of it, and says so.
        reaches(&mut api, "/balloon/actual", 4096).with_context(|| format!("round {round}"))?;
        let used = kib()?;
        ensure!(used >= MIB << 10, "round {round}: {used} KiB are resident");

        api.done("PATCH", "/balloon", &json!({ "amount_mib": MIB }))?;
        reaches(&mut api, "/balloon/actual", MIB << 20)?;
        let left = kib()?;
        ensure!(left <= BESIDE, "round {round}: {left} KiB are left of {used}");
        let told = memory(&mut api)?;
        ensure!(told["balloon"]["given_back"] == (round + 1) * (MIB << 20), "{told}");

        api.done("PATCH", "/balloon", &json!({ "amount_mib": 0 }))?;
    }
    // Nothing is amiss with what gave it the bytes.
    let figures = api.ask("GET", "/metrics", "")?.body;
    ensure!(figures.contains("\nvmm_entropy_bytes_total 64\n"), "{figures}");
    Ok(())
}

fn start(socket: &Path) -> Result<Owned> {
    let mut command = Command::new(trial::vmm()?);
    command.arg("--kernel").arg(guest::build()?).args(["--mem", &format!("{MEMORY_MIB}M")]);
    command.args([
        "--cmdline",
        &format!("balloon={PAGES}"),
        "--bus",
        "mmio",
        "--entropy",
        "bw=1G",
        "--balloon",
        "0",
    ]);
    command.args(["--serial", "none", "--api-sock"]).arg(socket).stdin(Stdio::null());
    Owned::spawn(&mut command)
}

/// What can be plugged, and what the guest looks at of it, in MiB. No other memory is as large.
const HOT: u32 = 384;
const SHOWN: u64 = 16;

/// A VMM with `more`, and the way to it.
fn launch(socket: &Path, more: &[&str]) -> Result<(Owned, Api)> {
    let mut command = Command::new(trial::vmm()?);
    command.args(["--serial", "none", "--api-sock"]).arg(socket).args(more).stdin(Stdio::null());
    let vmm = Owned::spawn(&mut command)?;
    let api = Api::wait(socket, LIMIT)?;
    Ok((vmm, api))
}

/// The guest is to have so many MiB; once it has written them the host has no fewer, and little more.
fn is_to_have(api: &mut Api, pid: u32, mib: u64) -> Result<()> {
    api.done("PATCH", "/hotplug/memory", &json!({ "requested_size_mib": mib }))?;
    has(api, pid, mib)
}

fn has(api: &mut Api, pid: u32, mib: u64) -> Result<()> {
    reaches(api, "/hotplug/plugged", mib << 20)?;
    let mut last = 0;
    let settled = eventually("resident memory", LIMIT, || {
        last = Resident::of(pid, HOT)?.guest;
        Ok((mib << 10..=(mib << 10) + 64).contains(&last))
    });
    settled.with_context(|| format!("{mib} MiB are plugged, and {last} KiB resident"))
}

fn comes_and_goes() -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let path = |name: &str| folder.path().join(name);
    let (kernel, memory) = (guest::build()?, format!("{MEMORY_MIB}M"));
    let kernel = kernel.to_str().context("a path that is no text")?;
    let hot = format!("{HOT}M");
    let options = ["--kernel", kernel, "--mem", &memory, "--bus", "mmio", "--memory-hotplug", &hot];
    let (first, mut api) =
        launch(&path("first"), &[&options[..], &["--track-dirty-pages"]].concat())?;
    for mib in [SHOWN, 4, 0, 6, 0, SHOWN] {
        is_to_have(&mut api, first.pid(), mib)?;
    }
    let told = api.ask("GET", "/hotplug/memory", "")?.json()?;
    let wanted = json!({ "total_size_mib": HOT, "block_size_mib": 2, "slot_size_mib": 128,
        "requested_size_mib": SHOWN, "plugged_size_mib": SHOWN });
    ensure!(told == wanted, "{told}");
    let refused = api.ask("PATCH", "/hotplug/memory", r#"{"requested_size_mib":3}"#)?;
    ensure!(refused.status == 400, "{refused:?}");

    // A snapshot, and then of a machine with less what has changed since, and all.
    let save = |api: &mut Api, name: &str, kind: &str| -> Result<()> {
        fs::create_dir(path(name))?;
        let (state, memory) = (path(name).join("state"), path(name).join("memory"));
        let body =
            json!({ "snapshot_path": state, "mem_file_path": memory, "snapshot_type": kind });
        api.done("PUT", "/snapshot/create", &body)
    };
    let wish = |api: &mut Api, state: &str| api.done("PATCH", "/vm", &json!({ "state": state }));
    wish(&mut api, "Paused")?;
    save(&mut api, "base", "Full")?;
    api.done("PATCH", "/hotplug/memory", &json!({ "requested_size_mib": 8 }))?;
    wish(&mut api, "Resumed")?;
    has(&mut api, first.pid(), 8)?;
    wish(&mut api, "Paused")?;
    save(&mut api, "changes", "Diff")?;
    save(&mut api, "all", "Full")?;
    drop((api, first));
    let mut merge = Command::new(trial::vmm()?);
    merge.args(["snapshot", "merge", "--to"]).args(["merged", "base", "changes"].map(path));
    process::quiet(&mut merge)?;
    process::quiet(Command::new("cmp").args(["merged/memory", "all/memory"].map(path)))?;

    let (second, mut api) = launch(&path("second"), &[])?;
    let load = json!({ "snapshot_path": path("merged/state"), "resume_vm": true,
        "mem_backend": { "backend_type": "File", "backend_path": path("merged/memory") } });
    api.done("PUT", "/snapshot/load", &load)?;
    // The guest looks at all that it has, and ends if something is amiss.
    reaches(&mut api, "/hotplug/plugged", 8 << 20)?;
    for mib in [SHOWN, 0, 2] {
        api.done("PATCH", "/hotplug/memory", &json!({ "requested_size_mib": mib }))?;
        reaches(&mut api, "/hotplug/plugged", mib << 20)?;
    }
    let figures = api.ask("GET", "/metrics", "")?.body;
    ensure!(figures.contains("\nvmm_memory_unplugs_total 8\n"), "{figures}");
    drop(second);
    Ok(())
}

fn memory(api: &mut Api) -> Result<Value> {
    api.ask("GET", "/memory", "")?.json()
}

/// Waits until the VMM says so many bytes of `what`.
fn reaches(api: &mut Api, what: &str, bytes: u64) -> Result<()> {
    let mut last = Value::Null;
    let done = eventually(what, LIMIT, || {
        last = memory(api)?;
        Ok(last.pointer(what).and_then(Value::as_u64) == Some(bytes))
    });
    done.with_context(|| format!("{bytes} are wanted, and there is {last}"))
}
