//! `vmm jail`, and vmm by the name of `jailer`: a machine in a jail of its own, by Firecracker's flags, order
//! and manner of starting what runs in it.
//!
//! ```text
//! args ──► Plan (pure) ──► tree ── occupant ── cgroup ── userns ── walls ── devices ── process ── identity ──► exec
//! ```
//! It is single-threaded from its first instruction to the exec, so that what it gives up it gives up for
//! all of it. Each step that fails ends it with one line that names the step: there is no weaker way to go
//! on.

mod args;
mod cgroup;
mod clean;
mod core_scheduling;
mod devices;
mod error;
mod handed;
mod identity;
mod keeper;
mod libraries;
mod occupant;
mod plan;
mod process;
mod taps;
mod tree;
mod userns;
mod walls;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli;
use crate::observe::stderr;
use args::Args;
pub use args::NAME;
use error::JailError;
use handed::Manager;
use occupant::Occupancy;
use plan::{Caller, Plan};
use process::{Role, StartTimes};

/// The jail could not be built, or what is to run in it not be started.
const FAILED: u8 = 1;

/// Everything, from the arguments to the exec, which does not come back. `name` is that of the program, as it is
/// called in what it says.
pub fn main(name: &'static str, words: Vec<OsString>) -> ExitCode {
    let times = StartTimes::now();
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return cli::report(&error),
    };
    let plan = handed::close_others(&args).and_then(|()| Plan::new(args, Caller::now()));
    let result = plan.and_then(|plan| match plan.clean {
        true => clean::clean(&plan).map(|()| ExitCode::SUCCESS),
        false => build(&plan, times),
    });
    result.unwrap_or_else(|error| failed(name, &error))
}

/// The command line.
#[cfg(test)]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

fn failed(name: &str, error: &JailError) -> ExitCode {
    stderr::say(&format!("{name}: error: {error}"));
    ExitCode::from(FAILED)
}

/// Builds the jail and becomes what runs in it; returns, with the exit code, where another process does.
fn build(plan: &Plan, times: StartTimes) -> Result<ExitCode, JailError> {
    devices::check_kvm(plan)?;
    let jail = tree::Jail::open(plan)?;
    // Before anything else is done: somebody may be in it.
    let mut occupancy = Occupancy::take(&jail.home)?;
    drop(jail);
    let program = tree::open_program(plan)?;
    let libraries = libraries::of_program(plan)?;
    let manager = Manager::connect(plan)?;
    walls::join_network(plan)?;
    process::set_limits(plan)?;
    let doors = cgroup::enter(plan, &mut occupancy)?;
    let null = process::open_null(plan)?;
    userns::enter(plan)?;
    walls::part(plan)?;
    taps::make(&plan.taps, plan.uid)?;
    // Anew: what was opened before lies in the host's mounts, where nothing can be mounted from here.
    let jail = tree::Jail::open(plan)?;
    devices::furnish(&jail, plan)?;
    libraries::show(&libraries, &jail)?;
    walls::move_in(&jail)?;
    match process::part(plan, &jail, &mut occupancy, &manager, null)? {
        Role::Done => Ok(ExitCode::SUCCESS),
        Role::Keeper { heard, child, tell: _tell } => {
            drop((occupancy, manager, doors));
            handed::close_handed(plan)?;
            identity::drop_all(plan)?;
            keeper::keep(&heard, child)
        }
        Role::Inmate { parent_cpu, keeper } => {
            let ready = manager.ready(plan)?;
            let doors = doors.as_ref().map(handed::hand_over).transpose()?;
            core_scheduling::begin(plan)?;
            identity::drop_all(plan)?;
            process::end_with(keeper.as_ref())?;
            let handed = process::Handed { ready: &ready, doors };
            Err(process::exec(plan, &program, &handed, times, parent_cpu))
        }
    }
}
