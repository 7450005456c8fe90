//! `vmm ctl`: a running VMM's API, for people.

mod client;
mod show;
mod top;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

use client::{Client, ClientError, OutputError, nic_path};

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
    /// Stop vCPUs and cards until resume
    Pause,
    /// Let a paused machine go on
    Resume,
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
        Command::Info => {
            let mut info = client.get("/")?;
            info["config"] = client.get("/vm/config")?;
            tell(&mut out, args.json, &info, show::info)?;
        }
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
            let explained = client.post(&nic_path(id, "/explain-flow"), &flow)?;
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

/// All cards of the machine, as the API shows each.
fn nics(client: &mut Client) -> Result<Value, ClientError> {
    let config = client.get("/vm/config")?;
    let ids = config["network-interfaces"].as_array().into_iter().flatten();
    let ids: Vec<_> = ids.filter_map(|nic| nic["iface_id"].as_str().map(String::from)).collect();
    ids.iter().map(|id| client.get(&nic_path(id, ""))).collect()
}

fn capture(path: &std::path::Path, command: &Command) -> Result<Value, Box<dyn Error>> {
    // The VMM may have another working directory.
    let path = std::path::absolute(path)?;
    let mut body = json!({ "path": path.to_str().ok_or("the path is not UTF-8")? });
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
