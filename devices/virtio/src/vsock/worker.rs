//! The worker: turns between the guest's queues and the host's sockets, on a thread of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_warn;
use device_core::linger::{Linger, Moved};
use device_core::scatter::Scatter;
use device_core::worker::{Again, EventSet, Interest, Source, Worker};

use super::queues::{Events, Queues, Receive, Transmit};
use super::switch::{FIRST_CONNECTION, Switch};
use super::to_guest::{Clients, Round};
use super::view::ConnectionView;
use crate::device::{LiveQueue, Notice};

const RX_KICK: Source = 0;
const TX_KICK: Source = 1;
const EVENT_KICK: Source = 2;
const LISTENER: Source = 3;

/// Packets of the guest, and turns of connections, between two looks at all else.
const BUDGET: usize = 256;
/// Bytes of the guest's packets until it is told what room it has again, so that it need not wait for that.
const SHARE: u64 = 128 << 10;
/// How long it takes until a client is tried again for whom there was no descriptor.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// Where the guest is in hearing that its connections are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    /// There is nothing to hear.
    Nothing,
    /// It has had no buffer for it so far.
    Due,
    /// It was told, and had so many buffers left; it has taken note when it has one more.
    Told(u16),
}

/// The device's work.
pub(super) struct Engine {
    pub switch: Switch,
    memory: GuestRam,
    queues: Option<Queues>,
    /// The guest broke one of them: they are left alone until they are taken out.
    broken: bool,
    notice: Option<Arc<dyn Notice>>,
    /// The guest's packet in work.
    packet: Scatter,
    telling: Telling,
    /// There may be clients to take in.
    has_clients: bool,
    /// But not before.
    no_clients_before: Option<Instant>,
    /// When the queues were taken out; connections' time stands still since.
    stopped: Option<Instant>,
    linger: Linger,
    /// It does in this turn: the guest is not asked to kick.
    lingers: bool,
}

impl Engine {
    /// Without queues, and so without connections.
    pub fn new(switch: Switch, memory: GuestRam, may_linger: bool) -> Engine {
        Engine {
            switch,
            packet: Scatter::new(memory.clone()),
            memory,
            queues: None,
            broken: false,
            notice: None,
            telling: Telling::Nothing,
            has_clients: true,
            no_clients_before: None,
            stopped: None,
            linger: Linger::new(may_linger),
            lingers: false,
        }
    }

    /// A driver has its queues at work.
    pub fn is_running(&self) -> bool {
        self.queues.is_some()
    }

    /// Takes the queues: connections go on where they stopped. Fails if there are not all three, or one is not
    /// in memory, or the host refuses to watch their kicks.
    pub fn plug(
        &mut self,
        negotiated: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
        interest: &mut Interest<'_>,
    ) -> Result<(), String> {
        let mut queues = queues.into_iter();
        let (Some(rx), Some(tx), Some(events)) = (queues.next(), queues.next(), queues.next())
        else {
            return Err("the driver has not set all three queues up".into());
        };
        if [rx.index, tx.index, events.index] != [0, 1, 2] {
            return Err("the driver has not set all three queues up".into());
        }
        let memory = || self.memory.clone();
        let taken = |fault: GuestFault| format!("cannot take a queue: {fault}");
        let queues = Queues {
            rx: Receive::new(rx, memory(), negotiated).map_err(taken)?,
            tx: Transmit::new(tx, memory(), negotiated).map_err(taken)?,
            events: Events::new(events, memory(), negotiated).map_err(taken)?,
        };
        watch_kicks(&queues, interest)
            .map_err(|error| format!("cannot watch the kicks of its queues: {error}"))?;
        (self.queues, self.broken, self.notice) = (Some(queues), false, Some(notice));
        if let Some(stopped) = self.stopped.take() {
            self.switch.table.put_off(Instant::now().saturating_duration_since(stopped));
        }
        // What has come meanwhile.
        for slot in self.switch.table.slots() {
            self.switch.table.wake(slot);
        }
        Ok(())
    }

    /// Gives the queues back; guest memory is left alone afterwards.
    pub fn unplug(&mut self, interest: &mut Interest<'_>) -> Vec<LiveQueue> {
        let Some(queues) = self.queues.take() else { return Vec::new() };
        for (kick, source) in kicks(&queues) {
            if let Err(error) = interest.forget(kick) {
                tracing::error!("vsock: cannot stop watching queue {source}: {error}");
            }
        }
        self.packet.clear();
        self.notice = None;
        self.stopped = Some(Instant::now());
        let Queues { rx, tx, events } = queues;
        vec![rx.into_queue(), tx.into_queue(), events.into_queue()]
    }

    /// As after power-on: the guest has no connections, and knows that.
    pub fn reset(&mut self, interest: &mut Interest<'_>) {
        self.switch.close_all(interest);
        self.telling = Telling::Nothing;
        self.stopped = None;
    }

    /// Ends all connections; the guest is told that they are gone, and has no new ones until it has heard.
    pub fn reset_connections(&mut self, interest: &mut Interest<'_>) {
        self.switch.close_all(interest);
        self.telling = Telling::Due;
    }

