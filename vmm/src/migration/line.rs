//! The source's end of the connection, which never waits for longer than it is told to.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use device_core::ready;

use super::error::MigrateError;
use super::tls::session::Session;
use super::words::{self, HEAD, Head, Kind, WireError};

/// For how long the other end may take nothing, or say nothing when it is its turn.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);
/// Reads without a word in them, of which another may still be the end of one.
const MOST_READS: u32 = 16;

/// The connection.
pub struct Line {
    socket: File,
    /// By which all that is said goes sealed, if it does.
    session: Option<Session>,
    /// A record that is to be sealed.
    record: Vec<u8>,
    /// What is to go, as it is on the wire, of which so much has gone.
    out: Vec<u8>,
    gone: usize,
    /// What has come and was not taken.
    heard: Vec<u8>,
    /// When something went or came last, or it became the other end's turn.
    moved: Instant,
    sent: u64,
    /// Whether the other end was told that nothing more comes.
    is_over: bool,
}

impl Line {
    /// By a socket that does not wait, and need not be connected yet. With a session nothing can be put before
    /// [`Line::shake`] is done.
    pub fn new(socket: OwnedFd, session: Option<Session>) -> Line {
        Line {
            socket: File::from(socket),
            session,
            record: Vec::new(),
            out: Vec::new(),
            gone: 0,
            heard: Vec::new(),
            moved: Instant::now(),
            sent: 0,
            is_over: false,
        }
    }

    /// Whether it is connected, or will never be, as sending tells then. Waits a little.
    pub fn is_settled(&self) -> bool {
        ready::can_write(self.socket.as_fd(), GLANCE)
    }

    /// For how long nothing has moved.
    pub fn rests_for(&self) -> Duration {
        self.moved.elapsed()
    }

    /// Bytes that have gone.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Shows the other end who this one is, and looks who that is, before `until`; whether it is done. Fails if it is not
    /// who it is to be.
    pub fn shake(&mut self, until: Instant) -> Result<bool, MigrateError> {
        loop {
            let Some(session) = &mut self.session else { return Ok(true) };
            session.add_own(&mut self.out).map_err(WireError::Io)?;
            let is_known = session.is_known();
            if !self.send(until)? {
                return Ok(false);
            }
            if is_known {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !ready::can_read(self.socket.as_fd(), left.min(GLANCE)) {
                if left.is_zero() {
                    return Ok(false);
                }
                continue;
            }
            match self.take_sealed() {
                Ok(0) => return Err(WireError::Unmet.into()),
                Ok(_) => self.moved = Instant::now(),
                Err(error) if is_passing(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(WireError::Unmet.into());
                }
                Err(error) => return Err(WireError::from(error).into()),
            }
        }
    }

    /// Adds to what is to go. Fails if it cannot be sealed.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), MigrateError> {
        seal(&mut self.session, bytes, &mut self.out)
    }

    /// Adds a record to what is to go. Fails if it cannot be sealed.
    pub fn put(&mut self, kind: Kind, number: u64, body: &[u8]) -> Result<(), MigrateError> {
        if self.session.is_none() {
            words::put(&mut self.out, kind, number, body);
            return Ok(());
        }
        self.record.clear();
        words::put(&mut self.record, kind, number, body);
        seal(&mut self.session, &self.record, &mut self.out)
    }

    /// Sends what is to go; whether all has gone before `until`. Fails if the other end takes no more, with its reason if it
    /// gave one.
    pub fn send(&mut self, until: Instant) -> Result<bool, MigrateError> {
        while let Some(rest) = self.out.get(self.gone..).filter(|rest| !rest.is_empty()) {
            match ready::send_now(self.socket.as_fd(), rest) {
                Ok(count) => {
                    self.gone = self.gone.saturating_add(count);
                    self.sent = self.sent.saturating_add(count as u64);
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.rests_for() > PATIENCE {
                        return Err(WireError::Silent.into());
                    }
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    ready::can_write(self.socket.as_fd(), left.min(GLANCE));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.reason(error)),
            }
        }
        self.out.clear();
        self.gone = 0;
        Ok(true)
    }

