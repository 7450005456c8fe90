//! The worker that carries bytes between a serial line and its host side.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::output::Output;
use device_core::ready::{self, has_hung_up};
use device_core::socket::ListeningSocket;
use device_core::worker::{Again, EventSet, Interest, Source as Event, Worker};
use tracing::{debug, info, warn};

use super::escape::{Escape, HELP, Key};
use super::source::{Input, Source};
use super::tty::{RawMode, runs_in_background};
use crate::line::Line;
use crate::serial::Serial;

const BELL: Event = 0;
const KEYS: Event = 1;
const SCREEN: Event = 2;
const SOCKET: Event = 3;

/// Written at once.
const CHUNK: usize = 16 << 10;
/// Chunks, reads or clients in one turn.
const TURN: usize = 8;
/// After output was written, more is awaited for so long: one write for all of it, and no bell.
const LINGER: Duration = Duration::from_millis(2);
/// A blocked screen is tried again after so long even if nothing says that it has room.
const RETRY: Duration = Duration::from_millis(100);
/// Between two looks whether a terminal is ours, while it is not: no signal tells that.
const LOOK: Duration = Duration::from_millis(100);
/// What a stalled reader of the last output is given.
const FAREWELL: Duration = Duration::from_millis(500);

/// Input read ahead of the guest. A terminal's is larger, so that Ctrl-A x is found behind it.
const READ_AHEAD: usize = 64;
const TYPE_AHEAD: usize = 4096;
/// A guest that took no key for so long is held for dead, and what is typed on is dropped: from here
/// on only Ctrl-A x matters.
const PATIENCE: Duration = Duration::from_secs(1);

/// The host's descriptors. A console has some of them: input and screen, a screen alone, or a
/// socket whose client brings input and screen.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Where keys come from.
    pub source: Option<Source>,
    /// Where output goes.
    pub screen: Option<Output>,
    /// Where clients come from.
    pub socket: Option<ListeningSocket>,
}

pub(super) struct Carrier {
    host: Host,
    line: Arc<Line>,
    serial: Arc<Serial>,
    quit: Box<dyn Fn() + Send>,
    terminal: Terminal,
    raw_mode: Option<RawMode>,

    escape: Escape,
    /// Read but not yet taken by the guest.
    typed: VecDeque<u8>,
    full_since: Option<Instant>,

    /// How far the output is written.
    position: u64,
    lost: u64,
    /// Writes fail, which has been said.
    failing: bool,
    /// Our own words to the user, written before more of the guest's.
    notice: &'static [u8],
    chunk: Box<[u8]>,
    client_may_be_gone: bool,
}

/// Whether we may read from the terminal and change its modes, if standard input is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    /// It is in raw mode.
    Ours,
    /// It is to be looked at, or someone else is in its foreground.
    Away,
    /// Until the process was stopped and goes on.
    GivenBack,
}

/// How far an attempt to write came.
enum Written {
    All,
    Part,
    Blocked,
    /// The host refused; it may work later.
    Failed,
    /// There is no screen, or it broke.
    NoScreen,
}

impl Carrier {
    /// Takes the terminal later, on its thread. Fails if the host refuses a descriptor.
    pub fn new(
        host: Host,
        line: Arc<Line>,
        serial: Arc<Serial>,
        quit: Box<dyn Fn() + Send>,
    ) -> io::Result<Carrier> {
        let mut carrier = Carrier {
            host,
            line,
            serial,
            quit,
            terminal: Terminal::Away,
            raw_mode: None,
            escape: Escape::default(),
            typed: VecDeque::new(),
            full_since: None,
            position: 0,
            lost: 0,
            failing: false,
            notice: b"",
            chunk: vec![0; CHUNK].into(),
            client_may_be_gone: false,
        };
        if carrier.has_terminal() && !carrier.take_terminal()? {
            info!("in the background of its terminal: no input until it is in the foreground");
        }
        Ok(carrier)
    }

    fn has_terminal(&self) -> bool {
        self.host.source.as_ref().is_some_and(Source::is_terminal)
    }

    /// Makes the terminal raw, and says whether it is ours. Not while the process is in its
    /// background: reading from it or changing its modes would stop the process, and disturb who is
    /// in front.
    fn take_terminal(&mut self) -> io::Result<bool> {
        let Some(source) = self.host.source.as_ref().filter(|source| source.is_terminal()) else {
            return Ok(false);
        };
        if self.terminal == Terminal::GivenBack {
            return Ok(false);
        }
        if runs_in_background(source.as_fd()) {
            self.terminal = Terminal::Away;
        } else if self.terminal == Terminal::Away {
            match &self.raw_mode {
                Some(raw_mode) => raw_mode.renew()?,
                None => self.raw_mode = Some(RawMode::enter(source.try_clone_fd()?)?),
            }
            self.terminal = Terminal::Ours;
        }
        Ok(self.terminal == Terminal::Ours)
    }

    /// Gives the terminal back until [`Carrier::look_at_terminal`].
    pub fn give_terminal_back(&mut self) {
        self.terminal = Terminal::GivenBack;
        self.raw_mode = None;
    }

