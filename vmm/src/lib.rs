//! A Type-2 hypervisor on KVM.
//!
//! The only crate that knows KVM, vCPU threads and the user. Reading order: `cli.rs` (what can be
//! asked), `action.rs` (all that can be done), `control.rs` (who does it), `vm/spec.rs` (the one model
//! of a machine), `vm/build.rs` (from wish to machine), `vcpu/run.rs` (the loop), `api/routes.rs` (the
//! same by HTTP).

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))] // they panic when they fail

mod action;
mod api;
pub mod cli;
mod control;
mod ctl;
mod dialect;
mod end;
#[cfg(test)]
mod generated;
mod kvm;
mod memory;
mod observe;
mod shield;
mod signals;
mod text_file;
mod vcpu;
mod vm;
mod words;

#[cfg(feature = "testing")]
pub use api::by_hand::answer as answer_by_hand;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use action::{ActionError, ErrorKind, Mailbox};
use api::Api;
use api::socket::ApiSocket;
use cli::Args;
use control::Controller;
use control::late::Late;
use end::End;
use observe::events::Events;
use observe::logger::Log;
use shield::broker::Broker;
use shield::row::Kind;
use shield::{Inherited, Shield};
use signals::Signals;
use words::Setting;

/// Exit codes that are not an [`End`]'s.
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// Everything, from the arguments to the exit code.
pub fn main() -> ExitCode {
    signals::survive_file_limits();
    let mut words = std::env::args_os();
    if let (Some(program), Some(first)) = (words.next(), words.next())
        && first == "ctl"
    {
        return ctl::main(std::iter::once(program).chain(words));
    }
    leave_clean_on_panic();
    signals::leave_clean_when_killed();
    let args = match Args::parse_from_args(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return cli::report(&error),
    };
    let inherited = Inherited::look();
    let log = Log::start();
    match run(args, inherited, &log) {
        Ok(end) => {
            match end {
                End::GuestOff | End::Quit | End::Killed => tracing::info!("{end}"),
                _ => log.last_words(&end.to_string()),
            }
            ExitCode::from(end.exit_code())
        }
        Err(failure) => {
            log.last_words(&format!("error: {}", words::one_line(None, &*failure.error)));
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

/// Other arguments or files are the cure, unless the host is what failed.
fn bad_usage(error: impl Into<Box<dyn Error>>) -> Failure {
    let error = error.into();
    let code = if action::is_of_host(&*error) { FAILED } else { BAD_USAGE };
    Failure { error, code }
}

/// In the words of where the user said what is wrong.
fn refused(error: &ActionError, place: impl Fn(&Setting) -> String) -> Failure {
    let line = words::one_line(error.setting().as_ref().map(place), error);
    match error.kind() {
        ErrorKind::Host => failed(line),
        _ => bad_usage(line),
    }
}

fn run(args: Args, inherited: Inherited, log: &Log) -> Result<End, Failure> {
    log.set(&args.log()).map_err(|error| refused(&error.into(), Setting::option))?;
    let shield = Shield::begin(args.seccomp(), inherited).map_err(failed)?;
    let (id, config, start_times) = (args.id().to_string(), args.config(), args.start_times());
    let args_places = args.late_places();
    let api_socket = args.api_socket().map(Path::to_path_buf);
    // Signals still end it while the file is on its way.
    let plan = args.into_plan().map_err(bad_usage)?;
    // Before any thread starts, so that only the main loop sees them.
    let signals = Signals::block().map_err(failed)?;
    let events = Arc::new(Events::default());
    let mut late = Late { broker: None, places: args_places };
    let api = match api_socket {
        None => None,
        Some(path) => {
            // While there is one thread.
            late.broker = Some(Broker::start(shield.state().seccomp).map_err(failed)?);
            let socket = ApiSocket::bind(&path).map_err(bad_usage)?;
            let mailbox = Mailbox::new().map_err(failed)?;
            let shut = shield.clone();
            let shut = move || shut.shut(Kind::Api);
            let api = Api::start(socket, mailbox.clone(), events.clone(), shut).map_err(failed)?;
            Some((api, mailbox))
        }
    };
    let mut controller =
        Controller::new(id, config, log.clone(), events, start_times, shield, late)
            .map_err(failed)?;
    let mailbox = api.as_ref().map(|(_, mailbox)| mailbox.clone());
    let hearing = controller.hearing(mailbox, signals).map_err(failed)?;
    for action in plan.options {
        controller.act(action).map_err(|error| refused(&error, Setting::option))?;
    }
    for action in plan.recorded {
        controller.act(action).map_err(|error| refused(&error, |said| plan.places.of(said)))?;
    }
    let end = controller.serve(hearing).map_err(failed)?;
    if let Some((api, _)) = api {
        api.finish();
    }
    Ok(end)
}

fn report(error: &dyn Error) {
    observe::stderr::say(&format!("vmm: error: {}", words::one_line(None, error)));
}

/// A panic of any thread ends the process; neither a raw terminal nor sockets are left behind. A thread that is
/// shut in says it in one line: to tell more, the binary would have to be opened.
pub(crate) fn leave_clean_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        signals::tidy();
        if !device_core::thread::stays() {
            return default(panic);
        }
        let thread = std::thread::current();
        let text = format!("vmm: thread {} {panic}", thread.name().unwrap_or("?"));
        observe::stderr::say(&text.replace('\n', " "));
        std::process::abort();
    }));
}
