//! `vmm ctl connect`: standard input and output, at a port of the guest.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use devices::legacy::{Escape, RawMode, TypedKey};
use rustix::event::{PollFd, PollFlags, poll};

use super::client::{Client, OutputError};
use crate::signals::{self, Signals};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Most bytes of the answer to `CONNECT`, with its end.
const LONGEST: usize = 32;

const HELP: &[u8] = b"
Ctrl-A x       end the connection
Ctrl-A h       this help
Ctrl-A Ctrl-A  send Ctrl-A to the guest
";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("cannot connect to the vsock's socket {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("the guest has nobody who listens on vsock port {0}, or no driver that answers")]
    Refused(u32),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

/// Connects to the guest's `port`, until either side ends it. A terminal is in raw mode meanwhile.
pub fn run(client: &mut Client, port: u32) -> Result<(), Box<dyn Error>> {
    let vsock = client.get("/vsock")?;
    let path = Path::new(vsock["socket"].as_str().unwrap_or_default());
    let stream = connect(path, port)?;
    crate::leave_clean_on_panic("vmm ctl");
    signals::leave_clean_when_killed(&[]);
    let signals = Signals::block()?;
    let terminal = match io::stdin().is_terminal() {
        true => Some(RawMode::enter(io::stdin().as_fd().try_clone_to_owned()?)?),
        false => None,
    };
    let mut pipe = Pipe {
        stream: &stream,
        terminal,
        escape: Escape::default(),
        to_guest: Vec::new(),
        input_ended: false,
    };
    let end = pipe.run(&signals);
    // The terminal is itself again before anybody hears how it ended.
    drop(pipe);
    if let Some(signal) = end? {
        signals::die_by(signal);
    }
    Ok(())
}

/// A connection that the guest has accepted, non-blocking.
fn connect(path: &Path, port: u32) -> Result<UnixStream, ConnectError> {
    let failed = |source| ConnectError::Socket { path: path.into(), source };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).map_err(ConnectError::Broken)?;
    let mut answer = Vec::new();
    // Byte by byte: what follows is the guest's.
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) if answer.len() < LONGEST => answer.extend(byte),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return Err(ConnectError::Refused(port)),
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(ConnectError::Refused(port));
    }
    stream.set_nonblocking(true).map_err(ConnectError::Broken)?;
    Ok(stream)
}

/// Bytes on their way.
struct Pipe<'a> {
    stream: &'a UnixStream,
    /// Standard input is one.
    terminal: Option<RawMode>,
    escape: Escape,
    /// Typed, and not yet taken.
    to_guest: Vec<u8>,
    input_ended: bool,
}

impl Pipe<'_> {
    /// Until one side ends it, or the signal that this returns.
    fn run(&mut self, signals: &Signals) -> Result<Option<i32>, Box<dyn Error>> {
        loop {
            let ready = self.wait(signals)?;
            while let Some(signal) = signals.next() {
                match signal {
                    libc::SIGTSTP => self.rest(signals)?,
                    libc::SIGCONT => {}
                    signal => return Ok(Some(signal)),
                }
            }
            if ready.input && self.type_on()? == Typed::Quit {
                return Ok(None);
            }
            self.send().map_err(ConnectError::Broken)?;
            if ready.stream && !self.show()? {
                return Ok(None);
            }
        }
    }

    fn wait(&self, signals: &Signals) -> io::Result<Ready> {
        let (input, out) = (io::stdin(), !self.to_guest.is_empty());
        let flags = if out { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut sources = vec![
            PollFd::from_borrowed_fd(self.stream.as_fd(), flags),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        let listens = !out && !self.input_ended;
        if listens {
            sources.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
        }
        match poll(&mut sources, None) {
            Err(rustix::io::Errno::INTR) => return Ok(Ready { input: false, stream: false }),
            result => result?,
        };
        let any = |at: usize| sources.get(at).is_some_and(|source| !source.revents().is_empty());
        Ok(Ready { input: any(2), stream: any(0) })
    }

    /// Takes what is typed, or comes from a pipe or a file.
    fn type_on(&mut self) -> Result<Typed, Box<dyn Error>> {
        let mut bytes = [0; PIECE];
        let count = match io::stdin().read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Typed::On),
            Err(error) => return Err(error.into()),
        };
        let bytes = &bytes[..count];
        if bytes.is_empty() {
            self.input_ended = true;
        }
        if self.terminal.is_none() {
            self.to_guest.extend(bytes);
            return Ok(Typed::On);
        }
        for byte in bytes {
            match self.escape.key(*byte) {
                TypedKey::Guest(byte) => self.to_guest.push(byte),
                TypedKey::Quit => return Ok(Typed::Quit),
                TypedKey::Help => io::stdout().write_all(HELP).map_err(OutputError)?,
                TypedKey::Nothing => {}
            }
        }
        Ok(Typed::On)
    }

    /// Sends what there is, and the end behind it.
    fn send(&mut self) -> io::Result<()> {
        let mut stream = self.stream;
        while !self.to_guest.is_empty() {
            match stream.write(&self.to_guest) {
                Ok(count) => drop(self.to_guest.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The guest reads no more; what it has to say may still come.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.to_guest.clear();
                    self.input_ended = true;
                }
                Err(error) => return Err(error),
            }
        }
        if self.input_ended {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Shows what the guest says; false if it says no more.
    fn show(&mut self) -> Result<bool, Box<dyn Error>> {
        let (mut bytes, mut stream) = ([0; PIECE], self.stream);
        match stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes[..count]).and_then(|()| out.flush()).map_err(OutputError)?;
                Ok(true)
            }
            Err(error) if is_passing(&error) => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(ConnectError::Broken(error).into()),
        }
    }

    /// Stops, with the terminal as its shell expects it, until somebody has the process go on.
    fn rest(&mut self, signals: &Signals) -> io::Result<()> {
        let raw = self.terminal.take().is_some();
        signals.stop_process();
        if raw {
            self.terminal = Some(RawMode::enter(io::stdin().as_fd().try_clone_to_owned()?)?);
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Where there is something to do.
struct Ready {
    input: bool,
    stream: bool,
}

/// What the user wants.
#[derive(PartialEq, Eq)]
enum Typed {
    On,
    Quit,
}

#[cfg(test)]
#[path = "connect_test.rs"]
mod tests;