    /// The terminal may be ours again, in whatever modes; the next turn takes it.
    pub fn look_at_terminal(&mut self) {
        self.terminal = Terminal::Away;
    }

    /// Writes what is left, gives the terminal back, and forgets all descriptors.
    pub fn finish(&mut self, interest: &mut Interest<'_>) {
        let deadline = Instant::now().checked_add(FAREWELL);
        loop {
            match self.write_some(interest) {
                Written::Part => {}
                Written::All | Written::Failed | Written::NoScreen => break,
                Written::Blocked => {
                    let left = deadline.map(|then| then.saturating_duration_since(Instant::now()));
                    let left = left.unwrap_or_default();
                    let can_write = self.host.screen.as_ref().is_some_and(|s| s.can_write(left));
                    if left.is_zero() || !can_write {
                        break;
                    }
                }
            }
        }
        if self.lost > 0 {
            warn!("{} bytes of the guest's console output were lost", self.lost);
        }
        self.drop_source(interest);
        self.drop_screen(interest);
        // It is removed by who drops the carrier: this thread may be shut in, without a path.
        if let Some(socket) = &self.host.socket {
            forget(interest, socket);
        }
        forget(interest, &self.line.bell());
        self.raw_mode = None;
    }

    fn carry_input(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        self.feed_guest();
        if self.has_terminal() {
            match self.take_terminal() {
                Ok(true) => {}
                Ok(false) => return at(now, LOOK),
                Err(error) => {
                    warn!("the console has no input from here on: its terminal is gone: {error}");
                    self.drop_source(interest);
                }
            }
        }
        for _ in 0..TURN {
            let Some(source) = &mut self.host.source else { return Again::WhenReady };
            let limit = if source.is_terminal() { TYPE_AHEAD } else { READ_AHEAD };
            let mut keys = [0; READ_AHEAD];
            let mut room = limit.saturating_sub(self.typed.len()).min(keys.len());
            if room == 0 {
                if !source.is_terminal() {
                    return Again::WhenReady; // the port rings when it has room
                }
                let since = *self.full_since.get_or_insert(now);
                if now.saturating_duration_since(since) < PATIENCE {
                    return since.checked_add(PATIENCE).map_or(Again::WhenReady, Again::At);
                }
                room = keys.len();
            }
            let Some(keys) = keys.get_mut(..room) else { return Again::WhenReady };
            match source.read(keys) {
                Input::Nothing => return Again::WhenReady,
                Input::End => {
                    debug!("end of the console's input");
                    self.drop_source(interest);
                    return Again::WhenReady;
                }
                Input::Bytes(count) => {
                    let is_terminal = source.is_terminal();
                    for &key in keys.iter().take(count) {
                        self.take_key(key, is_terminal);
                    }
                }
            }
            self.feed_guest();
        }
        Again::Now
    }

    fn take_key(&mut self, byte: u8, from_terminal: bool) {
        let key = if from_terminal { self.escape.key(byte) } else { Key::Guest(byte) };
        match key {
            Key::Guest(byte) if self.typed.len() < TYPE_AHEAD => self.typed.push_back(byte),
            Key::Guest(_) | Key::Nothing => {}
            Key::Quit => (self.quit)(),
            Key::Help => self.notice = HELP,
        }
    }

    fn feed_guest(&mut self) {
        loop {
            let (head, _) = self.typed.as_slices();
            if head.is_empty() {
                return;
            }
            let mut taken = self.serial.receive(head);
            if taken == 0 {
                self.line.wait_for_room();
                // The guest may have made room just before.
                taken = self.serial.receive(head);
            }
            if taken == 0 {
                return;
            }
            self.typed.drain(..taken);
            self.full_since = None;
        }
    }

    fn carry_output(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        let before = self.position;
        for _ in 0..TURN {
            match self.write_some(interest) {
                Written::Part => {}
                Written::Blocked | Written::Failed => return at(now, RETRY),
                Written::NoScreen => return Again::WhenReady,
                Written::All if self.position == before && self.line.may_sleep(before) => {
                    return Again::WhenReady;
                }
                Written::All => return at(now, LINGER),
            }
        }
        Again::Now
    }

