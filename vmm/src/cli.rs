//! The command line.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arch::boot::DEFAULT_CMDLINE;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use devices::DeviceSpec;
use devices::legacy::ConsoleSpec;
use devices::net::spec::NicSpec;
use tracing_subscriber::filter::LevelFilter;

use crate::memory::Size;
use crate::vm::spec::{BootSpec, MachineSpec, VmSpec};

const EXAMPLES: &str = "\
Examples:
  Boot a kernel on this terminal (Ctrl-A X quits):
    vmm --kernel bzImage --initrd initramfs.cpio --mem 512M

  Two CPUs, and a network card with two queue pairs on the TAP `tap0`:
    vmm --kernel vmlinux --mem 2G --cpus 2 --net tap=tap0,queues=2,mac=06:00:00:00:00:01

  A TAP that the caller opened (one descriptor per queue), and the console in a file:
    vmm --kernel bzImage --mem 128M --net fd=3:4 --serial file=console.log

Exit codes:
  0 the guest powered off, or the user quit    1 the VMM or the host failed
  2 wrong arguments or input files             3 the guest reset itself
  4 triple fault of the guest                  5 KVM internal error
  130, 143 stopped by SIGINT, SIGTERM after the guest's grace";

/// Boots a Linux kernel in a virtual machine.
#[derive(Debug, Parser)]
#[command(name = "vmm", version, after_help = EXAMPLES)]
pub struct Args {
    /// Kernel to boot: a bzImage, or an ELF vmlinux
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// Memory of the guest, such as 512M or 2G
    #[arg(long, value_name = "SIZE")]
    mem: Size,

    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,

    /// Command line of the kernel
    #[arg(long, value_name = "STRING", default_value = DEFAULT_CMDLINE)]
    cmdline: String,

    /// Number of vCPUs, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    cpus: u8,

    /// Network card, once for each:
    /// tap=NAME or fd=N[:N...], then [,model=virtio|ena][,mac=MAC][,queues=N][,mtu=N][,id=ID],
    /// and limits, such as [,bw-in=2.5G][,bw-out=500M] in bit/s, [,pps=100k], [,conntrack=65536].
    /// With model=ena also [,llq=off] for no low-latency queues, and rehearsals [,fault=KIND[@SECONDS]]...
    /// after the driver brought the card up: stop-keep-alive, no-answer, swallow-tx, wrong-tx-id, request-reset.
    /// A TAP that does not exist is made, if the caller may
    #[arg(long, value_name = "SPEC")]
    net: Vec<NicSpec>,

    /// Serial console: stdio, none, file=PATH (overwritten) or socket=PATH
    #[arg(long, value_name = "WHERE", default_value = "stdio")]
    serial: ConsoleSpec,

    /// Seconds a guest may take to power off after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    grace: u64,

    /// What to log
    #[arg(long, value_name = "LEVEL", default_value = "warn", ignore_case = true, value_parser =
        PossibleValuesParser::new(["off", "error", "warn", "info", "debug"]).map(level))]
    pub(crate) log_level: LevelFilter,

    /// Append the log to this file instead of writing it to stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

fn level(name: String) -> LevelFilter {
    name.parse().unwrap_or(LevelFilter::WARN)
}

fn check_cards(cards: &[NicSpec]) -> Result<(), Box<dyn std::error::Error>> {
    let mut ids = HashSet::new();
    for card in cards {
        card.validate()?;
        if !ids.insert(&card.id) {
            return Err(format!("id {:?} is given twice; each card needs its own", card.id).into());
        }
    }
    Ok(())
}

impl Args {
    /// Parses `args`, of which the first is the program's name.
    pub fn parse_from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Args, clap::Error> {
        let mut args = Args::try_parse_from(args)?;
        for (nth, card) in args.net.iter_mut().enumerate() {
            if card.id.is_empty() {
                card.id = format!("eth{nth}");
            }
        }
        check_cards(&args.net).map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--net: {error}\n"))
        })?;
        Ok(args)
    }

    pub(crate) fn into_spec(self) -> VmSpec {
        VmSpec {
            machine: MachineSpec { cpus: self.cpus, memory: self.mem },
            boot: BootSpec { kernel: self.kernel, initrd: self.initrd, cmdline: self.cmdline },
            serial: self.serial,
            devices: self.net.into_iter().map(DeviceSpec::Nic).collect(),
            grace: Duration::from_secs(self.grace),
        }
    }
}

/// Prints help or version, or the error as one line; returns the exit code.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed stdout is the reader's choice.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    // The first paragraph is the error; usage and hints follow.
    let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    eprintln!("vmm: error: {line}; see vmm --help");
    ExitCode::from(crate::BAD_USAGE)
}

#[cfg(test)]
#[path = "cli_test.rs"]
mod tests;
