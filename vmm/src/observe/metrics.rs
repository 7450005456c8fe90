//! Figures of the VMM and its machine, as lines of JSON in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::counters;
use device_core::histogram::Summary;
use device_core::output::{Fate, Lines};
use devices::block::stats::Stretches;
use serde::Serialize;

use super::events::now_ms;
use super::output::{self, OutputError};
use super::requests;
use super::start::cpu_time;

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(60);

counters! {
    /// Why one vCPU left the guest, since its machine was built.
    pub struct VcpuCounters { port_reads, port_writes, mmio_reads, mmio_writes, kicks }
}

/// What it took from the beginning of the one who started the process to its own.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StartTimes {
    /// Wall clock and CPU time in microseconds, if one was told when they began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_startup_time_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_startup_time_cpu_us: Option<u64>,
}

impl StartTimes {
    /// With `us` of CPU time that others have used before this process did.
    pub fn after(self, us: Option<u64>) -> StartTimes {
        let more = |own: u64| own.saturating_add(us.unwrap_or_default());
        StartTimes {
            process_startup_time_cpu_us: self.process_startup_time_cpu_us.map(more),
            ..self
        }
    }

    /// Both clocks' times now, since those given.
    pub fn since(wall_us: Option<u64>, cpu_us: Option<u64>) -> StartTimes {
        let passed = |now: Duration, then: u64| {
            u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_sub(then)
        };
        StartTimes {
            process_startup_time_us: wall_us.map(|then| passed(monotonic(), then)),
            process_startup_time_cpu_us: cpu_us.map(|then| passed(cpu_time(), then)),
        }
    }
}

/// The clock that the starter's time is of.
fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Counters by name.
pub type Counts = BTreeMap<&'static str, u64>;

/// All figures at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    #[serde(rename = "utc_timestamp_ms")]
    pub at_ms: u64,
    pub api_server: StartTimes,
    /// What clients of the API asked for.
    #[serde(skip)]
    pub requests: requests::Counts,
    /// Of these, those with a field that the dialect will lose.
    #[serde(skip)]
    pub deprecated_requests: u64,
    pub vmm: VmmFigures,
    /// Of each vCPU, in order.
    pub vcpus: Vec<Counts>,
    /// Of each disk by its id.
    pub block: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long requests of each disk took on each stretch of their way, by its id. Told by OpenMetrics only.
    #[serde(skip)]
    pub block_timings: BTreeMap<String, Stretches<Summary>>,
    /// Of each queue pair, in order, of each card by its id.
    pub network: BTreeMap<String, Vec<Counts>>,
    /// Of the vsock, if there is one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vsock: Counts,
    /// Of the metadata service, on all cards together; empty if there is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mmds: Counts,
    /// Of persistent memory by its id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pmem: BTreeMap<String, Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<Counts>,
    /// Of memory that is plugged while the machine runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_memory: Option<Counts>,
}

/// What is not of any vCPU, disk or card.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct VmmFigures {
    /// Accesses of the guest that no device covers.
    pub unmapped_reads: u64,
    pub unmapped_writes: u64,
    /// How often the machine was paused.
    pub pauses: u64,
}

impl Figures {
    /// Figures of a machine that does not exist yet.
    pub fn empty(api_server: StartTimes) -> Figures {
        Figures {
            at_ms: now_ms(),
            api_server,
            requests: requests::Counts::new(),
            deprecated_requests: 0,
            vmm: VmmFigures::default(),
            vcpus: Vec::new(),
            block: BTreeMap::new(),
            block_timings: BTreeMap::new(),
            network: BTreeMap::new(),
            vsock: BTreeMap::new(),
            mmds: BTreeMap::new(),
            pmem: BTreeMap::new(),
            balloon: None,
            entropy: None,
            hot_memory: None,
        }
    }

    /// Adds the vCPUs.
    pub fn of_vcpus(&mut self, vcpus: &[Arc<VcpuCounters>]) {
        self.vcpus = vcpus.iter().map(|counters| counters.values().collect()).collect();
    }
}

/// How a line of figures is made.
#[derive(Clone, Copy)]
pub struct Shape {
    /// The line, without its end, of figures after those of lines before. Fails if it cannot be said.
    pub line: fn(&Figures, &mut Past) -> serde_json::Result<String>,
    /// Whether there is a line as soon as the machine runs.
    pub at_start: bool,
}

/// Counts of the last line by group and field, for a [`Shape`] that tells what they have grown by.
pub type Past = BTreeMap<(String, &'static str), u64>;

/// All figures as they are.
pub fn line(figures: &Figures, _: &mut Past) -> serde_json::Result<String> {
    serde_json::to_string(figures)
}

/// The file that figures are written to.
pub struct MetricsFile {
    lines: Lines,
    path: PathBuf,
    due: Instant,
    past: Past,
}

impl MetricsFile {
    pub fn open(path: &Path, now: Instant) -> Result<MetricsFile, OutputError> {
        let lines = output::open(path)?;
        Ok(MetricsFile { lines, path: path.into(), due: now + PERIOD, past: Past::new() })
    }

    /// When the next line is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Appends a line. What the file has no room for is lost.
    pub fn write(&mut self, shape: Shape, figures: &Figures, now: Instant) {
        self.due = now + PERIOD;
        let line = match (shape.line)(figures, &mut self.past) {
            Ok(line) => line + "\n",
            Err(error) => return tracing::warn!("a line of metrics is lost: {error}"),
        };
        let path = self.path.display();
        match self.lines.write(line.as_bytes()) {
            Fate::Written { lost_before: 0 } | Fate::Lost { first: None } => {}
            Fate::Written { lost_before } => {
                tracing::warn!(
                    "{lost_before} lines of metrics were lost; {path} can be written again"
                );
            }
            Fate::Lost { first: Some(error) } => tracing::warn!(
                "cannot write metrics to {path}: {error}; lines are lost until that works"
            ),
        }
    }
}
