//! The host side of a serial line: the terminal, a file, or a socket that people attach to.
//!
//! ```text
//!   vCPUs ── Serial ── Line ──► Carrier (slow I/O thread) ──► terminal, file, client
//!               ▲                  │
//!               └── FIFO, bounded ─┘◄── keys
//! ```
//! No vCPU ever waits for the host: when its reader is slower than the guest, the oldest output is
//! lost, said once in the log and counted. Input waits on the host until the guest has room.

mod carrier;
mod escape;
mod source;
#[cfg(test)]
mod testing;
mod tty;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use device_core::output::{self, Output};
use device_core::socket::{BindError, ListeningSocket};
use device_core::worker::{IoThread, Post};
use serde::{Deserialize, Serialize};

use crate::line::Line;
use crate::serial::Serial;
use carrier::{Carrier, Host};
use source::Source;

pub use escape::{Escape, Key};
pub use tty::{RawMode, restore_terminal};

/// Output that waits for a terminal, pipe or file.
const STREAM_ROOM: usize = 1 << 20;
/// Output that a socket keeps for who attaches later.
const REPLAY_ROOM: usize = 64 << 10;

/// Where a serial line goes, as the user says it: `stdio`, `none`, `file=PATH` or `socket=PATH`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ConsoleSpec {
    /// Standard input and output. A terminal is put into raw mode, and Ctrl-A x quits.
    #[default]
    Stdio,
    /// Output is dropped, and there is no input.
    None,
    /// Output is appended to a file, which is made with mode 0600 or emptied, or to a FIFO, which needs
    /// no reader; there is no input.
    File(PathBuf),
    /// A Unix socket, made with mode 0600, to which one client at a time attaches; it first gets the
    /// latest 64 KiB of output.
    Socket(PathBuf),
}

/// What is wrong with the text of a [`ConsoleSpec`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseConsoleError {
    /// It begins with no kind that there is.
    #[error("{0:?} is no console; use stdio, none, file=PATH or socket=PATH")]
    Unknown(String),
    /// The kind needs a path.
    #[error("{kind}= lacks a path; use {kind}=PATH")]
    NoPath {
        /// `file` or `socket`.
        kind: &'static str,
    },
}

impl FromStr for ConsoleSpec {
    type Err = ParseConsoleError;

    fn from_str(text: &str) -> Result<ConsoleSpec, ParseConsoleError> {
        let path = |kind, path: &str| match path {
            "" => Err(ParseConsoleError::NoPath { kind }),
            path => Ok(PathBuf::from(path)),
        };
        match text.split_once('=').unwrap_or((text, "")) {
            ("stdio", _) if text == "stdio" => Ok(ConsoleSpec::Stdio),
            ("none", _) if text == "none" => Ok(ConsoleSpec::None),
            ("file", rest) => path("file", rest).map(ConsoleSpec::File),
            ("socket", rest) => path("socket", rest).map(ConsoleSpec::Socket),
            _ => Err(ParseConsoleError::Unknown(text.into())),
        }
    }
}

impl TryFrom<String> for ConsoleSpec {
    type Error = ParseConsoleError;
    fn try_from(text: String) -> Result<ConsoleSpec, ParseConsoleError> {
        text.parse()
    }
}

impl From<ConsoleSpec> for String {
    fn from(spec: ConsoleSpec) -> String {
        spec.to_string()
    }
}

impl std::fmt::Display for ConsoleSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConsoleSpec::Stdio => f.write_str("stdio"),
            ConsoleSpec::None => f.write_str("none"),
            ConsoleSpec::File(path) => write!(f, "file={}", path.display()),
            ConsoleSpec::Socket(path) => write!(f, "socket={}", path.display()),
        }
    }
}

/// Why a console could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenConsoleError {
    /// Standard input or output is closed, or not to be had.
    #[error("cannot use standard input and output as the console")]
    Stdio {
        /// What the host said.
        source: io::Error,
    },
    /// The file or FIFO cannot be made or opened.
    #[error("cannot open {} for the console's output", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The host has no eventfd left.
    #[error("cannot make an eventfd for the console")]
    Event {
        /// What the host said.
        source: io::Error,
    },
}

impl ConsoleSpec {
    /// Opens the host side. The terminal stays as it is until [`OpenConsole::start`]. Fails if the file
    /// or socket cannot be made or opened, or standard input or output is closed.
    pub fn open(&self) -> Result<OpenConsole, OpenConsoleError> {
        let (host, room) = match self {
            ConsoleSpec::Stdio => {
                (Host::stdio().map_err(|source| OpenConsoleError::Stdio { source })?, STREAM_ROOM)
            }
            ConsoleSpec::None => (Host::default(), 0),
            ConsoleSpec::File(path) => {
                let file = output::open(path, output::Before::Emptied)
                    .map_err(|source| OpenConsoleError::File { path: path.clone(), source })?;
                (Host { screen: Some(Output::own(file)), ..Host::default() }, STREAM_ROOM)
            }
            ConsoleSpec::Socket(path) => {
                let socket = ListeningSocket::bind(path)?;
                (Host { socket: Some(socket), ..Host::default() }, REPLAY_ROOM)
            }
        };
        let line = Line::new(room).map_err(|source| OpenConsoleError::Event { source })?;
        Ok(OpenConsole { host, line })
    }
}

impl Host {
    fn stdio() -> io::Result<Host> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Host::inherited(input, output)
    }

    /// Descriptors that other processes may be using too.
    fn inherited(input: OwnedFd, output: OwnedFd) -> io::Result<Host> {
        Ok(Host {
            source: Some(Source::shared(input)),
            screen: Some(Output::shared(output)?),
            ..Host::default()
        })
    }
}

/// A console that is open, but moves nothing yet.
pub struct OpenConsole {
    host: Host,
    line: Arc<Line>,
}

impl OpenConsole {
    /// The line that its serial port sends to.
    pub fn line(&self) -> Arc<Line> {
        self.line.clone()
    }

    /// Puts the terminal, if standard input is one, into raw mode and starts moving bytes on
    /// `thread`. `quit` is called there when the user types Ctrl-A x; it must not block. While the
    /// process is in the background of its terminal, the terminal is left alone.
    ///
    /// `serial` must have been made with [`OpenConsole::line`]. Fails if the host refuses a descriptor
    /// or to watch one.
    pub fn start(
        self,
        serial: Arc<Serial>,
        thread: &IoThread,
        quit: impl Fn() + Send + 'static,
    ) -> io::Result<Console> {
        let carrier = Carrier::new(self.host, self.line, serial, Box::new(quit))?;
        Ok(Console { post: Some(thread.host(carrier)?) })
    }
}

/// A running console. Closing or dropping it writes what the guest sent last, waiting at most half a
/// second for a stalled reader, restores the terminal and removes the socket. Not to be dropped on
/// the thread that it runs on.
pub struct Console {
    post: Option<Post<Carrier>>,
}

impl Console {
    /// As dropping, in words.
    pub fn close(self) {}

    /// The process is about to be stopped: gives the terminal back until [`Console::resume`].
    pub fn suspend(&self) {
        if let Some(post) = &self.post {
            post.ask(|carrier, _| carrier.give_terminal_back());
        }
    }

    /// The process goes on after it was stopped, maybe in the foreground now: takes the terminal again
    /// if it is there.
    pub fn resume(&self) {
        if let Some(post) = &self.post {
            post.ask(|carrier, _| carrier.look_at_terminal());
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(post) = self.post.take() {
            drop(post.recall(Carrier::finish));
        }
    }
}

#[cfg(test)]
#[path = "console_test.rs"]
mod tests;
