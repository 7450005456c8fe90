//! A child before it is a machine: what it is given, and how it says that it is there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::spec::ChildSpec;
use crate::snapshot::kept::Kept;
use crate::vm::saved::MachineState;

/// What one child is made of.
#[derive(Debug)]
pub struct Newborn {
    /// In which it differs.
    pub spec: ChildSpec,
    /// What the machine is made of, in the layout of a configuration file.
    pub config: Value,
    /// What it was like.
    pub state: MachineState,
    /// What else it had.
    pub kept: Kept,
    /// What its memory was like; nobody writes to it any more.
    pub memory: File,
    /// Whether it runs at once.
    pub resume: bool,
    /// Who waits for it.
    pub doorstep: Doorstep,
}

/// A child's end of what joins it with who waits for it.
#[derive(Debug)]
pub struct Doorstep(File);

const READY: u8 = b'r';
const FAILED: u8 = b'f';
const GO: u8 = b'g';
/// Most bytes of why a child failed.
const MOST_WORDS: u64 = 4096;

impl Doorstep {
    /// That end of a stream.
    pub fn new(end: File) -> Doorstep {
        Doorstep(end)
    }

    /// Another descriptor of it. Fails if the host has none left.
    pub fn try_clone(&self) -> io::Result<Doorstep> {
        self.0.try_clone().map(Doorstep)
    }

    /// Says that the child is there, and waits for its siblings. Fails if one of them is not to be.
    pub fn wait(&self) -> io::Result<()> {
        (&self.0).write_all(&[READY])?;
        let mut answer = [0];
        (&self.0).read_exact(&mut answer)?;
        if answer == [GO] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Says why the child will not be there.
    pub fn fail(&self, why: &str) {
        // Who does not hear it notices that the child is gone.
        let _ = (&self.0).write_all(&[&[FAILED][..], why.as_bytes()].concat());
    }
}

/// Waits for a child, at the other end. Fails with why it will not be there, in one line.
pub fn hear(mut end: &UnixStream) -> Result<(), String> {
    let mut first = [0];
    match end.read_exact(&mut first) {
        Ok(()) if first == [READY] => Ok(()),
        Ok(()) => {
            let mut why = Vec::new();
            // What there is of it will do.
            let _ = end.take(MOST_WORDS).read_to_end(&mut why);
            Err(String::from_utf8_lossy(&why).into_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err("it takes too long".to_string())
        }
        Err(_) => Err("it ended before it was there".to_string()),
    }
}

/// Lets a child go on that is there.
pub fn let_go(mut end: &UnixStream) -> io::Result<()> {
    end.write_all(&[GO])
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn pair() -> (Doorstep, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Doorstep::new(OwnedFd::from(one).into()), other)
    }

    #[test]
    fn a_child_waits_for_its_siblings_and_tells_why_it_is_not_there() {
        let (child, parent) = pair();
        let waits = std::thread::spawn(move || child.wait());
        hear(&parent).unwrap();
        let_go(&parent).unwrap();
        waits.join().unwrap().unwrap();

        let (child, parent) = pair();
        child.fail("no TAP");
        drop(child);
        assert_eq!(hear(&parent).unwrap_err(), "no TAP");

        let (child, parent) = pair();
        drop(child);
        assert!(hear(&parent).unwrap_err().contains("ended"));

        let (child, parent) = pair();
        let waits = std::thread::spawn(move || child.wait());
        hear(&parent).unwrap();
        drop(parent);
        assert!(waits.join().unwrap().is_err(), "a sibling failed");
    }
}