    /// Sends all that is to go.
    pub fn send_all(&mut self) -> Result<(), MigrateError> {
        while !self.send(Instant::now() + GLANCE)? {}
        Ok(())
    }

    /// Hands a record to the kernel for the other end, behind all else. Fails if the other end will never have it; if it
    /// does not fail, it may have it.
    pub fn commit(&mut self, kind: Kind) -> Result<(), MigrateError> {
        self.send_all()?;
        // What is sealed once has its place in what the other end reads: without it nothing else can follow.
        self.is_over = self.session.is_some();
        self.put(kind, 0, &[])?;
        let record = std::mem::take(&mut self.out);
        let begun = Instant::now();
        loop {
            match ready::send_now(self.socket.as_fd(), &record) {
                // Of a part nobody knows; so short a one is not cut.
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if begun.elapsed() > PATIENCE {
                        return Err(WireError::Silent.into());
                    }
                    ready::can_write(self.socket.as_fd(), GLANCE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.reason(error)),
            }
        }
    }

    /// It is the other end's turn from now on.
    pub fn await_answer(&mut self) {
        self.moved = Instant::now();
    }

    /// What the other end says, if it does before `until`. Fails if that is `Refused`, or it says no more.
    pub fn hear(&mut self, until: Instant) -> Result<Option<Kind>, MigrateError> {
        let mut reads = 0u32;
        loop {
            if let Some(kind) = self.take()? {
                return Ok(Some(kind));
            }
            if self.rests_for() > PATIENCE {
                return Err(WireError::Silent.into());
            }
            let mut part = [0; 512];
            match self.read(&mut part) {
                Ok(0) => return Err(WireError::Ended.into()),
                Ok(count) => {
                    self.heard.extend(part.get(..count).unwrap_or_default());
                    self.moved = Instant::now();
                }
                Err(error) if is_passing(&error) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let comes = ready::can_read(self.socket.as_fd(), left.min(GLANCE));
                    // Under TLS something may come all the time that says nothing.
                    reads = reads.saturating_add(1);
                    if left.is_zero() && (!comes || reads > MOST_READS) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(WireError::from(error).into()),
            }
        }
    }

