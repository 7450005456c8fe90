//! Who comes to where a machine is awaited by TLS, until one has shown that it may send one.
//!
//! Several are heard at once, each for a while, so that nobody keeps others out by saying nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use device_core::guest_log::LogLimit;
use device_core::{guest_warn, ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::listening::Listening;
use super::tls::credentials::Credentials;
use super::tls::session::Session;
use super::words::WireError;
use crate::words::one_line;

/// How long somebody may take to show who he is.
const MEETING: Duration = Duration::from_secs(10);
/// How long he may take to hear that he is not let in.
const FAREWELL: Duration = Duration::from_secs(1);
/// So many at once; of more the one that came first has to go.
const MOST: usize = 32;

/// Lines about those who are no source, of whom any number may come.
static LINES: LogLimit = LogLimit::new();

/// Tells of somebody who is no source.
pub fn tell(what: &str, error: &dyn std::error::Error) {
    guest_warn!(LINES, "who connected {what}: {}", one_line(None, error));
}

/// Somebody who has connected.
struct Guest {
    socket: File,
    /// None of one that is not let in, and is to hear that.
    session: Option<Session>,
    until: Instant,
}

/// What became of one.
enum Step {
    /// It is known.
    Known(File, Session),
    /// There is more to come of it.
    Stays(Guest),
    Gone,
}

/// Waits for somebody who may send a machine. Fails if the host refuses.
pub fn meet(listening: &Listening, credentials: &Credentials) -> io::Result<(File, Session)> {
    let mut guests: Vec<Guest> = Vec::new();
    loop {
        let first = guests.iter().map(|guest| guest.until).min();
        let left = first.map(|first| first.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polls = vec![PollFd::from_borrowed_fd(listening.as_fd(), PollFlags::IN)];
        polls.extend(guests.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)));
        match poll(&mut polls, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let comes: Vec<_> = polls.iter().map(|poll| !poll.revents().is_empty()).collect();
        drop(polls);
        let (door, others) = comes.split_first().unwrap_or((&false, &[]));
        let now = Instant::now();
        let mut stay = Vec::new();
        for (guest, comes) in guests.into_iter().zip(others) {
            match guest.step(*comes, now) {
                Step::Known(socket, session) => return Ok((socket, session)),
                Step::Stays(guest) => stay.push(guest),
                Step::Gone => {}
            }
        }
        guests = stay;
        if *door && let Some(socket) = listening.accept_now()? {
            let session = credentials.to_source().map_err(io::Error::other)?;
            if guests.len() >= MOST {
                guests.remove(0);
            }
            guests.push(Guest { socket, session: Some(session), until: now + MEETING });
        }
    }
}

impl Guest {
    fn step(mut self, comes: bool, now: Instant) -> Step {
        let Some(session) = &mut self.session else {
            let ended = comes && !self.socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0);
            return if ended || now >= self.until { Step::Gone } else { Step::Stays(self) };
        };
        if comes {
            if let Err(error) = advance(session, &self.socket) {
                tell("is not let in", &error);
                self.session = None;
                self.until = now + FAREWELL;
                // No more comes from here; what he still sends is not to take away what he was told.
                let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
                return Step::Stays(self);
            }
            if session.is_known()
                && let Some(session) = self.session.take()
            {
                return Step::Known(self.socket, session);
            }
        }
        if now >= self.until {
            tell("is not let in", &WireError::Silent);
            return Step::Gone;
        }
        Step::Stays(self)
    }
}

/// Hears a part, and answers. Fails if it is not one that may send a machine; it is told so.
fn advance(session: &mut Session, socket: &File) -> Result<(), WireError> {
    let taken = session.take(&mut &*socket);
    let mut out = Vec::new();
    session.add_own(&mut out)?;
    // So little goes at once to one who has heard nothing yet.
    let sent = if out.is_empty() { 0 } else { ready::send_now(socket.as_fd(), &out)? };
    match taken {
        Ok(0) => Err(WireError::Unmet),
        Ok(_) if sent < out.len() => Err(WireError::Silent),
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "door_test.rs"]
mod tests;
