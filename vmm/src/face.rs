//! Faces: how a process meets its user. All in which our own and Firecracker's differ is here, a field
//! for each difference; what is behind knows of no face.

mod firecracker;
mod metric_fields;
mod metrics;
mod view;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use hyper::{StatusCode, Uri};
use tracing_subscriber::filter::LevelFilter;

use crate::api::manner::ApiManner;
use crate::api::routes::DIALECT;
use crate::cli;
use crate::dialect;
use crate::dialect::file::Unknown;
use crate::end::{End, Leave};
use crate::observe::logger::{LineShape, LogManner, Terminal};
use crate::observe::metrics::{self as figures, Shape};
use crate::orders::Orders;
use crate::receive;
use crate::restore;
use crate::starter;

#[cfg(test)]
pub use firecracker::command as firecracker_command;

/// First arguments by which a machine comes from elsewhere.
const RESTORE: &str = "restore";
const RECEIVE: &str = "receive";
/// First arguments that choose what the others mean.
const COMMANDS: [&str; 3] = [RESTORE, RECEIVE, THEIRS];
/// What Firecracker's face is called.
const THEIRS: &str = "firecracker";

/// A face.
pub struct Face {
    /// What the program is called in its own lines.
    pub name: &'static str,
    /// Reads the command line, of which the first word is the program's name. Fails with the code to exit
    /// with, once the user has been told.
    pub orders: fn(Vec<OsString>) -> Result<Orders, ExitCode>,
    /// The log.
    pub log: LogManner,
    /// Lines of metrics.
    pub metrics: Shape,
    /// The API, whatever is asked of it.
    pub api: ApiManner,
    /// What becomes of words of a configuration file that nobody knows.
    pub unknown: Unknown,
    /// Exit code where the host failed, and where arguments or files are wrong.
    pub failed: u8,
    pub bad_usage: u8,
    /// How the process ends after the machine.
    pub leave: fn(&End) -> Leave,
    /// Exit codes in place of death by a signal.
    pub deadly: &'static [(libc::c_int, u8)],
    /// The last line of the log, if there is one more than the reason of the end.
    pub farewell: fn(&Leave) -> Option<String>,
}

/// Our own.
pub static OURS: Face = Face {
    name: "vmm",
    orders: |words| match words.get(1) {
        Some(first) if first == RESTORE => restore::orders(without_second(words)),
        Some(first) if first == RECEIVE => receive::orders(without_second(words)),
        _ => cli::orders(words),
    },
    log: LogManner {
        to: Terminal::Stderr,
        level: LevelFilter::WARN,
        resets: false,
        line: LineShape::Plain,
    },
    metrics: Shape { line: figures::line, at_start: false },
    api: ApiManner {
        thread: "api",
        server: "vmm",
        app_name: "vmm",
        version: env!("CARGO_PKG_VERSION"),
        host_failed: StatusCode::INTERNAL_SERVER_ERROR,
        too_large: StatusCode::PAYLOAD_TOO_LARGE,
        tells_requests: false,
        resource: |uri| uri,
        config: |config| config,
        refused: |_, _, refused| refused.to_string(),
        failed: |_, _, error| Some(dialect::complaint(error)),
    },
    unknown: Unknown::Refused,
    failed: crate::FAILED,
    bad_usage: crate::BAD_USAGE,
    leave: |end| Leave::Exit(end.exit_code()),
    deadly: &[],
    farewell: |_| None,
};

/// Firecracker's.
pub static FIRECRACKER: Face = Face {
    name: THEIRS,
    orders: firecracker::orders,
    log: LogManner {
        to: Terminal::Stdout,
        level: LevelFilter::INFO,
        resets: true,
        line: LineShape::Bracketed,
    },
    metrics: Shape { line: metrics::line, at_start: true },
    api: ApiManner {
        thread: "fc_api",
        server: "Firecracker API",
        app_name: "Firecracker",
        version: DIALECT,
        host_failed: StatusCode::BAD_REQUEST,
        too_large: StatusCode::BAD_REQUEST,
        tells_requests: true,
        resource: without_last_slash,
        config: view::config,
        refused: words::refused,
        failed: words::failed,
    },
    unknown: Unknown::Told,
    failed: 1,
    bad_usage: 1,
    leave: firecracker::leave,
    deadly: firecracker::DEADLY,
    farewell: firecracker::farewell,
};

/// Whether a program was started by this name, wherever it or a link to it lies.
pub fn is_called(program: &OsStr, name: &str) -> bool {
    Path::new(program).file_name().is_some_and(|last| last == name)
}

/// The face that a command line speaks to, and the command line as that face reads it: the program's name
/// decides, or its first argument behind those of who starts it.
pub fn of(args: Vec<OsString>) -> (&'static Face, Vec<OsString>) {
    if args.first().is_some_and(|program| is_called(program, FIRECRACKER.name)) {
        return (&FIRECRACKER, args);
    }
    let mut args = command_first(args);
    if args.get(1).is_some_and(|first| first == FIRECRACKER.name) {
        args.remove(0);
        return (&FIRECRACKER, args);
    }
    (&OURS, args)
}

/// A command line with its command as the first argument, where a jailer has put flags of its own before it.
fn command_first(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_flag = |word: &&OsString| starter::FLAGS.iter().any(|flag| *word == flag);
    let flags = args.iter().skip(1).step_by(2).take_while(is_flag).count();
    let at = flags.saturating_mul(2).saturating_add(1);
    let is_command = |word: &OsString| COMMANDS.iter().any(|command| word == command);
    if args.get(at).is_some_and(is_command)
        && let Some(part) = args.get_mut(1..=at)
    {
        part.rotate_right(1);
    }
    args
}

fn without_second(mut words: Vec<OsString>) -> Vec<OsString> {
    words.remove(1);
    words
}

/// Firecracker takes `/vm/` for `/vm`.
fn without_last_slash(uri: Uri) -> Uri {
    let path = uri.path();
    let Some(shorter) = path.strip_suffix('/').filter(|rest| !rest.is_empty()) else { return uri };
    if uri.query().is_some() {
        return uri;
    }
    shorter.parse().unwrap_or(uri)
}

#[cfg(test)]
#[path = "face_test.rs"]
mod tests;
