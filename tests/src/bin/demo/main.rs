//! `cargo demo`: the main job, end to end: boots a stock Linux kernel and pings it.
#![forbid(unsafe_code)]

mod disk;
mod rootless;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use nix::sys::signal::Signal;
use tests::console::Shown;
use tests::guest::{Tool, USER_SPACE_REACHED};
use tests::kernel::{Format, Kernel, Release};
use tests::machine::{BOOT, DiskModel, Hypervisor, Machine, Model};
use tests::needs::Needs;
use tests::net::Network;
use tests::testbed::Testbed;
use tests::{cargo, host, initramfs, process, programs};

/// Fetch a stock Linux kernel, boot it with a network card, ping it, and power it off.
///
/// With --disk: make a Debian on a disk, boot it from there, log in, write a file, power it off,
/// boot it again, and find the file.
///
/// With --rootless: boot it in a jail of somebody who is not root.
///
/// Runs under this machine's KVM if it has hardware virtualization, else in the testbed,
/// a Linux host emulated by QEMU.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Stay on the guest's console; `poweroff -f` there, or Ctrl-A X, ends it
    #[arg(long)]
    interactive: bool,
    /// Boot a Debian from its disk
    #[arg(long)]
    disk: bool,
    /// Boot in a jail of somebody who is not root
    #[arg(long, conflicts_with_all = ["disk", "interactive", "model", "files"])]
    rootless: bool,
    /// What the guest sees as its network card, virtio or ena; with --disk as its disk, virtio or nvme, one
    /// after the other if neither is given
    #[arg(long, value_enum)]
    model: Option<Shape>,
    /// Boot nothing: put the guest's kernel and initial file system, or with --disk its disk, into this
    /// folder, to boot them by hand
    #[arg(long, value_name = "FOLDER", conflicts_with = "interactive")]
    files: Option<PathBuf>,
    /// The vmm binary to use, instead of building one
    #[arg(long, value_name = "FILE")]
    vmm: Option<PathBuf>,
}

/// What the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    Virtio,
    Ena,
    Nvme,
}

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Card(Model),
    Disks(Vec<DiskModel>),
    Rootless,
}

impl Arguments {
    fn subject(&self) -> Result<Subject> {
        if self.rootless {
            return Ok(Subject::Rootless);
        }
        Ok(match (self.disk, self.model) {
            (false, None | Some(Shape::Virtio)) => Subject::Card(Model::Virtio),
            (false, Some(Shape::Ena)) => Subject::Card(Model::Ena),
            (false, Some(Shape::Nvme)) => bail!("nvme is a model of disks: add --disk"),
            (true, None) => Subject::Disks(vec![DiskModel::Virtio, DiskModel::Nvme]),
            (true, Some(Shape::Virtio)) => Subject::Disks(vec![DiskModel::Virtio]),
            (true, Some(Shape::Nvme)) => Subject::Disks(vec![DiskModel::Nvme]),
            (true, Some(Shape::Ena)) => bail!("ena is a model of cards: leave out --disk"),
        })
    }
}

impl Subject {
    /// What its demo uses, and nothing else.
    fn needs(&self) -> Needs {
        match self {
            Self::Card(model) => needs(*model),
            Self::Disks(_) => disk::needs(),
            Self::Rootless => rootless::needs(),
        }
    }
}

