//! Compares hypervisors at native speed: frames and requests a second, what each costs and takes, starts, snapshots.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::cargo;
use tests::host;
use tests::native::bench::Plan;
use tests::native::job::{Job, Task};
use tests::native::line::Line;
use tests::native::peer::{Kind, Peer};
use tests::programs;

/// Compare hypervisors at native speed, by a guest that polls its network card or disk from user mode
///
/// vmm is measured with all of its cards and disks, and QEMU if it is there. Give others by --peer. It is run as
/// root, on a quiet machine.
#[derive(Parser)]
struct Arguments {
    /// Somebody to measure too: the name begins with vmm, vmm-ena, vmm-nvme, qemu, qemu-uring,
    /// qemu-nvme, firecracker, firecracker-async or cloud-hypervisor, and says veth or bridge for another line than
    /// a TAP, and seccomp-off for a vmm without filters of system calls
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
    /// Measure only loads whose name has this text in it, such as "send", "receive 60" or "disk"
    #[arg(long = "load", value_name = "TEXT")]
    load: Option<String>,
    /// Measure what takes longer too: more sizes of snapshots, and a hundred machines at once
    #[arg(long)]
    long: bool,
    /// Queues of the card or disk, in turn if several numbers are given, such as 1,2
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=16))]
    queues: Vec<u16>,
    /// Measure vmm's cards on one end of a veth pair too, and on a TAP that a bridge joins with one
    #[arg(long)]
    veth: bool,
    /// More words for the guest's command line
    #[arg(long, value_name = "TEXT", default_value = "")]
    words: String,
    /// More options of vmm's disks, such as engine=threads
    #[arg(long, value_name = "TEXT", default_value = "")]
    disk_options: String,
    /// Where the image of loads on a file is made, and snapshots; a folder on a disk
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    disk_folder: PathBuf,
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
    let mut peers = Vec::new();
    if !arguments.only_peers {
        let path = cargo::vmm()?;
        let named = |path: PathBuf| {
            move |(name, kind): (&str, Kind)| {
                let (path, line) = (path.clone(), Line::of_name(name));
                Peer { name: name.into(), path, kind, line }
            }
        };
        let mut ours = vec![("vmm", Kind::Vmm), ("vmm-ena", Kind::VmmEna)];
        if arguments.veth {
            ours.extend([("vmm-veth", Kind::Vmm), ("vmm-ena-veth", Kind::VmmEna)]);
            ours.extend([("vmm-bridge", Kind::Vmm), ("vmm-ena-bridge", Kind::VmmEna)]);
        }
        ours.push(("vmm-nvme", Kind::VmmNvme));
        peers.extend(ours.into_iter().map(named(path)));
        if let Some(path) = host::find("qemu-system-x86_64") {
            let qemus = [
                ("qemu", Kind::Qemu),
                ("qemu-uring", Kind::QemuUring),
                ("qemu-nvme", Kind::QemuNvme),
            ];
            peers.extend(qemus.map(named(path)));
        }
    }
    peers.extend(arguments.peers);
    let asked = |job: &Job| arguments.load.as_ref().is_none_or(|text| job.name().contains(text));
    let on = |task| arguments.queues.iter().map(move |&queues| Job { task, queues });
    let long = if arguments.long { Task::long() } else { Vec::new() };
    let tasks = Task::all().into_iter().chain(long);
    // A snapshot's machine has one queue, and a vsock as many as it has.
    let fits = |job: &Job| job.queues == 1 || !job.task.is_of_snapshot() && !job.task.is_of_vsock();
    let jobs: Vec<_> = tasks.flat_map(on).filter(asked).filter(fits).collect();
    ensure!(!jobs.is_empty(), "no load is called {:?}", arguments.load.unwrap_or_default());
    if jobs.iter().any(|job| !job.task.is_of_disk()) {
        programs::ensure(&[programs::IP])?;
    }
    ensure!(!peers.is_empty(), "nobody to measure: give a --peer");
    let slice = Duration::try_from_secs_f64(arguments.slice).context("--slice")?;
    let plan = Plan {
        peers,
        rounds: arguments.rounds,
        slice,
        jobs,
        words: arguments.words,
        disk_options: arguments.disk_options,
        disk_folder: arguments.disk_folder,
    };
    let json = plan.run()?;
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&json)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(json["complete"] == true)
}
