//! `cargo testbed -- CMD`: runs a command on a Linux host with working KVM, whatever this machine has.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::needs::Needs;
use tests::testbed::Testbed;

/// Run a command as root on a Linux host with working KVM, made by QEMU out of this machine.
///
/// The command sees this machine's files; what it writes vanishes, except below /share.
/// The exit status is the command's; 125 if the testbed itself failed.
#[derive(Parser)]
#[command(name = "cargo testbed")]
struct Arguments {
    /// CPUs of the testbed; more than one are not reliable where QEMU emulates them
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    cpus: Option<u8>,
    /// Memory of the testbed in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    mem: u32,
    /// Seconds after which the testbed is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Folder that the command sees read-write as /share
    #[arg(long, value_name = "FOLDER")]
    share: Option<PathBuf>,
    /// Give the command this terminal's input
    #[arg(long)]
    interactive: bool,
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = Testbed::default();
    let testbed = Testbed {
        cpus: arguments.cpus.unwrap_or(usual.cpus),
        memory_mib: arguments.mem,
        timeout: Duration::from_secs(arguments.timeout),
        share: arguments.share,
        interactive: arguments.interactive,
        ..usual
    };
    // The command may be any test, or nothing that needs a guest.
    if let Err(error) = Needs::of_tests(std::env::var_os("VMM_LONG").is_some()).fetch() {
        eprintln!("testbed: tests will not find all that they need: {error:#}");
    }
    match testbed.run(&arguments.command) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("testbed: error: {error:#}");
            ExitCode::from(125)
        }
    }
}
