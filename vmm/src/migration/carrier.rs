//! What brings a machine to its target: a connection, as it is or under TLS.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use device_core::ready;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::tls::session::Session;

/// Bytes that come by one call.
const PART: usize = 128 << 10;

/// The connection. Reads and writes wait for as long as they are told to, and not longer.
#[derive(Debug)]
pub struct Carrier {
    socket: BufReader<File>,
    session: Option<Session>,
    /// For how long nothing may be said.
    patience: Duration,
    /// When all that is read is to have come.
    deadline: Option<Instant>,
    /// What goes, sealed.
    out: Vec<u8>,
}

impl Carrier {
    /// By a socket that waits, with the session that it is under, both ends of which know each other. The other end may say,
    /// or take, nothing for as long as `patience`. Fails if the host refuses.
    pub fn new(socket: File, session: Option<Session>, patience: Duration) -> io::Result<Carrier> {
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, which, Some(patience))?;
        }
        let socket = BufReader::with_capacity(PART, socket);
        Ok(Carrier { socket, session, patience, deadline: None, out: Vec::new() })
    }

    /// From now on what is read is to come until then, or at any time.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Throws away what comes until the other end has said all, for so long at most.
    pub fn drain(&mut self, limit: Duration) {
        let begun = Instant::now();
        let mut part = [0; 4096];
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            // A thread that is shut in can do no more for that.
            let comes = !left.is_zero() && ready::can_read(self.as_fd(), left);
            if !comes || !self.socket.get_mut().read(&mut part).is_ok_and(|got| got > 0) {
                return;
            }
        }
    }

    /// Waits until there is something to read, until the deadline.
    fn await_more(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline.filter(|_| self.socket.buffer().is_empty()) else {
            return Ok(());
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match ready::can_read(self.as_fd(), left) {
                true => return Ok(()),
                false if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                false => {}
            }
        }
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl Read for Carrier {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            if let Some(session) = &mut self.session {
                match session.open(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    opened => return opened,
                }
            }
            self.await_more()?;
            let Some(session) = &mut self.session else { return self.socket.read(into) };
            // Records with nothing in them would keep us here.
            if begun.elapsed() > self.patience {
                return Err(io::ErrorKind::TimedOut.into());
            }
            session.take(&mut self.socket)?;
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.socket.get_mut().write(bytes) };
        self.out.clear();
        session.seal(bytes, &mut self.out)?;
        self.socket.get_mut().write_all(&self.out)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
