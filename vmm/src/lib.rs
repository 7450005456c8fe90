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
mod fork;
#[cfg(test)]
mod generated;
mod images;
mod jail;
mod kvm;
mod memory;
mod migration;
mod observe;
mod orders;
mod pager;
mod ready;
mod receive;
mod restore;
mod shield;
mod signals;
mod snapshot;
mod starter;
mod text_file;
mod vcpu;
mod vm;
mod words;

#[cfg(feature = "testing")]
pub use api::by_hand::answer as answer_by_hand;
#[cfg(feature = "testing")]
pub use migration::by_hand::receive as receive_machine_by_hand;
#[cfg(feature = "testing")]
pub use snapshot::by_hand::read as read_snapshot_by_hand;

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use action::{Action, ActionError, ErrorKind, Mailbox};
use api::socket::ApiSocket;
use api::{Api, Service};
use control::late::Late;
use control::{Controller, Manners, Walls, arrivals};
use device_core::socket;
use devices::legacy::ConsoleSpec;
use end::{End, Leave};
use face::Face;
use fork::child::Newborn;
use fork::nature::Nature;
use fork::zygote::{self, Zygote};
use observe::events::Events;
use observe::logger::{Log, LogSpec};
use observe::metrics::StartTimes;
use observe::requests::Requests;
use orders::Orders;
use ready::Ready;
use shield::broker::Broker;
use shield::groups::Groups;
use shield::row::Kind;
use shield::{Inherited, Shield};
use signals::Signals;
use vm::config::Config;
use words::Setting;

