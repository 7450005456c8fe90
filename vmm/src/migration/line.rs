//! The source's end of the connection, which never waits for longer than it is told to.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use device_core::ready;

use super::error::MigrateError;
use super::words::{self, HEAD, Head, Kind, WireError};

/// For how long the other end may take nothing, or say nothing when it is its turn.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);

/// The connection.
pub struct Line {
    socket: File,
    /// What is to go, of which so much has gone.
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
    /// By a socket that does not wait, and need not be connected yet.
    pub fn new(socket: OwnedFd) -> Line {
        Line {
            socket: File::from(socket),
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

    /// Adds to what is to go.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    /// Adds a record to what is to go.
    pub fn put(&mut self, kind: Kind, number: u64, body: &[u8]) {
        words::put(&mut self.out, kind, number, body);
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
        let mut record = Vec::new();
        words::put(&mut record, kind, 0, &[]);
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
        loop {
            if let Some(kind) = self.take()? {
                return Ok(Some(kind));
            }
            if self.rests_for() > PATIENCE {
                return Err(WireError::Silent.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            if !ready::can_read(self.socket.as_fd(), left.min(GLANCE)) {
                if left.is_zero() {
                    return Ok(None);
                }
                continue;
            }
            let mut part = [0; 512];
            match (&self.socket).read(&mut part) {
                Ok(0) => return Err(WireError::Ended.into()),
                Ok(count) => {
                    self.heard.extend(part.get(..count).unwrap_or_default());
                    self.moved = Instant::now();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(WireError::Io(error).into()),
            }
        }
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
            Some(refused @ MigrateError::Refused(_)) => refused,
            _ => WireError::Io(error).into(),
        }
    }

    /// Says why the machine stays, if the other end hears that.
    pub fn stay(&mut self, why: &str) {
        // In the middle of something else it would be part of that.
        if std::mem::replace(&mut self.is_over, true) || self.gone > 0 {
            return;
        }
        let mut record = Vec::new();
        let why = why.as_bytes();
        words::put(&mut record, Kind::Stays, 0, why.get(..words::MOST_WORDS).unwrap_or(why));
        // It notices the end of the connection if not.
        let _ = ready::send_now(self.socket.as_fd(), &record);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Line, UnixStream) {
        let (ours, its) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Line::new(ours.into()), its)
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
        line.put(Kind::Prepare, 0, &[]);
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
        (0..64).for_each(|_| line.put(Kind::Pages, 0, &body));
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