    /// Writes at most a chunk.
    fn write_some(&mut self, interest: &mut Interest<'_>) -> Written {
        let Some(screen) = &mut self.host.screen else { return Written::NoScreen };
        let words_first = !self.notice.is_empty();
        let (bytes, first) = if words_first {
            (self.notice, self.position)
        } else {
            let (first, count) = self.line.copy_from(self.position, &mut self.chunk);
            (self.chunk.get(..count).unwrap_or_default(), first)
        };
        if first > self.position {
            if self.lost == 0 && !self.failing {
                warn!("the console's reader is slower than the guest: output of the guest is lost");
            }
            self.lost = self.lost.saturating_add(first.saturating_sub(self.position));
            self.position = first;
        }
        if bytes.is_empty() {
            return Written::All;
        }
        match screen.write(bytes) {
            Ok(None) => Written::Blocked,
            Ok(Some(count)) => {
                if std::mem::take(&mut self.failing) {
                    warn!("the console's output can be written again");
                }
                if words_first {
                    self.notice = self.notice.get(count..).unwrap_or_default();
                    return Written::Part;
                }
                let was_all = bytes.len() < CHUNK && count == bytes.len();
                self.position = first.saturating_add(count as u64);
                if self.host.socket.is_none() {
                    self.line.forget_before(self.position);
                }
                if was_all { Written::All } else { Written::Part }
            }
            Err(error) if self.host.socket.is_none() && !screen.is_over(&error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(
                        "cannot write the console's output: {error}; the latest of it is kept until that works"
                    );
                }
                Written::Failed
            }
            Err(error) => {
                self.drop_screen(interest);
                if self.host.socket.is_some() {
                    self.drop_source(interest);
                    debug!("the console's client is gone: {error}");
                } else {
                    self.line.discard();
                    warn!("the console's output is dropped from here on: cannot write it: {error}");
                }
                Written::NoScreen
            }
        }
    }

    /// Lets a waiting client in, or turns it away if there is one already.
    fn admit_client(&mut self, interest: &mut Interest<'_>) -> Again {
        if std::mem::take(&mut self.client_may_be_gone)
            && self.host.socket.is_some()
            && self.host.screen.as_ref().is_some_and(has_hung_up)
        {
            // Its last input is still read, until a new client comes.
            self.drop_screen(interest);
        }
        for _ in 0..TURN {
            let Some(client) = self.host.socket.as_ref().and_then(accept) else {
                return Again::WhenReady;
            };
            // The one before may have gone since, which no event has told yet.
            if self.host.screen.as_ref().is_some_and(has_hung_up) {
                self.drop_screen(interest);
            }
            let result = if self.host.screen.is_some() {
                turn_away(client)
            } else {
                self.attach(client, interest)
            };
            if let Err(error) = result {
                warn!("cannot attach a client to the console: {error}");
            }
        }
        Again::Now
    }

    fn attach(&mut self, client: UnixStream, interest: &mut Interest<'_>) -> io::Result<()> {
        client.set_nonblocking(true)?;
        let source = Source::client(client.try_clone()?);
        let screen = Output::client(client);
        self.drop_source(interest);
        watch(interest, &source, KEYS, EventSet::IN)?;
        self.host.source = Some(source);
        watch(interest, &screen, SCREEN, EventSet::OUT)?;
        self.host.screen = Some(screen);
        self.position = self.line.oldest();
        Ok(())
    }

    fn drop_source(&mut self, interest: &mut Interest<'_>) {
        if let Some(source) = self.host.source.take() {
            forget(interest, &source);
        }
    }

    fn drop_screen(&mut self, interest: &mut Interest<'_>) {
        if let Some(screen) = self.host.screen.take() {
            forget(interest, &screen);
        }
    }
}

impl Worker for Carrier {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        watch(interest, &self.line.bell(), BELL, EventSet::IN)?;
        if let Some(source) = &self.host.source {
            watch(interest, source, KEYS, EventSet::IN)?;
        }
        if let Some(screen) = &self.host.screen {
            watch(interest, screen, SCREEN, EventSet::OUT)?;
        }
        match &self.host.socket {
            Some(socket) => watch(interest, socket, SOCKET, EventSet::IN),
            None => Ok(()),
        }
    }

    fn ready(&mut self, event: Event, readiness: EventSet) {
        let gone = EventSet::HANG_UP | EventSet::ERROR;
        self.client_may_be_gone |= event == SCREEN && readiness.intersects(gone);
    }

    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        let clients = self.admit_client(interest);
        let input = self.carry_input(now, interest);
        let output = self.carry_output(now, interest);
        sooner(clients, sooner(input, output))
    }
}

fn at(now: Instant, wait: Duration) -> Again {
    now.checked_add(wait).map_or(Again::Now, Again::At)
}

fn sooner(a: Again, b: Again) -> Again {
    match (a, b) {
        (Again::Now | Again::Unheard, _) | (_, Again::Now | Again::Unheard) => Again::Now,
        (Again::WhenReady, other) | (other, Again::WhenReady) => other,
        (Again::At(a) | Again::Rest(a), Again::At(b) | Again::Rest(b)) => Again::At(a.min(b)),
    }
}

/// The next client that waits, if any. One that is gone again, or no descriptors left: it may try again.
fn accept(socket: &ListeningSocket) -> Option<UnixStream> {
    socket.listener().accept().ok().map(|(stream, _)| stream)
}

fn turn_away(client: UnixStream) -> io::Result<()> {
    ready::send_now(client.as_fd(), b"the console is in use by another client\r\n").map(drop)
}

fn watch(
    interest: &mut Interest<'_>,
    file: &impl AsFd,
    event: Event,
    set: EventSet,
) -> io::Result<()> {
    match interest.watch(file.as_fd(), event, set | EventSet::EDGE_TRIGGERED) {
        // Regular files and /dev/null: they are always ready, and need no waiting.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn forget(interest: &mut Interest<'_>, file: &impl AsFd) {
    // Fails for what could not be watched.
    let _ = interest.forget(file.as_fd());
}