/// Exit codes that are not an [`End`]'s.
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// Everything, from the arguments to the exit code.
pub fn main() -> ExitCode {
    #[cfg(feature = "recorder")]
    shield::recorder::begin();
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
        Some("disk") => {
            words.remove(1);
            return images::main(words, cli::report);
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
    let groups = match orders.thread_groups.map(Groups::take).transpose() {
        Ok(groups) => groups,
        Err(error) => {
            report(&error);
            return ExitCode::from(face.bad_usage);
        }
    };
    let inherited = Inherited::look();
    // While there is one thread, and nothing is open that is the machine's.
    let helpers = orders.api_socket.as_ref().map(|path| Helpers::start(face, &orders, path));
    let log = Log::start(face.log, &orders.id);
    let ended = run(face, orders, Begun { ready, inherited, groups, helpers }, &log);
    ExitCode::from(conclude(face, ended, &log))
}

/// What was begun before the log.
struct Begun {
    ready: Ready,
    inherited: Inherited,
    groups: Option<Groups>,
    helpers: Option<io::Result<Helpers>>,
}

/// Processes beside the one that runs the guest.
struct Helpers {
    broker: Broker,
    zygote: Option<Zygote>,
}

impl Helpers {
    fn start(face: &'static Face, orders: &Orders, api_socket: &Path) -> io::Result<Helpers> {
        let (zygote, its) = match orders.forks {
            true => {
                let (zygote, its) = zygote::pair(api_socket, orders.log.path.as_deref())?;
                (Some(zygote), Some(its))
            }
            false => (None, None),
        };
        let nature = Nature {
            face,
            seccomp: orders.seccomp,
            config: orders.config.clone(),
            log: orders.log.clone(),
            late_places: orders.late_places.clone(),
            reach: orders.reach.clone(),
            credentials: orders.credentials.clone(),
            life,
        };
        let broker = Broker::start_behind(orders.seccomp, move || {
            // Without it, it would have rights that its owner has not.
            if shield::harden().is_ok()
                && let Some(its) = its
            {
                fork::serve::spawn(its, nature);
            }
        })?;
        Ok(Helpers { broker, zygote })
    }
}

/// Is a process for a machine that was forked, in one that has nothing yet.
fn life(nature: Nature, newborn: Newborn) -> ! {
    let Nature { face, seccomp, config, log: log_spec, late_places, reach, credentials, .. } =
        nature;
    signals::survive_file_limits();
    signals::begin_anew(face.name);
    signals::leave_clean_when_killed(face.deadly);
    let spec = newborn.spec.clone();
    let doorstep = newborn.doorstep.try_clone();
    let log = Log::start(face.log, &spec.id);
    let serial = spec.serial.as_deref().map_or(Ok(ConsoleSpec::None), str::parse);
    let ended = match serial {
        Err(error) => Err(face.failure(error)),
        Ok(serial) => {
            let orders = Orders {
                id: spec.id,
                log: LogSpec { path: spec.log.or(log_spec.path), ..log_spec },
                config: Config { serial, ..config },
                start_times: StartTimes::since(None, None),
                api_socket: Some(spec.api_socket),
                max_body: None,
                ready: Vec::new(),
                thread_groups: None,
                seccomp,
                forks: spec.forks,
                late_places,
                reach,
                credentials,
                receive: None,
                actions: vec![Action::BeBorn(Box::new(newborn))],
                metadata: None,
                config_file: None,
            };
            let helpers = orders.api_socket.as_ref();
            let helpers = helpers.map(|path| Helpers::start(face, &orders, path));
            let (ready, inherited) = (Ready::default(), Inherited::default());
            run(face, orders, Begun { ready, inherited, groups: None, helpers }, &log)
        }
    };
    if let (Err(failure), Ok(doorstep)) = (&ended, doorstep) {
        doorstep.fail(&words::one_line(None, &*failure.error));
    }
    std::process::exit(conclude(face, ended, &log).into())
}

/// Tells why a process ends, which is given its last words; returns with what code.
fn conclude(face: &Face, ended: Result<End, Failure>, log: &Log) -> u8 {
    // What holds on to itself in a machine goes with the process; the paths of its sockets would not.
    socket::remove_all();
    let leave = match ended {
        Ok(end) => {
            match end {
                End::GuestOff | End::Quit | End::Killed | End::Migrated { .. } => {
                    tracing::info!("{end}");
                }
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
    leave.code()
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

fn run(face: &'static Face, orders: Orders, begun: Begun, log: &Log) -> Result<End, Failure> {
    let Begun { ready, inherited, groups, helpers } = begun;
    let helpers = helpers.transpose().map_err(|error| face.failure(error))?;
    log.set(&orders.log).map_err(|error| face.refused(&error.into(), Setting::option))?;
    let shield = Shield::begin(orders.seccomp, inherited, groups);
    let shield = shield.map_err(|error| face.failure(error))?;
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
    let credentials = orders.credentials;
    let receive = |spec| arrivals::receive(spec, &orders.config, credentials.as_ref());
    let arrival = orders.receive.map(receive).transpose();
    let arrival = arrival.map_err(|error| {
        let refused = face.refused(&error, Setting::option);
        Failure { code: (face.leave)(&End::NotLoaded).code(), ..refused }
    })?;
    // Before any thread starts, so that only the main loop sees them.
    let signals = Signals::block().map_err(|error| face.failure(error))?;
    let events = Arc::new(Events::default());
    let requests = Arc::new(Requests::default());
    let is_asked = orders.api_socket.is_some();
    let may_have_vsock = arrival.is_some()
        || orders
            .actions
            .iter()
            .chain(&recorded)
            .any(|action| matches!(action, Action::SetVsock(_) | Action::LoadSnapshot(_)));
    let (broker, zygote) = match helpers {
        Some(Helpers { broker, zygote }) => (Some(broker), zygote),
        // While there is one thread.
        None if may_have_vsock => {
            let broker = Broker::start(shield.state().seccomp);
            (Some(broker.map_err(|error| face.failure(error))?), None)
        }
        None => (None, None),
    };
    let broker = broker.map(Arc::new);
    let (places_given, reach) = (orders.late_places, orders.reach);
    let late =
        Late { broker, is_asked, places: places_given, reach, credentials, ..Late::default() };
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
    let walls = Walls { shield, late, zygote };
    let (id, config, times) = (orders.id, orders.config, orders.start_times);
    let mut controller = Controller::new(id, config, log.clone(), events, times, manners, walls)
        .map_err(|error| face.failure(error))?;
    let mailbox = api.as_ref().map(|(_, mailbox)| mailbox.clone());
    let hearing = controller.hearing(mailbox, signals).map_err(|error| face.failure(error))?;
    let arrival = arrival.map(|arrival| Action::Arrive(Box::new(arrival)));
    for action in orders.actions.into_iter().chain(metadata).chain(arrival) {
        let is_load =
            matches!(action, Action::LoadSnapshot(_) | Action::BeBorn(_) | Action::Arrive(_));
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
