//! Lines into an output: each whole or not at all, and the first that is lost is told.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::Output;

/// An output of lines. A line that was begun is ended before the next, so that none is torn.
#[derive(Debug)]
pub struct Lines {
    output: Output,
    /// What is left of the last line; never more than that.
    rest: Vec<u8>,
    /// Lines lost since one was written.
    lost: u64,
}

/// What became of a line.
#[derive(Debug)]
pub enum Fate {
    /// It is written, or begun. So many before it were lost.
    Written {
        /// Lines lost since one was written.
        lost_before: u64,
    },
    /// It is lost; why, if it is the first since one was written.
    Lost {
        /// Why it was lost.
        first: Option<io::Error>,
    },
}

impl Lines {
    /// Lines into `output`, none of them lost yet.
    pub fn new(output: Output) -> Lines {
        Lines { output, rest: Vec::new(), lost: 0 }
    }

    /// Writes a line, which ends with a line feed. Never waits.
    pub fn write(&mut self, line: &[u8]) -> Fate {
        self.write_within(line, Duration::ZERO)
    }

    /// Writes a line; waits up to `patience` for a slow reader.
    pub fn write_within(&mut self, line: &[u8], patience: Duration) -> Fate {
        match self.put(line, patience) {
            Ok(()) => Fate::Written { lost_before: std::mem::take(&mut self.lost) },
            Err(error) => {
                self.lost = self.lost.saturating_add(1);
                Fate::Lost { first: (self.lost == 1).then_some(error) }
            }
        }
    }

    fn put(&mut self, line: &[u8], patience: Duration) -> io::Result<()> {
        let deadline = Instant::now().checked_add(patience);
        let rest = std::mem::take(&mut self.rest);
        let (left, ended) = self.push(&rest, deadline);
        if !left.is_empty() {
            self.rest = left.to_vec();
            return ended;
        }
        let (left, ended) = self.push(line, deadline);
        if left.len() == line.len() {
            return ended;
        }
        self.rest = left.to_vec();
        Ok(())
    }

    /// Writes what goes by then; what is left, and why.
    fn push<'a>(
        &mut self,
        mut bytes: &'a [u8],
        deadline: Option<Instant>,
    ) -> (&'a [u8], io::Result<()>) {
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(Some(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(None) => {
                    let left = deadline.map(|then| then.saturating_duration_since(Instant::now()));
                    let left = left.unwrap_or_default();
                    if left.is_zero() || !self.output.can_write(left) {
                        let why = "it is full, and nobody reads it";
                        return (bytes, Err(io::Error::new(ErrorKind::WouldBlock, why)));
                    }
                }
                Err(error) => return (bytes, Err(error)),
            }
        }
        (bytes, Ok(()))
    }
}
