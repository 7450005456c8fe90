//! `vmm ctl`: a running VMM's API, for people.

mod client;
mod connect;
mod fork;
mod migrate;
mod plug;
mod show;
mod top;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::memory::{Size, SizeError};
use crate::snapshot::spec::{MEMORY, STATE};
use client::{Client, ClientError, OutputError, disk_path, nic_path};

/// Drives a VMM by its API socket.
#[derive(Debug, Parser)]
#[command(name = "vmm ctl", bin_name = "vmm ctl", version = env!("VMM_VERSION"))]
pub struct Args {
    /// The VMM's API socket, as given to --api-sock
    #[arg(value_name = "SOCK")]
    socket: PathBuf,

    /// Print the API's JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(rustdoc::broken_intra_doc_links)] // brackets of the help text
enum Command {
    /// Start the machine that has been configured
    Start,
    /// Stop vCPUs, disks and cards until resume
    Pause,
    /// Let a paused machine go on
    Resume,
    /// Write a snapshot of the machine into a folder, from which vmm restore lets it go on; the machine is paused
    /// meanwhile
    Snapshot {
        /// The folder, which is made if it is not there; an older snapshot in it is replaced
        #[arg(value_parser = clap::value_parser!(PathBuf))]
        folder: PathBuf,
        /// Write only the memory that has changed since the last snapshot; if the folder has that, all of it is as
        /// it is now
        #[arg(long)]
        diff: bool,
        /// Leave the machine paused
        #[arg(long)]
        stay_paused: bool,
    },
    /// Start machines that go on as this one is, each in a process of its own, with its memory until they write to
    /// it; all of them, or none
    Fork(fork::Fork),
    /// Have the machine go on in a vmm that was started to receive it, on this host or another; if it fails it goes
    /// on here
    Migrate(migrate::Migrate),
    /// Press the guest's power button
    PowerButton,
    /// Press Ctrl-Alt-Del on the guest's keyboard
    CtrlAltDel,
    /// End the VMM as a reset by the guest does
    Reset,
    /// End the VMM, whatever the guest does
    Kill,
    /// Show name, state and settings
    Info,
    /// List disks
    Disks,
    /// Show a disk, or change it
    Disk {
        id: String,
        #[command(subcommand)]
        change: Option<DiskChange>,
    },
    /// List all devices, their PCI slots, and whether the guest is asked to let one go
    Devices,
    /// Plug a network card, a disk or persistent memory into a machine that runs
    Plug(Box<plug::Plug>),
    /// Take a network card, a disk or persistent memory out of a machine that runs, once the guest lets it go
    Unplug {
        id: String,
        /// What it is, if there are two of this id
        #[arg(long, value_enum)]
        kind: Option<plug::Kind>,
    },
    /// List network cards, or show one
    Nics {
        /// Show this card
        id: Option<String>,
    },
    /// Show a card's hash key, table and hits
    Rss { id: String },
    /// Tell where packets of a flow go, and why
    ExplainFlow {
        id: String,
        protocol: Protocol,
        /// Sender as ADDRESS:PORT, or [ADDRESS]:PORT
        source: SocketAddr,
        /// Receiver in the guest, in the same form
        destination: SocketAddr,
    },
    /// Write a card's frames to a pcapng file, end that, or show how it goes
    Capture {
        id: String,
        /// The new file; without it, show how the capture goes
        #[arg(value_parser = clap::value_parser!(PathBuf))]
        path: Option<PathBuf>,
        /// End the capture
        #[arg(long, conflicts_with = "path")]
        stop: bool,
        /// Frames of this queue pair only
        #[arg(long, value_name = "N", requires = "path")]
        queue: Option<u16>,
        /// Bytes of the file
        #[arg(long, value_name = "N", requires = "path")]
        max_bytes: Option<u64>,
        /// Seconds after which the capture ends
        #[arg(long, value_name = "N", requires = "path")]
        max_seconds: Option<u32>,
        /// Keep the newest frames instead of the first
        #[arg(long, requires = "path")]
        ring: bool,
    },
    /// Measure a card's latencies, or show them
    Latency {
        id: String,
        /// Begin to measure, or end it
        #[arg(value_name = "on|off")]
        measure: Option<OnOff>,
    },
    /// Show the vsock and its connections
    Vsock,
    /// Connect to a vsock port of the guest: a terminal, or any standard input and output
    Connect {
        /// The port that a program in the guest listens on
        port: u32,
    },
    /// Show what the machine's memory comes to on the host, or change how much of the memory that is plugged while it
    /// runs the guest is to have
    Memory {
        /// How much, such as 1G, or 0
        size: Option<MemorySize>,
    },
    /// Show the balloon and the guest's memory, or change how much the guest is to give up
    Balloon {
        /// How much, such as 256M, or 0
        size: Option<MemorySize>,
    },
    /// Show all figures as OpenMetrics text
    Metrics,
    /// Follow what happens, one JSON object a line
    Events,
    /// Watch rates, queues and vCPUs live
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 1,
            value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum DiskChange {
    /// Look at the image's size again, and tell the guest if it has changed
    Resize,
    /// Give it another image
    Replace {
        #[arg(value_parser = clap::value_parser!(PathBuf))]
        path: PathBuf,
        /// What is below it, once for each, the nearest first, if it is an overlay
        #[arg(long, value_name = "FILE")]
        base: Vec<PathBuf>,
    },
    /// Make it go wrong, or let it behave well again
    Fault { fault: DiskFault },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiskFault {
    /// Requests are taken and never completed
    Swallow,
    /// Requests fail as if the medium had
    Error,
    /// Each request takes a second longer
    Slow,
    /// An NVMe controller answers no more
    Vanish,
    /// An NVMe controller says that it has failed
    Fatal,
    /// No more faults; what was swallowed completes
    Clear,
}

/// MiB, as people write them.
#[derive(Clone, Copy, Debug)]
struct MemorySize(u64);

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<MemorySize, String> {
        if text == "0" {
            return Ok(MemorySize(0));
        }
        let Size(bytes) = text.parse().map_err(|why: SizeError| why.to_string())?;
        match bytes.is_multiple_of(1 << 20) {
            true => Ok(MemorySize(bytes >> 20)),
            false => Err("write whole MiB, such as 256M".to_string()),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// The command with all its parts, for help, manuals and completions.
#[cfg(test)]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Everything behind `vmm ctl`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return crate::cli::report(&error),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::report(&*error);
            ExitCode::from(crate::FAILED)
        }
    }
}

/// Who reads our output has had enough.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let output = error.downcast_ref::<OutputError>();
    output.is_some_and(|error| error.0.kind() == io::ErrorKind::BrokenPipe)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(&args.socket)?;
    let mut out = io::stdout().lock();
    let act = |name: &str| json!({ "action_type": name });
    match &args.command {
        Command::Start => client.put("/actions", &act("InstanceStart"))?,
        Command::PowerButton => client.put("/actions", &act("PowerButton"))?,
        Command::CtrlAltDel => client.put("/actions", &act("SendCtrlAltDel"))?,
        Command::Reset => client.put("/actions", &act("Reset"))?,
        Command::Kill => client.put("/actions", &act("Kill"))?,
        Command::Pause => client.patch("/vm", &json!({ "state": "Paused" }))?,
        Command::Resume => client.patch("/vm", &json!({ "state": "Resumed" }))?,
        Command::Snapshot { folder, diff, stay_paused } => {
            snapshot(&mut client, folder, *diff, *stay_paused)?;
        }
        Command::Fork(what) => {
            let forked = fork::run(&mut client, what)?;
            tell(&mut out, args.json, &forked, fork::show)?;
        }
        Command::Migrate(what) => {
            if let Some(migrated) = migrate::run(&mut client, what)? {
                tell(&mut out, args.json, &migrated, migrate::show)?;
            }
        }
        Command::Info => {
            let mut info = client.get("/")?;
            info["config"] = client.get("/vm/config")?;
            tell(&mut out, args.json, &info, show::info)?;
        }
        Command::Disks => {
            let disks = client.get("/drives")?;
            tell(&mut out, args.json, &disks, show::disks)?;
        }
        Command::Disk { id, change: None } => {
            let disk = client.get(&disk_path(id, ""))?;
            tell(&mut out, args.json, &disk, show::disk)?;
        }
        Command::Disk { id, change: Some(DiskChange::Resize) } => {
            let size = client.post(&disk_path(id, "/refresh"), None)?;
            tell(&mut out, args.json, &size, show::disk_size)?;
        }
        Command::Disk { id, change: Some(DiskChange::Replace { path, base }) } => {
            let bases = base.iter().map(|base| absolute(base)).collect::<Result<Vec<_>, _>>()?;
            let body = json!({
                "drive_id": id, "path_on_host": absolute(path)?, "base_paths_on_host": bases,
            });
            client.patch(&disk_path(id, ""), &body)?;
        }
        Command::Disk { id, change: Some(DiskChange::Fault { fault }) } => {
            let resource = disk_path(id, "/faults");
            match fault.to_possible_value().filter(|_| !matches!(fault, DiskFault::Clear)) {
                Some(fault) => client.put(&resource, &json!({ "fault": fault.get_name() }))?,
                None => client.remove(&resource)?,
            }
        }
        Command::Devices => {
            tell(&mut out, args.json, &client.get("/devices")?, show::devices)?;
        }
        Command::Plug(what) => {
            let id = plug::plug(&mut client, what)?;
            writeln!(out, "{id}").map_err(OutputError)?;
        }
        Command::Unplug { id, kind } => plug::unplug(&mut client, id, *kind)?,
        Command::Nics { id: None } => {
            let nics = nics(&mut client)?;
            tell(&mut out, args.json, &nics, show::nics)?;
        }
        Command::Nics { id: Some(id) } => {
            let nic = client.get(&nic_path(id, ""))?;
            tell(&mut out, args.json, &nic, show::nic)?;
        }
        Command::Rss { id } => {
            let rss = client.get(&nic_path(id, "/rss"))?;
            tell(&mut out, args.json, &rss, show::rss)?;
        }
        Command::ExplainFlow { id, protocol, source, destination } => {
            let flow = json!({
                "source": source.ip(),
                "destination": destination.ip(),
                "protocol": match protocol { Protocol::Tcp => "tcp", Protocol::Udp => "udp" },
                "source_port": source.port(),
                "destination_port": destination.port(),
            });
            let explained = client.post(&nic_path(id, "/explain-flow"), Some(&flow))?;
            tell(&mut out, args.json, &explained, show::explained)?;
        }
        Command::Capture { id, path, stop, .. } => {
            let resource = nic_path(id, "/capture");
            match path {
                Some(path) => client.put(&resource, &capture(path, &args.command)?)?,
                None => {
                    let state =
                        if *stop { client.delete(&resource)? } else { client.get(&resource)? };
                    tell(&mut out, args.json, &state, show::capture)?;
                }
            }
        }
        Command::Latency { id, measure } => {
            let resource = nic_path(id, "/latency");
            match measure {
                Some(measure) => {
                    client.put(&resource, &json!({ "on": *measure == OnOff::On }))?;
                }
                None => tell(&mut out, args.json, &client.get(&resource)?, show::latency)?,
            }
        }
        Command::Vsock => tell(&mut out, args.json, &client.get("/vsock")?, show::vsock)?,
        Command::Connect { port } => {
            drop(out);
            return connect::run(&mut client, *port);
        }
        Command::Memory { size: None } => {
            tell(&mut out, args.json, &client.get("/memory")?, show::memory)?;
        }
        Command::Memory { size: Some(size) } => {
            client.patch("/hotplug/memory", &json!({ "requested_size_mib": size.0 }))?;
        }
        Command::Balloon { size: Some(size) } => {
            client.patch("/balloon", &json!({ "amount_mib": size.0 }))?;
        }
        Command::Balloon { size: None } => {
            let mut balloon = client.get("/balloon")?;
            if balloon["stats_polling_interval_s"] != 0 {
                balloon["statistics"] = client.get("/balloon/statistics")?;
            }
            tell(&mut out, args.json, &balloon, show::balloon)?;
        }
        Command::Metrics => {
            let text = client.text("/metrics")?;
            out.write_all(text.as_bytes()).map_err(OutputError)?;
        }
        Command::Events => client.follow("/events", |bytes| {
            out.write_all(bytes)?;
            out.flush()
        })?,
        Command::Top { every } => {
            drop(out);
            return top::run(&mut client, std::time::Duration::from_secs(*every));
        }
    }
    out.flush().map_err(OutputError)?;
    Ok(())
}

/// Writes a snapshot of a machine that runs, or is paused already.
fn snapshot(
    client: &mut Client,
    folder: &Path,
    diff: bool,
    stay_paused: bool,
) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let runs = client.get("/vm")?["state"] == "Running";
    if runs {
        client.patch("/vm", &json!({ "state": "Paused" }))?;
    }
    let (state, memory) = (absolute(&folder.join(STATE))?, absolute(&folder.join(MEMORY))?);
    let kind = if diff { "Diff" } else { "Full" };
    let body = json!({ "snapshot_path": state, "mem_file_path": memory, "snapshot_type": kind });
    let done = client.put("/snapshot/create", &body);
    // Whatever came of it.
    if runs && (!stay_paused || done.is_err()) {
        client.patch("/vm", &json!({ "state": "Resumed" }))?;
    }
    Ok(done?)
}

