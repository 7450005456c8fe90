//! The table of connections: bounded, found by their ports, woken when there is something to do.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::connection::{Connection, Ports};

/// Most connections at one time, those included that are on their way.
pub const MOST_CONNECTIONS: usize = 2048;

/// Bytes that are held for a connection at most, if there are few connections.
const WIDE_WINDOW: u32 = 256 << 10;
/// The same if there are many.
const WINDOW: u32 = 64 << 10;
/// How many are few: all that is held is bounded by these, for the first wide windows, and the others'.
const FEW: usize = 256;

/// Ports of the host for its own connections: those from here on that are positive as 32 bits.
const FIRST_PORT: u32 = 1 << 30;
const LAST_PORT: u32 = i32::MAX as u32;

struct Slot {
    connection: Connection,
    /// It is among those to be served.
    woken: bool,
    deadline: Option<Instant>,
}

/// All connections.
pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u16>,
    by_ports: HashMap<Ports, u16>,
    woken: VecDeque<u16>,
    deadlines: BTreeSet<(Instant, u16)>,
    /// The host's port that is tried next.
    next_port: u32,
}

impl Table {
    /// No connections.
    pub fn new() -> Table {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            by_ports: HashMap::new(),
            woken: VecDeque::new(),
            deadlines: BTreeSet::new(),
            next_port: FIRST_PORT,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// There is room for no more.
    pub fn is_full(&self) -> bool {
        self.len() >= MOST_CONNECTIONS
    }

    /// What a new connection may hold.
    pub fn window(&self) -> u32 {
        if self.len() < FEW { WIDE_WINDOW } else { WINDOW }
    }

    /// Takes one in; its slot. `None` if there is no room.
    pub fn insert(&mut self, connection: Connection) -> Option<u16> {
        if self.is_full() {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u16::try_from(self.slots.len().saturating_sub(1)).ok()?
            }
        };
        let ports = connection.ports;
        *self.slots.get_mut(usize::from(slot))? =
            Some(Slot { connection, woken: false, deadline: None });
        if let Some(ports) = ports {
            self.by_ports.insert(ports, slot);
        }
        Some(slot)
    }

    /// Takes one out.
    pub fn remove(&mut self, slot: u16) -> Option<Connection> {
        self.unname(slot);
        self.set_deadline(slot, None);
        let taken = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        if taken.woken {
            self.woken.retain(|woken| *woken != slot);
        }
        Some(taken.connection)
    }

    /// The connection in a slot.
    pub fn get(&mut self, slot: u16) -> Option<&mut Connection> {
        self.slots.get_mut(usize::from(slot))?.as_mut().map(|slot| &mut slot.connection)
    }

    /// The slot of the connection with these ports.
    pub fn find(&self, ports: Ports) -> Option<u16> {
        self.by_ports.get(&ports).copied()
    }

    /// Gives a client's connection to the guest's port `guest` its name: a port of the host that is free.
    pub fn name(&mut self, slot: u16, guest: u32) -> Option<Ports> {
        // One of so many is free.
        for _ in 0..=MOST_CONNECTIONS {
            let ports = Ports { host: self.next_port, guest };
            self.next_port = match self.next_port {
                LAST_PORT => FIRST_PORT,
                port => port.wrapping_add(1),
            };
            if !self.by_ports.contains_key(&ports) {
                self.get(slot)?.ports = Some(ports);
                self.by_ports.insert(ports, slot);
                return Some(ports);
            }
        }
        None
    }

    /// Takes the connection's name away: the guest may use the ports again.
    pub fn unname(&mut self, slot: u16) {
        if let Some(ports) = self.get(slot).and_then(|connection| connection.ports.take()) {
            self.by_ports.remove(&ports);
        }
    }

    /// The connection is to be served.
    pub fn wake(&mut self, slot: u16) {
        let Some(Some(place)) = self.slots.get_mut(usize::from(slot)) else { return };
        if !std::mem::replace(&mut place.woken, true) {
            self.woken.push_back(slot);
        }
    }

    /// The next that is to be served; who is not done is woken again, behind all others.
    pub fn next_woken(&mut self) -> Option<u16> {
        let slot = self.woken.pop_front()?;
        if let Some(Some(place)) = self.slots.get_mut(usize::from(slot)) {
            place.woken = false;
        }
        Some(slot)
    }

    /// How many are to be served.
    pub fn woken(&self) -> usize {
        self.woken.len()
    }

    /// Something is due for the connection then, in place of what was.
    pub fn set_deadline(&mut self, slot: u16, deadline: Option<Instant>) {
        let Some(Some(place)) = self.slots.get_mut(usize::from(slot)) else { return };
        if let Some(before) = std::mem::replace(&mut place.deadline, deadline) {
            self.deadlines.remove(&(before, slot));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, slot));
        }
    }

    /// A connection whose time has come, and is over now.
    pub fn due(&mut self, now: Instant) -> Option<u16> {
        let (then, slot) = *self.deadlines.first()?;
        if then > now {
            return None;
        }
        self.set_deadline(slot, None);
        Some(slot)
    }

    /// When the next one's comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(then, _)| *then)
    }

    /// The clock of connections has stood still for so long.
    pub fn put_off(&mut self, by: Duration) {
        for (then, slot) in std::mem::take(&mut self.deadlines) {
            let later = then.checked_add(by).unwrap_or(then);
            if let Some(Some(place)) = self.slots.get_mut(usize::from(slot)) {
                place.deadline = Some(later);
                self.deadlines.insert((later, slot));
            }
        }
    }

    /// Slots of all connections.
    pub fn slots(&self) -> Vec<u16> {
        let taken = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_some());
        taken.map(|(at, _)| at).collect()
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten().map(|slot| &slot.connection)
    }
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
