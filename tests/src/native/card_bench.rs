//! Cards in the benchmark: one hypervisor under one load, and the floor of that.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::api::Api;
use crate::bench::resident;
use crate::frames::Link;
use crate::native::disk_bench::ticks_per_second;
use crate::native::floor::{self, Floors};
use crate::native::guest::{Load, command_line};
use crate::native::job::{Job, Task, VsockLoad};
use crate::native::line::Line;
use crate::native::peer::{Board, MAC, MEMORY_MIB, Peer};
use crate::native::round_trip::RoundTrips;
use crate::native::sample::Look;
use crate::native::table::{Measure, Results};
use crate::native::wire::{Flood, Passed, Wire, frame};
use crate::process::Owned;

/// Requests for metadata in a second.
const REQUESTS: u32 = 1000;
/// How long a guest may take to its first frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time after the first frames before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// The name of bare system calls in tables.
const FLOOR: &str = "bare system calls";
/// The same on a veth pair.
const PAIR: &str = "bare packet socket";
/// What a card does beside a vsock.
const BESIDE: &str = "vmm, by its card";

/// The lines, the programs that have the floors' loops, and what each run has in common.
pub struct Cards<'a> {
    wire: Wire,
    lines: BTreeSet<Line>,
    floors: Floors,
    kernel: &'a Path,
    folder: &'a Path,
    words: &'a str,
    slice: Duration,
}

impl<'a> Cards<'a> {
    /// Moves this thread to a network that has these lines. Guests run `kernel`, have more `words` on their command
    /// line, and are measured for a `slice`; logs go to `folder`.
    pub fn new(
        lines: BTreeSet<Line>,
        kernel: &'a Path,
        folder: &'a Path,
        words: &'a str,
        slice: Duration,
    ) -> Result<Self> {
        let (wire, floors) = (Wire::new()?, floor::build()?);
        if lines.iter().any(|line| *line != Line::Tap) {
            wire.add_pairs()?;
        }
        Ok(Self { wire, lines, floors, kernel, folder, words, slice })
    }

    /// Gets ready for a job.
    pub fn prepare(&self, job: Job) -> Result<()> {
        self.wire.take_queues(job.queues)
    }

    fn start(&self, peer: &Peer, load: Load, len: u32, queues: u16) -> Result<Owned> {
        let line = command_line(load, len, queues, self.words);
        let board = Board::Card { interface: peer.line.near(), queues };
        peer.start(self.kernel, &line, board, self.folder)
    }

    fn passed(&self, peer: &Peer) -> Result<Passed> {
        self.wire.passed_on(peer.line, &peer.api(self.folder))
    }

    /// Measures the floors of a job, if there are any.
    pub fn measure_floor(&self, job: Job, results: &mut Results) -> Result<()> {
        let Task::Stream(load, len) = job.task else { return Ok(()) };
        let task = (load, len, job.queues);
        for (name, line) in [(FLOOR, Line::Tap), (PAIR, Line::Veth)] {
            if !self.lines.contains(&line) {
                continue;
            }
            let measured = floor::measure(&self.floors, &self.wire, line, task, self.slice)?;
            let Some(figures) = measured else { continue };
            let mut add = |measure, figure| results.add(&job.name(), name, measure, figure);
            add(Measure::Rate, figures.rate / 1e3);
            add(Measure::Cpu, figures.cpu);
            if let Some(sender) = figures.sender {
                add(Measure::Sender, sender);
            }
        }
        Ok(())
    }

