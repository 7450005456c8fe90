//! `cargo testbed-bench`: vmm against QEMU on the same host: boot, network, memory.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tests::bench::compare::{Contestant, Plan};
use tests::bench::load::Job;
use tests::guest::Tool;
use tests::kernel::Release;
use tests::machine::Model;
use tests::needs::Needs;
use tests::testbed::Testbed;
use tests::{cargo, host, programs};

/// Compare vmm with QEMU: time to user space, network, memory; ends with a table in Markdown.
///
/// Runs under this machine's KVM if it has hardware virtualization, else in the testbed. The same
/// guest runs under each hypervisor in turn; what counts is the ratio of the medians.
#[derive(Parser)]
#[command(name = "cargo testbed-bench")]
struct Arguments {
    /// Boots of each kind
    #[arg(long, default_value_t = 5)]
    boots: u32,
    /// Guests per hypervisor that take network load
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Seconds of each load in each guest; the hypervisors take turns every second
    #[arg(long, default_value_t = 8)]
    slices: u32,
    /// Only this load; may be repeated
    #[arg(long = "load", value_enum, value_name = "LOAD")]
    loads: Vec<Job>,
    /// The guest's kernel
    #[arg(long, value_enum, default_value_t = Guest::Linux6_1)]
    guest: Guest,
    /// Compare with this one: a QEMU, or something with vmm's command line, such as an older vmm,
    /// which gets the same card [default: qemu-system-x86_64]
    #[arg(long = "peer", value_name = "FILE")]
    peers: Vec<PathBuf>,
    /// What the guest of vmm sees as its network card; with `ena`, vmm with virtio is one more peer
    #[arg(long, value_enum, default_value_t)]
    model: Model,
    /// Measure vmm with a virtio card whose frames the host's kernel moves (backend=vhost) too
    #[arg(long)]
    vhost: bool,
    /// CPUs of an emulated testbed; with one, who makes the load takes time from who bears it
    #[arg(long, value_name = "N", default_value_t = 2)]
    testbed_cpus: u8,
    /// Bytes that a packet may have; in EC2 it is 9001
    #[arg(long, value_name = "BYTES", default_value_t = 1500)]
    mtu: u16,
    /// Tell what each network load cost: exits, interrupts, CPU time, frames
    #[arg(long)]
    costs: bool,
    /// The vmm binary to measure, instead of building one
    #[arg(long, value_name = "FILE")]
    vmm: Option<PathBuf>,
    /// Seconds after which the testbed is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Guest {
    #[value(name = "6.1")]
    Linux6_1,
    #[value(name = "6.12")]
    Linux6_12,
}

impl From<Guest> for Release {
    fn from(guest: Guest) -> Self {
        match guest {
            Guest::Linux6_1 => Self::Guest6_1,
            Guest::Linux6_12 => Self::Guest6_12,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("testbed-bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<i32> {
    let vmm = match &arguments.vmm {
        Some(path) => path.clone(),
        None => {
            // The guest's part and our own.
            cargo::program("load")?;
            cargo::program("vsock")?;
            cargo::vmm()?
        }
    };
    // Guests carry our own program.
    let needs = Needs {
        programs: vec![programs::QEMU, programs::IP],
        kernels: vec![arguments.guest.into()],
        tools: vec![Tool::Load, Tool::Vsock],
        ..Needs::default()
    };
    if host::in_testbed() || host::no_hardware_kvm().is_none() {
        if !host::in_testbed() {
            needs.fetch()?;
        }
        compare(arguments, &vmm)?;
        return Ok(0);
    }
    let testbed = Testbed {
        cpus: arguments.testbed_cpus,
        timeout: Duration::from_secs(arguments.timeout),
        needs,
        ..Testbed::default()
    };
    println!("{}", testbed.describe());
    let mut command = vec![std::env::current_exe()?.into_os_string()];
    command.extend(std::env::args_os().skip(1));
    if arguments.vmm.is_none() {
        command.extend(["--vmm".into(), vmm.into()]);
    }
    testbed.run(&command)
}

fn compare(arguments: &Arguments, vmm: &Path) -> Result<()> {
    let mut peers = arguments.peers.clone();
    if peers.is_empty() {
        peers.push(host::find("qemu-system-x86_64").context("no qemu-system-x86_64 in the path")?);
    }
    let virtio = Contestant { name: "vmm".to_owned(), ..Contestant::at(vmm, Model::Virtio) };
    let model = arguments.model;
    let mut contestants: Vec<_> = peers.iter().map(|peer| Contestant::at(peer, model)).collect();
    let ours = match model {
        Model::Virtio => virtio.clone(),
        Model::Ena => {
            contestants.push(virtio.clone());
            Contestant { name: "vmm, ENA".to_owned(), model: Model::Ena, ..virtio.clone() }
        }
    };
    if arguments.vhost {
        contestants.push(Contestant { name: "vmm, vhost".to_owned(), vhost: true, ..virtio });
    }
    contestants.insert(0, ours);
    Plan {
        contestants,
        release: arguments.guest.into(),
        boots: arguments.boots,
        rounds: arguments.rounds,
        slices: arguments.slices,
        loads: if arguments.loads.is_empty() { Job::ALL.into() } else { arguments.loads.clone() },
        mtu: arguments.mtu,
        costs: arguments.costs,
    }
    .run()
}
