//! Vsocks in the benchmark: one hypervisor under one load, and the floor of that.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::native::job::{Job, VsockLoad};
use crate::native::peer::{Board, Peer};
use crate::native::round_trip::{PAUSE, RoundTrips};
use crate::native::sample::Look;
use crate::native::table::{Measure, Results};
use crate::vsock::{to_guest, try_guest};

/// Ports of the guest's services: they say back what comes, throw it away, and send without end.
pub const ECHO: u32 = 7;
pub const DISCARD: u32 = 9;
pub const SOURCE: u32 = 19;

/// Time after the first bytes before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// Bytes of a read or a write.
const CHUNK: usize = 128 << 10;
/// The name of a socket between two threads in tables.
const FLOOR: &str = "bare Unix socket";

/// What each run has in common: the guest, where logs and sockets go, more words for the guest, and for how long is
/// measured.
pub struct Vsocks<'a> {
    pub kernel: &'a Path,
    pub folder: &'a Path,
    pub words: &'a str,
    pub slice: Duration,
}

impl Vsocks<'_> {
    /// Measures a hypervisor.
    pub fn measure(
        &self,
        load: VsockLoad,
        job: Job,
        peer: &Peer,
        results: &mut Results,
    ) -> Result<()> {
        let mut add = |measure, figure| results.add(&job.name(), &peer.name, measure, figure);
        let socket = self.folder.join(format!("{}.vsock", peer.name));
        // Of the run before: some leave it.
        let _ = std::fs::remove_file(&socket);
        let line = format!("vsock=serve {}", self.words);
        let board = Board::Vsock { path: &socket };
        let vmm = peer.start(self.kernel, line.trim_end(), board, self.folder)?;
        let trips = match load {
            VsockLoad::Send | VsockLoad::Receive => {
                let port = if load == VsockLoad::Send { SOURCE } else { DISCARD };
                let flow = Flow::begin(to_guest(&socket, port)?, load)?;
                sleep(SETTLE);
                let (so_far, before) = (flow.bytes(), Look::at(vmm.pid())?);
                sleep(self.slice);
                let bytes = flow.bytes() - so_far;
                let sample = Look::at(vmm.pid())?.since(&before, bytes >> 10);
                ensure!(bytes > 0, "no byte passed");
                add(Measure::Megabytes, bytes as f64 / sample.seconds / 1e6);
                add(Measure::KibCpu, sample.cpu);
                if let Some([exits, _]) = sample.machine {
                    add(Measure::MibExits, exits * 1024.0);
                }
                add(Measure::Lane, sample.lane * 100.0);
                add(Measure::Vcpu, sample.vcpu * 100.0);
                return Ok(());
            }
            VsockLoad::RoundTrips(len) => {
                let mut stream = to_guest(&socket, ECHO)?;
                self.trips(|| round_trip(&mut stream, len))?
            }
            VsockLoad::Calls => {
                drop(to_guest(&socket, ECHO)?);
                self.trips(|| {
                    let mut stream = try_guest(&socket, ECHO)?.context("it was not accepted")?;
                    round_trip(&mut stream, 1)
                })?
            }
        };
        add(Measure::P50, trips.percentile(50));
        add(Measure::P99, trips.percentile(99));
        Ok(())
    }

    /// Does something again and again, with a pause between.
    fn trips(&self, mut trip: impl FnMut() -> Result<()>) -> Result<RoundTrips> {
        let (mut times, end) = (Vec::new(), Instant::now() + SETTLE + self.slice);
        while Instant::now() < end {
            let begun = Instant::now();
            trip()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            sleep(PAUSE);
        }
        Ok(RoundTrips::of(times))
    }

    /// Measures what the host's part of it takes: a Unix socket with a thread at each end.
    pub fn measure_floor(&self, load: VsockLoad, job: Job, results: &mut Results) -> Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut add = |measure, figure| results.add(&job.name(), FLOOR, measure, figure);
        match load {
            VsockLoad::Send | VsockLoad::Receive => {
                let (sender, receiver) =
                    (Flow::begin(theirs, VsockLoad::Receive)?, Flow::begin(ours, VsockLoad::Send)?);
                sleep(SETTLE);
                let (so_far, begun) = (receiver.bytes(), Instant::now());
                sleep(self.slice);
                let bytes = receiver.bytes() - so_far;
                add(Measure::Megabytes, bytes as f64 / begun.elapsed().as_secs_f64() / 1e6);
                drop((sender, receiver));
            }
            VsockLoad::RoundTrips(len) => {
                let mut ours = ours;
                let echo = thread::spawn(move || echo(theirs));
                let trips = self.trips(|| round_trip(&mut ours, len))?;
                ours.shutdown(Shutdown::Both)?;
                // It has nothing to say.
                let _ = echo.join();
                add(Measure::P50, trips.percentile(50));
                add(Measure::P99, trips.percentile(99));
            }
            VsockLoad::Calls => {}
        }
        Ok(())
    }
}

fn round_trip(stream: &mut UnixStream, len: u32) -> Result<()> {
    let mut bytes = vec![0x5a; len as usize];
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes).context("no echo")
}

fn echo(mut stream: UnixStream) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
}

/// A thread at the host's end of a connection, which receives what the guest sends, or sends what it receives.
struct Flow {
    bytes: Arc<AtomicU64>,
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Flow {
    fn begin(stream: UnixStream, load: VsockLoad) -> Result<Self> {
        let (bytes, mut end) = (Arc::new(AtomicU64::new(0)), stream.try_clone()?);
        let counter = bytes.clone();
        let mut chunk = vec![0x5a; CHUNK];
        let thread = thread::Builder::new().name("flow".to_owned()).spawn(move || {
            loop {
                let moved = match load {
                    VsockLoad::Receive => end.write(&chunk),
                    _ => end.read(&mut chunk),
                };
                match moved {
                    Ok(moved @ 1..) => counter.fetch_add(moved as u64, Ordering::Relaxed),
                    _ => return,
                };
            }
        })?;
        Ok(Self { bytes, stream, thread: Some(thread) })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // The other end may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
