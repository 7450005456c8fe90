//! Firecracker's command line, exit codes and first and last words.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use devices::net::service::store::USUAL_LIMIT;

use crate::action::Action;
use crate::api::routes::DIALECT;
use crate::cli::{self, instance_id};
use crate::dialect::watch;
use crate::end::{End, Leave};
use crate::observe::logger::LogSpec;
use crate::observe::stderr;
use crate::orders::Orders;
use crate::shield::Mode;
use crate::snapshot::format::{self, FORMAT};
use crate::starter::Began;
use crate::vm::config::Config;
use crate::vm::spec::{DeviceBus, MachineSpec};
use crate::words;

/// What a kernel is told if the user says nothing.
const DEFAULT_CMDLINE: &str = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux \
                               i8042.dumbkbd swiotlb=noforce";

/// Exit codes: of arguments that cannot be read, and of a level of the log that there is not.
const BAD_ARGUMENTS: u8 = 153;
const BAD_CONFIGURATION: u8 = 152;

/// Exit codes of signals that Firecracker has handlers for.
pub const DEADLY: &[(libc::c_int, u8)] = &[
    (libc::SIGSYS, 148),
    (libc::SIGBUS, 149),
    (libc::SIGSEGV, 150),
    (libc::SIGXCPU, 154),
    (libc::SIGILL, 157),
];
const HUNG_UP: u8 = 156;

const ABOUT: &str = "\
This is vmm in the words of Firecracker's command line: a link to it that is called `firecracker`, or
`vmm firecracker`. What is the same and what is better stands in the manual, resources/manual/firecracker.md.";

/// Runs a machine that is configured over an API socket or by a file.
#[derive(Debug, Parser)]
#[command(name = "firecracker", disable_version_flag = true, after_help = ABOUT)]
struct Args {
    /// Unix socket to serve the API on
    #[arg(long, value_name = "PATH", default_value = "/run/firecracker.socket")]
    api_sock: PathBuf,

    /// Name of the machine: 1 to 64 letters, digits and '-'
    #[arg(long, value_name = "NAME", default_value = "anonymous-instance", value_parser = instance_id)]
    id: String,

    /// Serve no API
    #[arg(long, requires = "config_file")]
    no_api: bool,

    /// Take the machine from this JSON file, and start it
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Fill the metadata service's store from this JSON file
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Append the log to this file or FIFO instead of writing it to stdout
    #[arg(long, value_name = "FILE")]
    log_path: Option<PathBuf>,

    /// What to log: Off, Error, Warning, Info, Debug or Trace
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,

    /// Log what modules of this path say, such as vmm::api, and nothing else
    #[arg(long, value_name = "PATH")]
    module: Option<String>,

    /// Tell the level in each line of the log
    #[arg(long)]
    show_level: bool,

    /// Tell the source file and line in each line of the log
    #[arg(long)]
    show_log_origin: bool,

    /// Append lines of metrics to this file or FIFO
    #[arg(long, value_name = "FILE")]
    metrics_path: Option<PathBuf>,

    /// Log how long the guest took until it said that it is up
    #[arg(long)]
    boot_timer: bool,

    /// Attach devices to PCI; without it, they have registers of their own (virtio-mmio)
    #[arg(long)]
    enable_pci: bool,

    /// Largest body of a request, in bytes
    #[arg(long, value_name = "BYTES")]
    http_api_max_payload_size: Option<usize>,

    /// Largest metadata, in bytes; that of a body if not given
    #[arg(long, value_name = "BYTES")]
    mmds_size_limit: Option<usize>,

    /// Filters of system calls that are to replace the built-in ones
    #[arg(long, value_name = "FILE", conflicts_with = "no_seccomp")]
    seccomp_filter: Option<PathBuf>,

    /// Run without filters of system calls
    #[arg(long)]
    no_seccomp: bool,

    /// Folder with all beneath it, or one file, that files named while the guest runs may be opened in; ours alone
    #[arg(long, value_name = "PATH")]
    allow_path: Vec<PathBuf>,

    #[command(flatten)]
    began: Began,

    /// Print the version
    #[arg(long)]
    version: bool,

    /// Print the version of snapshots
    #[arg(long)]
    snapshot_version: bool,

    /// Print the version of a snapshot's file
    #[arg(long, value_name = "FILE")]
    describe_snapshot: Option<PathBuf>,

    /// What stands behind `--` is for nobody
    #[arg(last = true, hide = true)]
    rest: Vec<OsString>,
}

