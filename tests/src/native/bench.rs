//! The benchmark: each hypervisor in turn, again and again, so that what else the machine does hits all alike.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::resident;
use crate::frames::Link;
use crate::native::guest::{Load, command_line};
use crate::native::peer::{Board, MAC, MEMORY_MIB, Peer};
use crate::native::round_trip::RoundTrips;
use crate::native::sample::{Look, disturbance};
use crate::native::table::{Measure, Results};
use crate::native::wire::{TAP, Wire};
use crate::native::{floor, guest};
use crate::process::Owned;

/// How long a guest may take to its first frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time after the first frames before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// A machine that is busier than this part of a CPU before a run disturbs it.
const QUIET: f64 = 0.15;
/// The name of bare system calls in tables.
const FLOOR: &str = "bare system calls";

/// Something to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Frames one way, of so many bytes.
    Stream(Load, u32),
    /// Round trips of frames of so many bytes.
    RoundTrips(u32),
    /// Exec to the first frame; memory.
    Start,
}

/// Such a thing on so many queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub task: Task,
    pub queues: u16,
}

impl Task {
    pub const ALL: [Self; 8] = [
        Self::Stream(Load::Send, 60),
        Self::Stream(Load::Send, 1514),
        Self::Stream(Load::Receive, 60),
        Self::Stream(Load::Receive, 1514),
        Self::Stream(Load::Both, 60),
        Self::Stream(Load::Both, 1514),
        Self::RoundTrips(60),
        Self::Start,
    ];
}

impl Job {
    /// As tables have it, and `--load`.
    pub fn name(self) -> String {
        let name = match self.task {
            Task::Stream(load, len) => format!("{} {len}", load.word()),
            Task::RoundTrips(len) => format!("round-trip {len}"),
            Task::Start => "start".to_owned(),
        };
        match self.queues {
            1 => name,
            queues => format!("{name} queues={queues}"),
        }
    }
}

/// What was asked for.
pub struct Plan {
    pub peers: Vec<Peer>,
    pub rounds: u32,
    /// Time of each measurement.
    pub slice: Duration,
    pub jobs: Vec<Job>,
    /// More words for the guest's command line.
    pub words: String,
}

/// All that runs need.
struct Bench<'a> {
    plan: &'a Plan,
    wire: Wire,
    kernel: PathBuf,
    floor: PathBuf,
    folder: &'a Path,
}

impl Plan {
    /// Runs everything; tells the tables and how quiet the machine was, and returns the figures.
    pub fn run(&self) -> Result<Value> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (kernel, floor) = (guest::build()?, floor::build()?);
        let bench = Bench { plan: self, wire: Wire::new()?, kernel, floor, folder: folder.path() };
        let (mut results, mut disturbed, mut runs) = (Results::default(), 0u32, 0u32);
        for _ in 0..self.rounds {
            for &job in &self.jobs {
                bench.wire.take_queues(job.queues)?;
                for peer in &self.peers {
                    if let Some(why) = peer.lacks_queues(job.queues) {
                        results.absent(&job.name(), &peer.name, why);
                        continue;
                    }
                    runs += 1;
                    disturbed += u32::from(disturbance()? > QUIET);
                    if let Err(error) = bench.measure(job, peer, &mut results) {
                        let said = peer.said(folder.path());
                        results.failed(
                            &job.name(),
                            &peer.name,
                            format!("{error:#}; it said: {said}"),
                        );
                    }
                }
                bench.measure_floor(job, &mut results)?;
            }
        }
        for line in results.tell() {
            println!("{line}");
        }
        println!();
        match disturbed {
            0 => println!("The machine was quiet before each of {runs} runs."),
            _ => println!(
                "The machine was busy with something else before {disturbed} of {runs} runs: these figures \
                 are not to be trusted."
            ),
        }
        let mut json = results.json();
        json["disturbed_runs"] = disturbed.into();
        json["complete"] = results.is_complete().into();
        Ok(json)
    }
}

impl Bench<'_> {
    fn start(&self, peer: &Peer, load: Load, len: u32, queues: u16) -> Result<Owned> {
        let line = command_line(load, len, queues, &self.plan.words);
        peer.start(&self.kernel, &line, Board { tap: TAP, queues }, self.folder)
    }

    fn measure_floor(&self, job: Job, results: &mut Results) -> Result<()> {
        let Task::Stream(load, len) = job.task else { return Ok(()) };
        let task = (load, len, job.queues);
        let measured = floor::measure(&self.floor, &self.wire, task, self.plan.slice)?;
        let Some((rate, cpu)) = measured else { return Ok(()) };
        results.add(&job.name(), FLOOR, Measure::Rate, rate / 1e3);
        results.add(&job.name(), FLOOR, Measure::Cpu, cpu);
        Ok(())
    }

    fn measure(&self, job: Job, peer: &Peer, results: &mut Results) -> Result<()> {
        let mut add = |measure, figure| results.add(&job.name(), &peer.name, measure, figure);
        match job.task {
            Task::Stream(load, len) => {
                let mut vmm = self.start(peer, load, len, job.queues)?;
                let flood = match load {
                    Load::Receive | Load::Both => Some(self.wire.flood(len as usize)?),
                    Load::Send | Load::Answer => None,
                };
                self.wait_for_frames(&mut vmm, load)?;
                sleep(SETTLE);
                let before = Look::at(vmm.pid(), &self.wire)?;
                sleep(self.plan.slice);
                let sample = Look::at(vmm.pid(), &self.wire)?.since(&before, load);
                drop(flood);
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
            }
            Task::RoundTrips(len) => {
                let vmm = self.start(peer, Load::Answer, len, job.queues)?;
                self.wait_for_answer(len)?;
                let trips = RoundTrips::measure(&self.wire, len as usize, self.plan.slice)?;
                drop(vmm);
                add(Measure::P50, trips.percentile(50));
                add(Measure::P99, trips.percentile(99));
            }
            Task::Start => {
                let link = Link::open(TAP)?;
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
        }
        Ok(())
    }

    /// Until frames pass the way that the load has.
    fn wait_for_frames(&self, vmm: &mut Owned, load: Load) -> Result<()> {
        let (begun, before) = (Instant::now(), self.wire.passed()?);
        while begun.elapsed() < PATIENCE {
            let now = self.wire.passed()?;
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
    fn wait_for_answer(&self, len: u32) -> Result<()> {
        let link = Link::open(TAP)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // The TAP is down until the hypervisor has it.
            if link.send(&super::wire::frame(len as usize)).is_ok()
                && link.hear_first(&MAC, Duration::from_millis(100))?.is_some()
            {
                sleep(SETTLE);
                return Ok(());
            }
        }
        bail!("no answer within {} s", PATIENCE.as_secs())
    }
}
