//! Memory under real KVM, given up and taken back by a guest that polls from user mode: at native speed on any host,
//! where no Linux could be booted.

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
use tests::process::Owned;

/// Far longer than anything takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What the guest uses and gives up.
const MIB: u64 = 64;
const PAGES: u64 = MIB * 256;
/// What the guest has besides, in KiB: itself, its tables, its rings, and the pages that it looked at.
const BESIDE: u64 = 8 << 10;

fn main() {
    let arguments = Arguments::from_args();
    let name = "what_a_guest_gives_up_is_the_hosts_again_and_what_it_takes_back_is_its_own";
    let trials = vec![Trial::ignorable_test(name, || {
        if let Err(error) = host::kvm() {
            return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
        }
        let done = gives_up_and_takes_back();
        done.map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
    })];
    libtest_mimic::run(&arguments, trials).exit();
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
