//! A machine on its way, as its target sees it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use device_core::{GuestRam, Ram};

use super::carrier::Carrier;
use super::error::ReceiveError;
use super::machine::Machine;
use super::words::{self, Head, Kind, WireError};
use crate::memory::{PAGE, whole};
use crate::snapshot::format::ARCHITECTURE;
use crate::snapshot::spec::LoadSpec;

/// How long somebody may take to say which machine is to come.
const GREETING: Duration = Duration::from_secs(20);
/// For how long the source may say nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a source may take to hear that it was refused.
const FAREWELL: Duration = Duration::from_secs(1);

/// A machine that has all but come, and in which it is to differ.
#[derive(Debug)]
pub struct Arrival {
    /// How it comes.
    pub incoming: Incoming,
    /// In which it differs; names no files of a snapshot.
    pub others: LoadSpec,
}

/// The connection, and what has come.
#[derive(Debug)]
pub struct Incoming {
    carrier: Carrier,
    body: Vec<u8>,
    /// What the machine is, and was like when it was announced.
    pub machine: Machine,
    /// Its memory, once there is room for it.
    ram: Option<GuestRam>,
}

impl Incoming {
    /// Hears which machine is to come from who has connected. Fails if it is none, and the other end need not be told.
    pub fn greet(mut carrier: Carrier) -> Result<Incoming, ReceiveError> {
        carrier.set_deadline(Some(Instant::now() + GREETING));
        words::read_greeting(&mut carrier)?;
        let mut body = Vec::new();
        let head = words::read(&mut carrier, &mut body)?;
        let machine = machine_of(&head, Kind::Hello, &body)?;
        carrier.set_deadline(None);
        Ok(Incoming { carrier, body, machine, ram: None })
    }

    /// Lets its memory come into `ram`, which is as large and zero. Returns once the source is about to pause. Fails if it
    /// says something else.
    pub fn take_memory(&mut self, ram: GuestRam) -> Result<(), ReceiveError> {
        self.say(Kind::Welcome)?;
        let ram = self.ram.insert(ram);
        let head = memory_until(&mut self.carrier, ram, &mut self.body)?;
        match head.kind {
            Kind::Prepare => Ok(()),
            found => Err(unexpected(found, "pages, or that it pauses", &self.body)),
        }
    }

    /// Says that all else is there, and takes the rest of its memory and what it is like.
    pub fn take_rest(&mut self) -> Result<(Machine, GuestRam), ReceiveError> {
        self.say(Kind::Prepared)?;
        let ram = self.ram.take().ok_or(WireError::Outside)?;
        let head = memory_until(&mut self.carrier, &ram, &mut self.body)?;
        let machine = machine_of(&head, Kind::State, &self.body)?;
        // It is large.
        self.body = Vec::new();
        Ok((machine, ram))
    }

    /// Says that it could run here, and waits for the source to let go of it: if this does not fail it is here, and nowhere
    /// else.
    pub fn own(&mut self) -> Result<(), ReceiveError> {
        self.say(Kind::Loaded)?;
        let head = words::read(&mut self.carrier, &mut self.body)?;
        match head.kind {
            Kind::LetGo => Ok(()),
            found => Err(unexpected(found, "that it lets go", &self.body)),
        }
    }

    /// Tells the source that it runs.
    pub fn tell_that_it_runs(mut self) {
        // It is as true if nobody hears it.
        let _ = self.say(Kind::Running);
    }

    /// Tells the source why it never will be here.
    pub fn refuse(mut self, why: &str) {
        let mut out = Vec::new();
        let why = why.as_bytes();
        words::put(&mut out, Kind::Refused, 0, why.get(..words::MOST_WORDS).unwrap_or(why));
        if self.carrier.write_all(&out).is_ok() {
            // What it still sends is not to take this away from it.
            self.carrier.drain(FAREWELL);
        }
    }

    fn say(&mut self, kind: Kind) -> Result<(), WireError> {
        let mut out = Vec::new();
        words::put(&mut out, kind, 0, &[]);
        Ok(self.carrier.write_all(&out)?)
    }
}

/// A machine that `head` and `body` are to tell. Fails if it is something else, or of another processor.
pub fn machine_of(head: &Head, wanted: Kind, body: &[u8]) -> Result<Machine, ReceiveError> {
    if head.kind != wanted {
        return Err(unexpected(head.kind, "what the machine is", body));
    }
    let machine: Machine = serde_json::from_slice(body).map_err(WireError::from)?;
    match machine.architecture == ARCHITECTURE {
        true => Ok(machine),
        false => {
            let found = words::words(machine.architecture.as_bytes());
            Err(ReceiveError::Architecture { found, own: ARCHITECTURE })
        }
    }
}

fn unexpected(found: Kind, wanted: &'static str, body: &[u8]) -> ReceiveError {
    match found {
        Kind::Stays => ReceiveError::Stays(words::words(body)),
        found => WireError::Unexpected { found, wanted }.into(),
    }
}

/// Writes pages to memory that come from the other end, until it says something else, which is returned. Fails if there is
/// no such memory.
pub fn memory_until(
    from: &mut impl Read,
    ram: &Ram,
    body: &mut Vec<u8>,
) -> Result<Head, ReceiveError> {
    let pages = whole::bytes(ram) / PAGE as u64;
    loop {
        let head = words::read(from, body)?;
        let first = head.number;
        let fits = |count: u64| {
            let end = first.checked_add(count).filter(|end| *end <= pages);
            end.map(|_| count).ok_or(WireError::Outside)
        };
        match head.kind {
            Kind::Pages => {
                if body.is_empty() || !body.len().is_multiple_of(PAGE) {
                    return Err(WireError::Outside.into());
                }
                fits((body.len() / PAGE) as u64)?;
                let offset = first.saturating_mul(PAGE as u64);
                whole::write(ram, offset, body).map_err(ReceiveError::Write)?;
            }
            Kind::Zeroes => {
                let count = <[u8; 8]>::try_from(&body[..]).map_err(|_| WireError::Outside)?;
                let count = fits(u64::from_le_bytes(count))?;
                for page in first..first.saturating_add(count) {
                    whole::clear_page(ram, page).map_err(ReceiveError::Write)?;
                }
            }
            _ => return Ok(head),
        }
    }
}

#[cfg(test)]
#[path = "incoming_test.rs"]
mod tests;