    /// Some of what the other end has said. Fails with [`io::ErrorKind::WouldBlock`] if that is nothing yet.
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return (&self.socket).read(part) };
        match session.open(part) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            opened => return opened,
        }
        self.take_sealed()?;
        match &mut self.session {
            Some(session) => session.open(part),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes what is on the wire. If it is not the other end's, that is told why, if it hears that.
    fn take_sealed(&mut self) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return Ok(0) };
        let taken = session.take(&mut &self.socket);
        if let Err(error) = &taken
            && error.kind() == io::ErrorKind::InvalidData
            && session.add_own(&mut self.out).is_ok()
        {
            let alert = self.out.get(self.gone..).unwrap_or_default();
            let _ = ready::send_now(self.socket.as_fd(), alert);
            self.is_over = true;
        }
        taken
    }

    /// Waits for `wanted`. Fails if something else is said, or nothing.
    pub fn await_kind(&mut self, wanted: Kind, name: &'static str) -> Result<(), MigrateError> {
        self.await_answer();
        loop {
            match self.hear(Instant::now() + GLANCE)? {
                None => {}
                Some(found) if found == wanted => return Ok(()),
                Some(found) => return Err(WireError::Unexpected { found, wanted: name }.into()),
            }
        }
    }

    /// Takes a record from what was heard.
    fn take(&mut self) -> Result<Option<Kind>, MigrateError> {
        let Some(head) = self.heard.first_chunk::<HEAD>() else { return Ok(None) };
        let head = Head::of(head)?;
        // What a target says is short.
        if head.len > words::MOST_WORDS {
            return Err(WireError::Unexpected { found: head.kind, wanted: "an answer" }.into());
        }
        let end = HEAD.saturating_add(head.len);
        let Some(body) = self.heard.get(HEAD..end) else { return Ok(None) };
        head.check(body)?;
        let why = words::words(body);
        self.heard.drain(..end);
        match head.kind {
            Kind::Refused => Err(MigrateError::Refused(why)),
            kind => Ok(Some(kind)),
        }
    }

    /// Why the other end takes nothing: what it said last, or the host's reason.
    fn reason(&mut self, error: io::Error) -> MigrateError {
        let told = loop {
            // At once: what it said is there.
            match self.hear(Instant::now()) {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match told {
            Some(said @ (MigrateError::Refused(_) | MigrateError::Target(WireError::Tls(_)))) => {
                said
            }
            _ => WireError::Io(error).into(),
        }
    }

    /// Says why the machine stays, if the other end hears that.
    pub fn stay(&mut self, why: &str) {
        // In the middle of something else it would be part of that.
        if std::mem::replace(&mut self.is_over, true) || self.gone > 0 {
            return;
        }
        if self.session.is_none() {
            // What has not begun to go need not.
            self.out.clear();
        }
        let why = why.as_bytes();
        if self.put(Kind::Stays, 0, why.get(..words::MOST_WORDS).unwrap_or(why)).is_ok() {
            // It notices the end of the connection if not.
            let _ = ready::send_now(self.socket.as_fd(), &self.out);
        }
    }
}

fn seal(
    session: &mut Option<Session>,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), MigrateError> {
    match session {
        None => out.extend(bytes),
        Some(session) => session.seal(bytes, out).map_err(WireError::Io)?,
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Line, UnixStream) {
        let (ours, its) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Line::new(ours.into(), None), its)
    }

    fn said(kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        words::put(&mut out, kind, 0, body);
        out
    }

    #[test]
    fn an_answer_is_taken_whole_however_it_comes() {
        let (mut line, mut its) = pair();
        assert!(line.hear(Instant::now()).unwrap().is_none());
        let bytes = said(Kind::Welcome, &[]);
        its.write_all(&bytes[..10]).unwrap();
        assert!(line.hear(Instant::now()).unwrap().is_none());
        its.write_all(&bytes[10..]).unwrap();
        line.await_kind(Kind::Welcome, "an answer").unwrap();
        its.write_all(&said(Kind::Loaded, &[])).unwrap();
        let other = line.await_kind(Kind::Prepared, "that it is ready").unwrap_err();
        let other = crate::words::one_line(None, &other);
        assert!(other.contains("Loaded") && other.contains("that it is ready"), "{other}");
    }

    #[test]
    fn who_refuses_says_why_and_who_is_gone_has_not_committed() {
        let (mut line, mut its) = pair();
        its.write_all(&said(Kind::Refused, b"no\nTAP")).unwrap();
        drop(its);
        assert!(matches!(line.commit(Kind::LetGo), Err(MigrateError::Refused(_))));
        let (mut line, mut its) = pair();
        its.write_all(&said(Kind::Refused, b"no\nTAP")).unwrap();
        drop(its);
        line.put(Kind::Prepare, 0, &[]).unwrap();
        let why = line.send(Instant::now()).unwrap_err().to_string();
        assert!(why.contains("no TAP"), "{why}");
    }

    #[test]
    fn what_a_target_cannot_say_is_not_waited_for() {
        let (mut line, mut its) = pair();
        let mut hello = said(Kind::Hello, &[]);
        hello[4..8].copy_from_slice(&(1u32 << 20).to_le_bytes());
        its.write_all(&hello).unwrap();
        assert!(line.hear(Instant::now() + PATIENCE).is_err());
    }

    #[test]
    fn what_does_not_go_at_once_goes_later() {
        let (mut line, mut its) = pair();
        let body = vec![7; 4096 * words::MOST_PAGES];
        (0..64).for_each(|_| line.put(Kind::Pages, 0, &body).unwrap());
        assert!(!line.send(Instant::now()).unwrap(), "there is no room for so much");
        let reads = std::thread::spawn(move || {
            let mut all = Vec::new();
            its.read_to_end(&mut all).unwrap();
            all.len()
        });
        line.send_all().unwrap();
        assert_eq!(line.sent(), 64 * (body.len() + HEAD) as u64);
        let sent = line.sent();
        drop(line);
        assert_eq!(reads.join().unwrap() as u64, sent);
    }
}
