//! Compares hypervisors at native speed: frames a second, CPU time a frame, round trips, starts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::cargo;
use tests::host;
use tests::native::bench::{Job, Plan, Task};
use tests::native::peer::{Kind, Peer};
use tests::programs;

/// Compare hypervisors at native speed, by a guest that polls its network card from user mode
///
/// vmm is measured with both of its cards, and QEMU if it is there. Give others by --peer. It is run as
/// root, on a quiet machine.
#[derive(Parser)]
struct Arguments {
    /// Somebody to measure too: the name begins with firecracker, cloud-hypervisor, qemu, vmm or vmm-ena
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<Peer>,
    /// Measure only those given, and not our own build nor QEMU
    #[arg(long)]
    only_peers: bool,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    slice: f64,
    /// Measure only loads whose name has this text in it, such as "send" or "receive 60"
    #[arg(long = "load", value_name = "TEXT")]
    load: Option<String>,
    /// Queue pairs of the card, in turn if several numbers are given, such as 1,2
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=16))]
    queues: Vec<u16>,
    /// More words for the guest's command line
    #[arg(long, value_name = "TEXT", default_value = "")]
    words: String,
    /// Write the figures to this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("native-bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everybody ran.
fn run(arguments: Arguments) -> Result<bool> {
    host::kvm().context("cannot open /dev/kvm")?;
    programs::ensure(&[programs::IP])?;
    let mut peers = Vec::new();
    if !arguments.only_peers {
        let path = cargo::vmm()?;
        let ours = [("vmm", Kind::Vmm), ("vmm-ena", Kind::VmmEna)];
        peers.extend(ours.map(|(name, kind)| Peer { name: name.into(), path: path.clone(), kind }));
        if let Some(path) = host::find("qemu-system-x86_64") {
            peers.push(Peer { name: "qemu".into(), path, kind: Kind::Qemu });
        }
    }
    peers.extend(arguments.peers);
    let asked = |job: &Job| arguments.load.as_ref().is_none_or(|text| job.name().contains(text));
    let on = |task| arguments.queues.iter().map(move |&queues| Job { task, queues });
    let jobs: Vec<_> = Task::ALL.into_iter().flat_map(on).filter(asked).collect();
    ensure!(!jobs.is_empty(), "no load is called {:?}", arguments.load.unwrap_or_default());
    ensure!(!peers.is_empty(), "nobody to measure: give a --peer");
    let slice = Duration::try_from_secs_f64(arguments.slice).context("--slice")?;
    let plan = Plan { peers, rounds: arguments.rounds, slice, jobs, words: arguments.words };
    let json = plan.run()?;
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&json)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(json["complete"] == true)
}