    /// All connections as they are shown.
    pub fn connections(&self) -> Vec<ConnectionView> {
        self.switch.table.iter().map(|connection| connection.view()).collect()
    }

    fn turn(&mut self, now: Instant, interest: &mut Interest<'_>) -> Result<Again, GuestFault> {
        let Some(queues) = &mut self.queues else { return Ok(Again::WhenReady) };
        let switch = &mut self.switch;
        let counters = switch.counters.clone();
        let (sent, given) = (counters.tx_packets.get(), counters.rx_packets.get());
        self.telling = match self.telling {
            Telling::Nothing => Telling::Nothing,
            Telling::Due => {
                queues.events.look()?;
                match queues.events.put_reset()? {
                    true => Telling::Told(queues.events.count()),
                    false => Telling::Due,
                }
            }
            Telling::Told(left) if queues.events.look()? > left => Telling::Nothing,
            told => told,
        };
        let open = self.telling == Telling::Nothing;
        if self.no_clients_before.is_some_and(|then| then <= now) {
            self.no_clients_before = None;
        }
        let mut clients = Clients::None;
        if open && self.has_clients && self.no_clients_before.is_none() && !switch.is_clogged() {
            clients = switch.accept(now, interest);
            self.has_clients = clients != Clients::None;
            if clients == Clients::NoDescriptor {
                self.no_clients_before = now.checked_add(NO_DESCRIPTOR);
            }
        }
        switch.expire(now, interest);

        let (mut idle, bytes) = (false, counters.tx_bytes.get());
        for _ in 0..BUDGET {
            if switch.is_clogged() || counters.tx_bytes.get().wrapping_sub(bytes) >= SHARE {
                break;
            }
            if !switch.take_packet(&mut queues.tx, &mut self.packet, now, interest)? {
                idle = true;
                break;
            }
        }
        let round = match open {
            true => switch.serve(&mut queues.rx, BUDGET, now, interest)?,
            false => Round::Done,
        };
        for fired in [queues.rx.publish()?, queues.tx.publish()?] {
            counters.interrupts.add(fired.into());
        }

        let moved = Moved {
            out: counters.tx_packets.get() != sent,
            into: counters.rx_packets.get().wrapping_sub(given) as u32,
        };
        self.linger.worked(now, moved);
        let lingers = self.lingers || self.linger.goes_on(now);
        let more = match (idle, switch.is_clogged()) {
            (true, _) if lingers => false,
            (true, _) => !queues.tx.may_sleep()?,
            // It is looked at again once the guest has taken its resets.
            (false, clogged) => !clogged,
        };
        let more = more || clients == Clients::More && !switch.is_clogged();
        let more = match round {
            Round::Done => more,
            Round::More => true,
            Round::Starved => more | !queues.rx.may_sleep()?,
        };
        if more {
            return Ok(Again::Now);
        }
        if lingers {
            queues.tx.stay_quiet();
            // Whoever waits for this CPU may be the guest.
            std::thread::yield_now();
            return Ok(Again::Now);
        }
        let next = switch.table.next_deadline().into_iter().chain(self.no_clients_before).min();
        Ok(next.map_or(Again::WhenReady, Again::At))
    }
}

fn kicks(queues: &Queues) -> [(BorrowedFd<'_>, Source); 3] {
    let Queues { rx, tx, events } = queues;
    [(rx.kick(), RX_KICK), (tx.kick(), TX_KICK), (events.kick(), EVENT_KICK)]
}

/// Watches all kicks, or none if the host refuses one: it may be tried again.
fn watch_kicks(queues: &Queues, interest: &mut Interest<'_>) -> io::Result<()> {
    let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
    let mut all = kicks(queues).into_iter();
    let watched = all.try_for_each(|(kick, source)| interest.watch(kick, source, set));
    if watched.is_err() {
        kicks(queues).into_iter().for_each(|(kick, _)| drop(interest.forget(kick)));
    }
    watched
}

impl Worker for Engine {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        interest.watch(self.switch.host.as_fd(), LISTENER, set)
    }

    fn ready(&mut self, source: Source, readiness: EventSet) {
        if source == LISTENER {
            self.has_clients = true;
        }
        // A kick needs no note: each turn looks at all queues.
        let Some(slot) = source.checked_sub(FIRST_CONNECTION) else { return };
        let Some(connection) = self.switch.table.get(slot) else { return };
        let gone = readiness.intersects(EventSet::HANG_UP | EventSet::ERROR);
        connection.hung_up |= gone;
        connection.readable |= gone || readiness.intersects(EventSet::IN | EventSet::READ_HANG_UP);
        connection.writable |= gone || readiness.intersects(EventSet::OUT);
        self.switch.table.wake(slot);
    }

    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        if self.broken {
            return Again::WhenReady;
        }
        self.lingers = self.linger.goes_on(now);
        self.turn(now, interest).unwrap_or_else(|fault| {
            guest_warn!(self.switch.log, "vsock: a queue is broken: {fault}");
            self.broken = true;
            if let Some(queues) = &mut self.queues {
                // What can still be said is said; they are given up in any case.
                let _ = (queues.rx.publish(), queues.tx.publish());
            }
            if let Some(notice) = &self.notice {
                notice.needs_reset();
            }
            Again::WhenReady
        })
    }
}
