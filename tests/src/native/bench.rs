//! The benchmark: each hypervisor in turn, again and again, so that what else the machine does hits all alike.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::native::card_bench::Cards;
use crate::native::disk_bench::Disks;
use crate::native::guest;
use crate::native::job::{Job, Task};
use crate::native::peer::Peer;
use crate::native::sample::disturbance;
use crate::native::snapshot_bench::Snapshots;
use crate::native::table::Results;
use crate::native::vsock_bench::Vsocks;

/// A machine that is busier than this part of a CPU before a run disturbs it.
const QUIET: f64 = 0.15;

/// What was asked for.
pub struct Plan {
    pub peers: Vec<Peer>,
    pub rounds: u32,
    /// Time of each measurement.
    pub slice: Duration,
    pub jobs: Vec<Job>,
    /// More words for the guest's command line.
    pub words: String,
    /// More options of our disks.
    pub disk_options: String,
    /// Where the image on a disk is made.
    pub disk_folder: PathBuf,
}

/// Of cards, disks, snapshots and vsocks, those that are measured.
struct Bench<'a> {
    cards: Option<Cards<'a>>,
    disks: Option<Disks<'a>>,
    snapshots: Option<Snapshots<'a>>,
    vsocks: Option<Vsocks<'a>>,
}

impl Plan {
    /// Runs everything; tells the tables and how quiet the machine was, and returns the figures.
    pub fn run(&self) -> Result<Value> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (folder, kernel) = (folder.path(), guest::build()?);
        let has = |is: fn(Task) -> bool| self.jobs.iter().any(|job| is(job.task));
        let in_cards = |peer: &&Peer| {
            self.jobs.iter().any(|job| needs_line(job.task) && peer.takes_part(job.task))
        };
        let lines = self.peers.iter().filter(in_cards).map(|peer| peer.line);
        let cards = || Cards::new(lines.collect(), &kernel, folder, &self.words, self.slice);
        let words = (self.words.as_str(), self.disk_options.as_str());
        let disks = || Disks::new(&self.disk_folder, &kernel, folder, words, self.slice);
        let snapshots = || Snapshots::new(&self.disk_folder, &kernel, folder);
        let vsocks = || Vsocks { kernel: &kernel, folder, words: &self.words, slice: self.slice };
        let bench = Bench {
            cards: has(needs_line).then(cards).transpose()?,
            disks: has(Task::is_of_disk).then(disks).transpose()?,
            snapshots: has(Task::is_of_snapshot).then(snapshots).transpose()?,
            vsocks: has(Task::is_of_vsock).then(vsocks),
        };
        let (mut results, mut disturbed, mut runs) = (Results::default(), 0u32, 0u32);
        for _ in 0..self.rounds {
            for &job in &self.jobs {
                bench.prepare(job)?;
                for peer in self.peers.iter().filter(|peer| peer.takes_part(job.task)) {
                    if let Some(why) = peer.lacks_queues(job.queues) {
                        results.absent(&job.name(), &peer.name, why);
                        continue;
                    }
                    runs += 1;
                    disturbed += u32::from(disturbance()? > QUIET);
                    if let Err(error) = bench.measure(job, peer, &mut results) {
                        let said = peer.said(folder);
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

/// Vsocks are measured beside a card.
fn needs_line(task: Task) -> bool {
    task.is_of_card() || task.is_of_vsock()
}

impl Bench<'_> {
    fn prepare(&self, job: Job) -> Result<()> {
        match &self.cards {
            Some(cards) if job.task.is_of_card() => cards.prepare(job),
            _ => Ok(()),
        }
    }

    fn measure(&self, job: Job, peer: &Peer, results: &mut Results) -> Result<()> {
        let Bench { cards, disks, snapshots, vsocks } = self;
        match job.task {
            Task::Disk(..) => disks.iter().try_for_each(|it| it.measure(job, peer, results)),
            Task::Restore(..) | Task::Save(..) => {
                snapshots.iter().try_for_each(|it| it.measure(job, peer, results))
            }
            Task::Vsock(load) => {
                let Some(vsocks) = vsocks else { return Ok(()) };
                vsocks.measure(load, job, peer, results)?;
                match cards {
                    Some(cards) if peer.is_ours() => cards.measure_beside(load, job, peer, results),
                    _ => Ok(()),
                }
            }
            _ => cards.iter().try_for_each(|it| it.measure(job, peer, results)),
        }
    }

    fn measure_floor(&self, job: Job, results: &mut Results) -> Result<()> {
        let Bench { cards, disks, snapshots, vsocks } = self;
        match job.task {
            Task::Disk(..) => disks.iter().try_for_each(|it| it.measure_floor(job, results)),
            Task::Restore(..) | Task::Save(..) => {
                snapshots.iter().try_for_each(|it| it.measure_floor(job, results))
            }
            Task::Vsock(load) => {
                vsocks.iter().try_for_each(|it| it.measure_floor(load, job, results))
            }
            _ => cards.iter().try_for_each(|it| it.measure_floor(job, results)),
        }
    }
}
