//! Round trips: a frame to the guest and back, one at a time.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::frames::Link;
use crate::native::line::Line;
use crate::native::peer::MAC;
use crate::native::wire::Wire;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two frames: a lane shall have gone to sleep, as it has where frames are rare.
pub const PAUSE: Duration = Duration::from_micros(200);

/// Times that frames took to the guest and back.
pub struct RoundTrips {
    /// Microseconds, in order of length.
    times: Vec<f64>,
}

impl RoundTrips {
    /// Sends frames of `len` bytes on a line for so long, of all flows of the wire in turn. Fails if there was no
    /// answer at all, or if many are missing.
    pub fn measure(wire: &Wire, line: Line, len: usize, for_long: Duration) -> Result<Self> {
        let link = Link::open(line.far())?;
        let (frames, mut answer) = (wire.frames(len), vec![0; len.max(2048)]);
        let mut frames = frames.iter().cycle();
        let (mut times, mut lost) = (Vec::new(), 0);
        let end = Instant::now() + for_long;
        while Instant::now() < end {
            let frame = frames.next().context("nothing to send")?;
            let begun = Instant::now();
            link.send(frame).context("cannot send")?;
            match wait_for_answer(&link, &mut answer, begun)? {
                Some(took) => times.push(took.as_secs_f64() * 1e6),
                None => lost += 1,
            }
            ensure!(lost < 3 || lost * 100 < times.len(), "{lost} answers missing");
            std::thread::sleep(PAUSE);
        }
        ensure!(!times.is_empty(), "no answer");
        Ok(Self::of(times))
    }

    /// Those that took so many microseconds.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self { times }
    }

    /// The time that so many percent of all took at most, in microseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get(last * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

fn wait_for_answer(link: &Link, answer: &mut [u8], begun: Instant) -> Result<Option<Duration>> {
    loop {
        match recv(link.as_fd().as_raw_fd(), answer, MsgFlags::empty()) {
            Ok(_) if answer.get(6..12) == Some(&MAC) => return Ok(Some(begun.elapsed())),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
        if begun.elapsed() > PATIENCE {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_times() {
        let trips = RoundTrips { times: (0..=200).map(f64::from).collect() };
        assert_eq!(
            [0, 50, 99, 100].map(|percent| trips.percentile(percent)),
            [0.0, 100.0, 198.0, 200.0]
        );
    }
}
