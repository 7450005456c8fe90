//! A Type-2 hypervisor on KVM.
//!
//! The only crate that knows KVM, vCPU threads and the user. Reading order: `cli.rs` (what can be
//! asked), `face.rs` (in whose words), `action.rs` (all that can be done), `control.rs` (who does it), `vm/spec.rs` (the one model
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
mod face;
#[cfg(test)]
mod generated;
mod jail;
mod kvm;
mod memory;
mod observe;
mod orders;
mod pager;
mod ready;
mod restore;
mod shield;
mod signals;
mod snapshot;
mod text_file;
mod vcpu;
mod vm;
mod words;

#[cfg(feature = "testing")]
pub use api::by_hand::answer as answer_by_hand;
#[cfg(feature = "testing")]
pub use snapshot::by_hand::read as read_snapshot_by_hand;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use action::{Action, ActionError, ErrorKind, Mailbox};
use api::socket::ApiSocket;
use api::{Api, Service};
use control::late::Late;
use control::{Controller, Manners, Walls};
use device_core::socket;
use end::{End, Leave};
use face::Face;
use observe::events::Events;
use observe::logger::Log;
use observe::requests::Requests;
use orders::Orders;
use ready::Ready;
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
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.first().is_some_and(|program| face::is_called(program, jail::NAME)) {
        return jail::main(jail::NAME, words);
    }
    match words.get(1).and_then(|first| first.to_str()) {
        Some("ctl") => {
            words.remove(1);
            return ctl::main(words);
        }
        Some("snapshot") => {
            words.remove(1);
            return snapshot::show::main(words, cli::report);
        }
        Some("jail") => {
            words.remove(1);
            return jail::main("vmm jail", words);
        }
        _ => {}
    }
    let (face, words) = face::of(words);
    leave_clean_on_panic(face.name);
    signals::leave_clean_when_killed(face.deadly);
    let orders = match (face.orders)(words) {
        Ok(orders) => orders,
        Err(code) => return code,
    };
    let ready = match Ready::take(&orders.ready) {
        Ok(ready) => ready,
        Err(error) => {
            report(&error);
            return ExitCode::from(face.bad_usage);
        }
    };
    let inherited = Inherited::look();
    let log = Log::start(face.log, &orders.id);
    let ended = run(face, orders, ready, inherited, &log);
    // What holds on to itself in a machine goes with the process; the paths of its sockets would not.
    socket::remove_all();
    let leave = match ended {
        Ok(end) => {
            match end {
                End::GuestOff | End::Quit | End::Killed => tracing::info!("{end}"),
                _ => log.last_words(face.name, &end.to_string()),
            }
            (face.leave)(&end)
        }
        Err(failure) => {
            let line = words::one_line(None, &*failure.error);
            log.last_words(face.name, &format!("error: {line}"));
            Leave::Exit(failure.code)
        }
    };
    if let Some(farewell) = (face.farewell)(&leave) {
        tracing::info!("{farewell}");
    }
    if let Leave::DieBy(signal) = leave {
        signals::die_by(signal);
    }
    ExitCode::from(leave.code())
}

struct Failure {
    error: Box<dyn Error>,
    code: u8,
}

impl Face {
    fn failure(&self, error: impl Into<Box<dyn Error>>) -> Failure {
        Failure { error: error.into(), code: self.failed }
    }

    /// Other arguments or files are the cure, unless the host is what failed.
    fn misuse(&self, error: impl Into<Box<dyn Error>>) -> Failure {
        let error = error.into();
        let code = if action::is_of_host(&*error) { self.failed } else { self.bad_usage };
        Failure { error, code }
    }

    /// In the words of where the user said what is wrong.
    fn refused(&self, error: &ActionError, place: impl Fn(&Setting) -> String) -> Failure {
        let line = words::one_line(error.setting().as_ref().map(place), error);
        match error.kind() {
            ErrorKind::Host => self.failure(line),
            _ => self.misuse(line),
        }
    }
}

fn run(
    face: &'static Face,
    orders: Orders,
    ready: Ready,
    inherited: Inherited,
    log: &Log,
) -> Result<End, Failure> {
    log.set(&orders.log).map_err(|error| face.refused(&error.into(), Setting::option))?;
    let shield = Shield::begin(orders.seccomp, inherited).map_err(|error| face.failure(error))?;
    // Signals still end it while the file is on its way.
    let (recorded, places) = match &orders.config_file {
        Some(path) => {
            dialect::file::actions(path, face.unknown).map_err(|error| face.misuse(error))?
        }
        None => Default::default(),
    };
    let most = orders.config.metadata_limit;
    let metadata = orders.metadata.map(|path| dialect::file::metadata(&path, most)).transpose();
    let metadata = metadata.map_err(|error| face.misuse(error))?;
    // Before any thread starts, so that only the main loop sees them.
    let signals = Signals::block().map_err(|error| face.failure(error))?;
    let events = Arc::new(Events::default());
    let requests = Arc::new(Requests::default());
    let is_asked = orders.api_socket.is_some();
    let may_have_vsock = orders
        .actions
        .iter()
        .chain(&recorded)
        .any(|action| matches!(action, Action::SetVsock(_) | Action::LoadSnapshot(_)));
    // While there is one thread.
    let broker = (is_asked || may_have_vsock).then(|| Broker::start(shield.state().seccomp));
    let broker = broker.transpose().map_err(|error| face.failure(error))?.map(Arc::new);
    let late = Late { broker, is_asked, places: orders.late_places, ..Late::default() };
    let api = match orders.api_socket {
        None => None,
        Some(path) => {
            let socket = ApiSocket::bind(&path).map_err(|error| face.misuse(error))?;
            let mailbox = Mailbox::new().map_err(|error| face.failure(error))?;
            let service =
                Service { manner: face.api, requests: requests.clone(), max_body: orders.max_body };
            let shut = shield.clone();
            let shut = move || shut.shut(Kind::Api);
            let api = Api::start(socket, mailbox.clone(), events.clone(), service, shut);
            Some((api.map_err(|error| face.failure(error))?, mailbox))
        }
    };
    let manners = Manners { metrics: face.metrics, requests, leave: face.leave };
    let walls = Walls { shield, late };
    let (id, config, times) = (orders.id, orders.config, orders.start_times);
    let mut controller = Controller::new(id, config, log.clone(), events, times, manners, walls)
        .map_err(|error| face.failure(error))?;
    let mailbox = api.as_ref().map(|(_, mailbox)| mailbox.clone());
    let hearing = controller.hearing(mailbox, signals).map_err(|error| face.failure(error))?;
    for action in orders.actions.into_iter().chain(metadata) {
        let is_load = matches!(action, Action::LoadSnapshot(_));
        controller.act(action).map_err(|error| {
            let refused = face.refused(&error, Setting::option);
            let code = if is_load { (face.leave)(&End::NotLoaded).code() } else { refused.code };
            Failure { code, ..refused }
        })?;
    }
    for action in recorded {
        controller.act(action).map_err(|error| face.refused(&error, |said| places.of(said)))?;
    }
    ready.tell();
    let end = controller.serve(hearing).map_err(|error| face.failure(error))?;
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
pub(crate) fn leave_clean_on_panic(program: &'static str) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        signals::tidy();
        if !device_core::thread::stays() {
            return default(panic);
        }
        let thread = std::thread::current();
        let text = format!("{program}: thread {} {panic}", thread.name().unwrap_or("?"));
        observe::stderr::say(&text.replace('\n', " "));
        std::process::abort();
    }));
}