/// All cards of the machine, as the API shows each.
fn nics(client: &mut Client) -> Result<Value, ClientError> {
    let config = client.get("/vm/config")?;
    let nics = config["network-interfaces"].as_array().into_iter().flatten();
    let ids = nics.filter_map(|nic| nic["iface_id"].as_str());
    ids.map(|id| client.get(&nic_path(id, ""))).collect()
}

/// The VMM may have another working directory.
fn absolute(path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(std::path::absolute(path)?.to_str().ok_or("the path is not UTF-8")?.to_string())
}

fn capture(path: &Path, command: &Command) -> Result<Value, Box<dyn Error>> {
    let mut body = json!({ "path": absolute(path)? });
    if let Command::Capture { queue, max_bytes, max_seconds, ring, .. } = command {
        body["queue"] = json!(queue);
        body["max_bytes"] = json!(max_bytes);
        body["max_seconds"] = json!(max_seconds);
        body["ring"] = json!(ring);
    }
    Ok(body)
}

/// Prints an answer for programs or for people.
fn tell(
    out: &mut impl Write,
    json: bool,
    answer: &Value,
    show: fn(&Value) -> String,
) -> Result<(), OutputError> {
    match json {
        true => writeln!(out, "{answer:#}")?,
        false => out.write_all(show(answer).as_bytes())?,
    }
    Ok(())
}

#[cfg(test)]
#[path = "ctl_test.rs"]
mod tests;