const RELEASE: Release = Release::Guest6_12;
const LIMIT: Duration = Duration::from_secs(600);
/// CPUs of the guest, and queue pairs of its card.
const PAIRS: u8 = 2;
/// What shows an ENA card in the guest.
const LOOK: &[&str] = &[
    "dmesg | grep -w ena",
    "ethtool -i eth0",
    "ethtool -l eth0",
    "ethtool -g eth0",
    "ethtool -c eth0",
    "ethtool -k eth0 | grep -E '^[a-z-]+: on'",
    "ethtool -x eth0",
    "ethtool -n eth0 rx-flow-hash tcp4",
    "ethtool -S eth0",
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("demo: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    println!("demo: {line}");
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let subject = arguments.subject()?;
    if host::in_testbed() {
        demo(arguments.vmm.clone().context("--vmm is missing")?, &subject, arguments.interactive)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = &arguments.files {
        subject.needs().fetch()?;
        return match subject {
            Subject::Card(model) => files(folder, model),
            Subject::Disks(_) => disk::files(folder),
            Subject::Rootless => bail!("--rootless boots: leave out --files"),
        };
    }
    let vmm = match &arguments.vmm {
        Some(path) => path.clone(),
        None => {
            say("building vmm");
            cargo::vmm()?
        }
    };
    match host::no_hardware_kvm() {
        None => {
            say("running on this machine's KVM");
            ensure!(
                subject == Subject::Rootless || nix::unistd::geteuid().is_root(),
                "the demo makes a TAP; run it as root"
            );
            subject.needs().fetch()?;
            demo(vmm, &subject, arguments.interactive)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(_) => {
            let testbed = Testbed {
                interactive: arguments.interactive,
                timeout: if arguments.interactive { Duration::MAX } else { LIMIT },
                needs: subject.needs(),
                ..Testbed::default()
            };
            say(&format!("running in the {}", testbed.describe()));
            let mut command: Vec<OsString> =
                vec![std::env::current_exe()?.into(), "--vmm".into(), vmm.into()];
            command.extend(arguments.interactive.then(|| "--interactive".into()));
            command.extend(arguments.disk.then(|| "--disk".into()));
            command.extend(arguments.rootless.then(|| "--rootless".into()));
            if let Some(model) = arguments.model.and_then(|model| model.to_possible_value()) {
                command.extend(["--model".into(), model.get_name().into()]);
            }
            let status = testbed.run(&command)?;
            Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
        }
    }
}

/// Programs in the guest.
fn tools(model: Model) -> &'static [Tool] {
    match model {
        Model::Virtio => &[],
        Model::Ena => &[Tool::Ethtool],
    }
}

/// What this demo uses, and nothing else.
fn needs(model: Model) -> Needs {
    Needs {
        programs: vec![programs::IP],
        kernels: vec![RELEASE],
        tools: tools(model).to_vec(),
        ..Needs::default()
    }
}

/// The demo's guest, on any hypervisor.
fn guest(hypervisor: Hypervisor, model: Model) -> Machine {
    Machine::new(hypervisor, RELEASE).memory(512).tools(tools(model))
}

fn files(folder: &Path, model: Model) -> Result<ExitCode> {
    let machine = guest(Hypervisor::Vmm(PathBuf::new()), model).format(Format::Vmlinux);
    let (kernel, initramfs) = machine.write_files(folder)?;
    say(&format!("{} is that of {}", kernel.display(), Kernel::open(RELEASE)?.origin()));
    say(&format!("{} gives its shell on the serial console", initramfs.display()));
    Ok(ExitCode::SUCCESS)
}

fn demo(vmm: PathBuf, subject: &Subject, interactive: bool) -> Result<()> {
    match subject {
        Subject::Card(model) => demo_of_card(vmm, *model, interactive),
        Subject::Rootless => rootless::run(&vmm),
        Subject::Disks(models) => {
            for (nth, model) in models.iter().enumerate() {
                let demo = disk::Demo::new(&vmm, *model)?;
                if interactive {
                    return demo.interactive();
                }
                demo.run(nth == 0)?;
            }
            Ok(())
        }
    }
}

fn demo_of_card(vmm: PathBuf, model: Model, interactive: bool) -> Result<()> {
    let kernel = Kernel::open(RELEASE)?;
    let mut network = Network::new().context("cannot make a network for the demo")?;
    let tap = network.tap(PAIRS.into(), 1500)?;
    let machine = guest(Hypervisor::Vmm(vmm), model).cpus(PAIRS).card_of(model, &tap);
    say(&format!(
        "booting {} with {PAIRS} CPUs, 512 MiB and a {model:?} card on a TAP",
        kernel.origin(),
    ));

    if interactive {
        say(&format!(
            "the host is {} and {} there; Ctrl-A X ends it",
            tap.host_ipv4, tap.host_ipv6
        ));
        let (mut command, _folder) = machine.command(Some(&network))?;
        let status = command.stdin(Stdio::inherit()).status().context("cannot start vmm")?;
        ensure!(status.success(), "vmm ended with {status}");
        return Ok(());
    }

    let start = Instant::now();
    let mut running = machine.start(Some(&network))?;
    let shown = Shown::default();
    running.console.copy_to(shown.clone());
    running.console.wait_for(0, USER_SPACE_REACHED, BOOT).with_context(|| running.errors.text())?;
    let booted = start.elapsed();

    let busybox = initramfs::busybox_file()?;
    for (option, address) in [("-4", &tap.guest_ipv4), ("-6", &tap.guest_ipv6)] {
        let ping = process::stdout_of(
            network.command(&busybox).args(["ping", option, "-c", "3", address]),
        )
        .with_context(|| format!("no answer to ping {address}"))?;
        for line in ping.lines() {
            say(line);
        }
    }

    if model == Model::Ena {
        let mut shell = running.shell(BOOT)?;
        shown.end();
        println!();
        for line in LOOK {
            println!("guest# {line}\n{}", shell.sh(line)?);
        }
    }

    say("pressing the power button (SIGTERM)");
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(0, Duration::from_secs(60))?;
    running.console.wait_for_end(Duration::from_secs(10))?;
    say(&format!(
        "user space after {:.1} s, answered every ping, powered off cleanly",
        booted.as_secs_f64()
    ));
    Ok(())
}