/// The command line, for what is printed from it.
#[cfg(test)]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Reads a command line. Fails with the exit code once the user has been told what is wrong, or what he asked
/// for.
pub fn orders(words: Vec<OsString>) -> Result<Orders, ExitCode> {
    match Args::try_parse_from(words) {
        Ok(args) if args.version => {
            let ours = env!("VMM_VERSION");
            let said = format!("Firecracker v{DIALECT}\n\nvmm {ours}, in Firecracker's dialect\n");
            Err(cli::printed("firecracker", print(&said)))
        }
        Ok(args) if args.snapshot_version => {
            Err(cli::printed("firecracker", print(&version_of(FORMAT))))
        }
        Ok(Args { describe_snapshot: Some(path), .. }) => Err(match format::open(&path) {
            Ok(sealed) => cli::printed("firecracker", print(&version_of(sealed.format()))),
            Err(error) => {
                let why = words::one_line(Some(path.display().to_string()), &error);
                stderr::say(&format!("firecracker: error: --describe-snapshot: {why}"));
                ExitCode::from(BAD_ARGUMENTS)
            }
        }),
        Ok(args) => args.orders().map_err(|wrong| {
            stderr::say(&format!("firecracker: error: {}", wrong.why));
            ExitCode::from(wrong.code)
        }),
        Err(error) if !error.use_stderr() => Err(cli::printed("firecracker", error.print())),
        Err(error) => {
            stderr::say(&format!("firecracker: error: {}", cli::first_line(&error)));
            Err(ExitCode::from(BAD_ARGUMENTS))
        }
    }
}

/// The version of a snapshot's format, as that of Firecracker's.
fn version_of(format: u32) -> String {
    format!("v{format}.0.0\n")
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// An argument that cannot be heeded, and the exit code for it.
struct Wrong {
    why: String,
    code: u8,
}

impl Args {
    fn orders(self) -> Result<Orders, Wrong> {
        self.refuse_absent()?;
        let level = match self.level.as_deref().map(|name| (name, watch::level(name))) {
            None => None,
            Some((_, Some(level))) => Some(level),
            Some((name, None)) => {
                let known = "Off, Error, Warning, Info, Debug and Trace";
                let why = format!("--level: {name:?} is unknown; known are {known}");
                return Err(Wrong { why, code: BAD_CONFIGURATION });
            }
        };
        // Without PCI unless it is asked for; then it is up to the kernel's command line.
        let bus = (!self.enable_pci).then_some(DeviceBus::Mmio);
        let mut actions = Vec::new();
        actions.extend(self.metrics_path.map(Action::SetMetrics));
        Ok(Orders {
            id: self.id,
            log: LogSpec {
                path: self.log_path,
                level,
                show_level: Some(self.show_level),
                show_origin: Some(self.show_log_origin),
                module: self.module,
            },
            config: Config {
                machine: MachineSpec { bus, ..MachineSpec::default() },
                bus,
                default_cmdline: DEFAULT_CMDLINE,
                vcpu_threads: "fc_vcpu ",
                metadata_limit: self
                    .mmds_size_limit
                    .or(self.http_api_max_payload_size)
                    .unwrap_or(USUAL_LIMIT),
                usual_entropy: false,
                boot_timer: self.boot_timer,
                clock_advances: false,
                grace: Duration::ZERO,
                ..Config::default()
            },
            start_times: self.began.times(),
            api_socket: Some(self.api_sock).filter(|_| !self.no_api),
            max_body: self.http_api_max_payload_size,
            ready: Vec::new(),
            thread_groups: None,
            seccomp: if self.no_seccomp { Mode::Off } else { Mode::default() },
            forks: false,
            late_places: self.allow_path,
            reach: Vec::new(),
            credentials: None,
            receive: None,
            actions,
            metadata: self.metadata,
            config_file: self.config_file,
        })
    }

    /// Refuses what would be heeded by nobody.
    fn refuse_absent(&self) -> Result<(), Wrong> {
        let absent = [(
            "--seccomp-filter",
            self.seccomp_filter.is_some(),
            "filters are built in, for the threads of this program, and no others can be used; leave it out",
        )];
        match absent.into_iter().find(|(_, is_given, _)| *is_given) {
            Some((flag, _, why)) => {
                Err(Wrong { why: format!("{flag}: {why}"), code: BAD_ARGUMENTS })
            }
            None => Ok(()),
        }
    }
}

/// Firecracker's code for an end, or the signal that it dies by.
pub fn leave(end: &End) -> Leave {
    match end {
        End::GuestOff
        | End::GuestReset
        | End::Quit
        | End::Killed
        | End::ResetByUser
        | End::Migrated { .. } => Leave::Exit(0),
        End::TripleFault { .. }
        | End::InternalError { .. }
        | End::FailedEntry { .. }
        | End::VcpuFailed { .. }
        | End::Pager { .. }
        | End::Pages { .. }
        | End::Parted { .. }
        | End::NotShut { .. } => Leave::Exit(1),
        End::NotLoaded => Leave::Exit(BAD_CONFIGURATION),
        End::Signal(libc::SIGHUP) => Leave::Exit(HUNG_UP),
        End::Signal(signal) => Leave::DieBy(*signal),
    }
}

/// The line that readers of the log wait for.
pub fn farewell(leave: &Leave) -> Option<String> {
    match leave {
        Leave::Exit(0) => Some("Firecracker exiting successfully. exit_code=0".into()),
        Leave::Exit(code) => Some(format!("Firecracker exiting with error. exit_code={code}")),
        Leave::DieBy(_) => None,
    }
}
