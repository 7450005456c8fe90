//! `vmm jail`, and vmm by the name of `jailer`: a machine in a jail of its own, by Firecracker's flags, order
//! and manner of starting what runs in it.
//!
//! ```text
//! args ──► Plan (pure) ──► tree ── cgroup ── walls ── devices ── process ── identity ──► exec
//! ```
//! It is single-threaded from its first instruction to the exec, so that what it gives up it gives up for
//! all of it. Each step that fails ends it with one line that names the step: there is no weaker way to go
//! on.

mod args;
mod cgroup;
mod clean;
mod devices;
mod error;
mod identity;
mod libraries;
mod plan;
mod process;
mod tree;
mod walls;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli;
use crate::observe::stderr;
use args::Args;
pub use args::NAME;
use error::JailError;
use plan::Plan;
use process::{Role, StartTimes};

/// The jail could not be built, or what is to run in it not be started.
const FAILED: u8 = 1;

/// Everything, from the arguments to the exec, which does not come back. `name` is that of the program, as it is
/// called in what it says.
pub fn main(name: &'static str, words: Vec<OsString>) -> ExitCode {
    let times = StartTimes::now();
    if let Err(error) = process::close_inherited() {
        return failed(name, &error);
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return cli::report(&error),
    };
    let result = Plan::new(args).and_then(|plan| match plan.clean {
        true => clean::clean(&plan),
        false => build(&plan, times),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(name, &error),
    }
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

/// Builds the jail and becomes what runs in it; returns where another process does.
fn build(plan: &Plan, times: StartTimes) -> Result<(), JailError> {
    // Before anything is done: somebody may be in it.
    tree::Jail::open(plan)?;
    let program = tree::open_program(plan)?;
    let libraries = libraries::of_program(plan)?;
    walls::join_network(plan)?;
    process::set_limits(plan)?;
    cgroup::enter(plan)?;
    let null = process::open_null(plan)?;
    walls::part(plan)?;
    // Anew: what was opened before lies in the host's mounts, where nothing can be mounted from here.
    let jail = tree::Jail::open(plan)?;
    devices::furnish(&jail, plan)?;
    libraries::show(&libraries, &jail)?;
    walls::move_in(&jail)?;
    let Role::Inmate { parent_cpu } = process::part(plan, &jail, null)? else { return Ok(()) };
    identity::drop_all(plan)?;
    Err(process::exec(plan, &program, times, parent_cpu))
}