    /// Measures a hypervisor.
    pub fn measure(&self, job: Job, peer: &Peer, results: &mut Results) -> Result<()> {
        let mut add = |measure, figure| results.add(&job.name(), &peer.name, measure, figure);
        match job.task {
            Task::Stream(load, len) => {
                let mut vmm = self.start(peer, load, len, job.queues)?;
                let flood = match load {
                    Load::Receive | Load::Both => {
                        Some(self.wire.flood_on(peer.line, len as usize)?)
                    }
                    Load::Send | Load::Answer => None,
                };
                self.wait_for_frames(&mut vmm, peer, load)?;
                sleep(SETTLE);
                let (passed, before) = (self.passed(peer)?, Look::at(vmm.pid())?);
                sleep(self.slice);
                let passed = self.passed(peer)?.since(&passed, load);
                let sample = Look::at(vmm.pid())?.since(&before, passed);
                let sender = flood.map(Flood::end);
                if sample.rate == 0.0 {
                    bail!("no frame passed");
                }
                add(Measure::Rate, sample.rate / 1e3);
                add(Measure::Cpu, sample.cpu);
                if let Some([exits, interrupts]) = sample.machine {
                    add(Measure::Exits, exits);
                    add(Measure::Interrupts, interrupts);
                }
                add(Measure::Lane, sample.lane * 100.0);
                add(Measure::Vcpu, sample.vcpu * 100.0);
                if let Some(sender) = sender {
                    add(Measure::Sender, sender);
                }
            }
            Task::RoundTrips(len) => {
                let vmm = self.start(peer, Load::Answer, len, job.queues)?;
                self.wait_for_answer(peer.line, len)?;
                let trips = RoundTrips::measure(&self.wire, peer.line, len as usize, self.slice)?;
                drop(vmm);
                add(Measure::P50, trips.percentile(50));
                add(Measure::P99, trips.percentile(99));
            }
            Task::Start => {
                let link = Link::open(peer.line.far())?;
                let begun = Instant::now();
                let vmm = self.start(peer, Load::Send, 60, job.queues)?;
                let heard = link.hear_first(&MAC, PATIENCE)?;
                let took = begun.elapsed();
                if heard.is_none() {
                    bail!("no frame within {} s", PATIENCE.as_secs());
                }
                add(Measure::FirstFrame, took.as_secs_f64() * 1e3);
                let beside = resident::beside(vmm.pid(), MEMORY_MIB)?;
                add(Measure::Resident, beside as f64 / 1024.0);
            }
            Task::Metadata(load, len) => self.measure_served(load, len, job, peer, results)?,
            Task::Disk(..) | Task::Restore(..) | Task::Save(..) | Task::Vsock(..) => {
                bail!("that is no job of a card")
            }
        }
        Ok(())
    }

    /// Measures what the card of a hypervisor does of the same kind as a vsock: large frames of TCP that it is to cut,
    /// frames as long as they can be without, round trips.
    pub fn measure_beside(
        &self,
        load: VsockLoad,
        job: Job,
        peer: &Peer,
        results: &mut Results,
    ) -> Result<()> {
        let mut add = |measure, figure| results.add(&job.name(), BESIDE, measure, figure);
        let (load, len, words) = match load {
            VsockLoad::Send => (Load::Send, 65_000, "tso=1448"),
            VsockLoad::Receive => (Load::Receive, 1514, ""),
            VsockLoad::RoundTrips(len) => (Load::Answer, len, ""),
            VsockLoad::Calls => return Ok(()),
        };
        let line = command_line(load, len, 1, &format!("{words} {}", self.words));
        let board = Board::Card { interface: peer.line.near(), queues: 1 };
        let mut vmm = peer.start(self.kernel, &line, board, self.folder)?;
        if load == Load::Answer {
            self.wait_for_answer(peer.line, len)?;
            let trips = RoundTrips::measure(&self.wire, peer.line, len as usize, self.slice)?;
            add(Measure::P50, trips.percentile(50));
            add(Measure::P99, trips.percentile(99));
            return Ok(());
        }
        let floods = (load == Load::Receive).then_some(len as usize);
        let _flood = floods.map(|len| self.wire.flood_on(peer.line, len)).transpose()?;
        self.wait_for_frames(&mut vmm, peer, load)?;
        sleep(SETTLE);
        let (passed, before) = (self.passed(peer)?, Look::at(vmm.pid())?);
        sleep(self.slice);
        let bytes = self.passed(peer)?.since(&passed, load) * u64::from(len);
        let sample = Look::at(vmm.pid())?.since(&before, bytes >> 10);
        add(Measure::Megabytes, bytes as f64 / sample.seconds / 1e6);
        add(Measure::KibCpu, sample.cpu);
        add(Measure::Lane, sample.lane * 100.0);
        add(Measure::Vcpu, sample.vcpu * 100.0);
        Ok(())
    }

