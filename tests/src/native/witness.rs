//! What a guest tells that keeps an eye on itself (`load=witness` of the native guest).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::frames::Link;
use crate::native::peer::MAC;

const MARK: &[u8] = b"nativeW1";
/// Bytes of frames that are kept; the kernel counts most of a KiB for each.
const ROOM: usize = 16 << 20;

/// One frame of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Which it is, from 0.
    pub number: u64,
    /// How often registers were not as they had been.
    pub registers: u64,
    /// The same of pages.
    pub pages: u64,
    /// Frames that came to the guest.
    pub received: u64,
    /// The CPU's clock.
    pub clock: u64,
}

impl Told {
    fn of(frame: &[u8]) -> Option<Self> {
        let numbers = frame.get(14..)?.strip_prefix(MARK)?.get(..40)?;
        let mut numbers = numbers.chunks(8).map(|bytes| bytes.try_into().map(u64::from_le_bytes));
        let mut next = || numbers.next()?.ok();
        Some(Self {
            number: next()?,
            registers: next()?,
            pages: next()?,
            received: next()?,
            clock: next()?,
        })
    }
}

/// Who listens, and misses nothing.
pub struct Listener {
    link: Link,
    last: Option<Told>,
}

impl Listener {
    /// Listens on a link from now on. Fails unless root does.
    pub fn new(link: Link) -> Result<Self> {
        // What comes while nobody asks is kept.
        setsockopt(&link, sockopt::RcvBufForce, &ROOM)?;
        Ok(Self { link, last: None })
    }

    /// The link, to send on.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What it told last.
    pub fn last(&self) -> Option<Told> {
        self.last
    }

    /// What the guest tells next. Fails if it tells nothing for `limit`, has told something in between, or is not
    /// what it was.
    pub fn hear(&mut self, limit: Duration) -> Result<Told> {
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let frame = self.link.hear_first(&MAC, left)?;
            let frame = frame.with_context(|| format!("silence behind {:?}", self.last))?;
            let Some(told) = Told::of(&frame) else { continue };
            if let Some(last) = self.last {
                ensure!(told.number == last.number + 1, "{told:?} behind {last:?}");
                ensure!(told.received >= last.received, "{told:?} behind {last:?}");
            }
            ensure!((told.registers, told.pages) == (0, 0), "it is not what it was: {told:?}");
            self.last = Some(told);
            return Ok(told);
        }
    }

    /// Hears `count` more frames.
    pub fn hear_many(&mut self, count: usize, limit: Duration) -> Result<Told> {
        for _ in 1..count {
            self.hear(limit)?;
        }
        self.hear(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_five_numbers_behind_its_mark() {
        let mut frame = [&[0; 14][..], MARK].concat();
        (1..=5u64).for_each(|number| frame.extend(number.to_le_bytes()));
        let told = Told { number: 1, registers: 2, pages: 3, received: 4, clock: 5 };
        assert_eq!(Told::of(&frame), Some(told));
        assert_eq!(Told::of(&frame[..61]), None);
        frame[14] = b'x';
        assert_eq!(Told::of(&frame), None);
    }
}
