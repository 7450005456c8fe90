//! A Type-2 hypervisor on KVM.
//!
//! The only crate that knows KVM, vCPU threads and the user. Reading order: `cli.rs` (what can be
//! asked), `vm/spec.rs` (the one model of it), `vm/build.rs` (from wish to machine), `vcpu/run.rs`
//! (the loop), `control.rs` (what ends it).

pub mod cli;
mod control;
mod end;
mod kvm;
mod memory;
mod observe;
mod signals;
mod vcpu;
mod vm;

use std::error::Error;
use std::process::ExitCode;

use cli::Args;
use control::Ends;
use end::End;
use signals::Signals;
use vm::Vm;

/// Exit codes that are not an [`End`]'s.
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// Everything, from the arguments to the exit code.
pub fn main() -> ExitCode {
    restore_terminal_on_panic();
    let args = match Args::parse_from_args(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return cli::report(&error),
    };
    match run(args) {
        Ok(end) => {
            match end {
                End::GuestOff | End::Quit => tracing::info!("{end}"),
                _ => eprintln!("vmm: {end}"),
            }
            ExitCode::from(end.exit_code())
        }
        Err(failure) => {
            report(&*failure.error);
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    error: Box<dyn Error>,
    code: u8,
}

fn failed(error: impl Into<Box<dyn Error>>) -> Failure {
    Failure { error: error.into(), code: FAILED }
}

fn run(args: Args) -> Result<End, Failure> {
    observe::logger::start(args.log_level, args.log_file.as_deref())
        .map_err(|error| Failure { error: error.into(), code: BAD_USAGE })?;
    let spec = args.into_spec();
    // Before any thread starts, so that only the main loop sees them.
    let signals = Signals::block().map_err(failed)?;
    let ends = Ends::new().map_err(failed)?;
    let mut vm = Vm::build(&spec, &ends).map_err(|error| {
        let code = if error.is_usage() { BAD_USAGE } else { FAILED };
        Failure { error: error.into(), code }
    })?;
    vm.resume().map_err(failed)?;
    let button = vm.power_button();
    let end = control::wait(&ends, signals, spec.grace, move || button.press()).map_err(failed)?;
    vm.stop(end.event()).map_err(failed)?;
    Ok(end)
}

/// One line: what failed, and why.
fn report(error: &dyn Error) {
    let mut line = format!("vmm: error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("{line}");
}

/// A panic of any thread ends the process; the user's terminal must not stay raw.
fn restore_terminal_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        devices::legacy::restore_terminal();
        default(panic);
    }));
}