    /// Measures a stream beside requests for metadata by the same card: without, on a connection, and on one for each.
    fn measure_served(
        &self,
        load: Load,
        len: u32,
        job: Job,
        peer: &Peer,
        results: &mut Results,
    ) -> Result<()> {
        let every = ticks_per_second()? / f64::from(REQUESTS);
        for (what, ask, fresh) in [("", 0.0, 0), (", asked", every, 0), (", asked anew", every, 1)]
        {
            let name = format!("{}{what}", peer.name);
            let mut add = |measure, figure| results.add(&job.name(), &name, measure, figure);
            let words = format!("ask={ask:.0} fresh={fresh} {}", self.words);
            let line = command_line(load, len, 1, &words);
            let board = Board::Served { interface: peer.line.near() };
            let mut vmm = peer.start(self.kernel, &line, board, self.folder)?;
            let mut api = Api::wait(&peer.api(self.folder), PATIENCE)?;
            let floods = (load == Load::Receive).then_some(len as usize);
            let _flood = floods.map(|len| self.wire.flood_on(peer.line, len)).transpose()?;
            self.wait_for_frames(&mut vmm, peer, load)?;
            sleep(SETTLE);
            let so_far = requests(&mut api)?;
            let (passed, before) = (self.passed(peer)?, Look::at(vmm.pid())?);
            sleep(self.slice);
            let passed = self.passed(peer)?.since(&passed, load);
            let sample = Look::at(vmm.pid())?.since(&before, passed);
            let asked = requests(&mut api)? - so_far;
            add(Measure::Rate, sample.rate / 1e3);
            add(Measure::Cpu, sample.cpu);
            add(Measure::Lane, sample.lane * 100.0);
            add(Measure::Requests, asked / sample.seconds / 1e3);
        }
        Ok(())
    }

    /// Until frames pass the way that the load has.
    fn wait_for_frames(&self, vmm: &mut Owned, peer: &Peer, load: Load) -> Result<()> {
        if peer.line == Line::Veth {
            Api::wait(&peer.api(self.folder), PATIENCE)?;
        }
        let (begun, before) = (Instant::now(), self.passed(peer)?);
        while begun.elapsed() < PATIENCE {
            let now = self.passed(peer)?;
            let passed = match load {
                Load::Send => now.out > before.out,
                Load::Receive | Load::Answer => now.into > before.into + 1000,
                Load::Both => now.out > before.out && now.into > before.into + 1000,
            };
            if passed {
                return Ok(());
            }
            if vmm.child().try_wait()?.is_some() {
                bail!("it has ended");
            }
            sleep(Duration::from_millis(5));
        }
        bail!("no frame within {} s", PATIENCE.as_secs())
    }

    /// Until the guest answers.
    fn wait_for_answer(&self, line: Line, len: u32) -> Result<()> {
        let link = Link::open(line.far())?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // The TAP is down until the hypervisor has it.
            if link.send(&frame(len as usize)).is_ok()
                && link.hear_first(&MAC, Duration::from_millis(100))?.is_some()
            {
                sleep(SETTLE);
                return Ok(());
            }
        }
        bail!("no answer within {} s", PATIENCE.as_secs())
    }
}

/// Requests for metadata that were answered so far.
fn requests(api: &mut Api) -> Result<f64> {
    const COUNTER: &str = "vmm_mmds_rx_count_total ";
    let figures = api.ask("GET", "/metrics", "")?.body;
    let count = figures.lines().find_map(|line| line.strip_prefix(COUNTER)?.trim().parse().ok());
    count.with_context(|| format!("no {COUNTER}"))
}
