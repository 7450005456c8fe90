//! What a hypervisor does in a while: frames or requests, CPU time of its threads, exits and interrupts of its
//! machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bench::exits::machine_of;

/// Counters at one moment.
pub struct Look {
    at: Instant,
    /// Nanoseconds on a CPU by thread id, and whether the thread runs a guest.
    threads: BTreeMap<u32, (bool, u64)>,
    /// Exits and interrupts, if this kernel lets us see KVM's counters.
    machine: Option<[u64; 2]>,
}

impl Look {
    /// Looks at the hypervisor `pid`.
    pub fn at(pid: u32) -> Result<Self> {
        // A kernel that is locked down shows nothing of debugfs.
        let folder = machine_of(pid).ok();
        let counter = |name: &str| -> Option<u64> {
            fs::read_to_string(folder.as_ref()?.join(name)).ok()?.trim().parse().ok()
        };
        Ok(Self {
            machine: counter("exits").zip(counter("irq_injections")).map(<[u64; 2]>::from),
            threads: threads(pid)?,
            at: Instant::now(),
        })
    }

    /// What happened since `before`, in which so many frames or requests were done.
    pub fn since(&self, before: &Self, count: u64) -> Sample {
        let took = (self.at - before.at).as_nanos() as f64;
        let spent = |id: &u32, now: u64| {
            now.saturating_sub(before.threads.get(id).map_or(0, |&(_, then)| then)) as f64
        };
        let of = |guest: bool| {
            let threads = self.threads.iter().filter(move |(_, (is, _))| *is == guest);
            threads.map(|(id, &(_, now))| spent(id, now))
        };
        let count = count as f64;
        let machine = self.machine.zip(before.machine);
        let machine = machine.map(|(now, then)| [now[0] - then[0], now[1] - then[1]]);
        Sample {
            rate: count * 1e9 / took,
            cpu: of(false).sum::<f64>() / count,
            machine: machine.map(|changes| changes.map(|change| change as f64 / count)),
            seconds: took / 1e9,
            lane: of(false).fold(0.0, f64::max) / took,
            vcpu: of(true).fold(0.0, f64::max) / took,
        }
    }
}

/// What happened in a while.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How long it was.
    pub seconds: f64,
    /// Frames or requests a second.
    pub rate: f64,
    /// Nanoseconds that all threads but vCPUs took for one.
    pub cpu: f64,
    /// Exits and injected interrupts for one, if they can be seen.
    pub machine: Option<[f64; 2]>,
    /// Part of the time that the busiest thread but a vCPU, and the busiest vCPU, were on a CPU.
    pub lane: f64,
    pub vcpu: f64,
}

fn threads(pid: u32) -> Result<BTreeMap<u32, (bool, u64)>> {
    let mut threads = BTreeMap::new();
    let list = fs::read_dir(format!("/proc/{pid}/task")).context("the hypervisor has ended")?;
    for entry in list.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name));
        // A thread may end meanwhile.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let spent = times.split_whitespace().next().and_then(|spent| spent.parse().ok());
        if let (Some(spent), Some(id)) = (spent, entry.file_name().to_string_lossy().parse().ok()) {
            threads.insert(id, (runs_guest(&name), spent));
        }
    }
    Ok(threads)
}

/// Whether a thread's name is that of a vCPU: `vcpu0`, `fc_vcpu 0`, `CPU 0/KVM`.
fn runs_guest(name: &str) -> bool {
    name.contains("vcpu") || name.starts_with("CPU ")
}

/// Part of one CPU that the machine is busy with now, without us.
pub fn disturbance() -> Result<f64> {
    const WHILE: std::time::Duration = std::time::Duration::from_millis(200);
    let busy = || -> Result<f64> {
        let text = fs::read_to_string("/proc/stat").context("no /proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        let fields: Vec<f64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // All but idle and iowait, in hundredths of seconds; guests' time is counted as user's already.
        let parts = fields.iter().take(8).enumerate().filter(|(n, _)| !(3..=4).contains(n));
        Ok(parts.map(|(_, field)| field / 100.0).sum())
    };
    let before = busy()?;
    std::thread::sleep(WHILE);
    Ok((busy()? - before) / WHILE.as_secs_f64())
}

#[cfg(test)]
#[path = "sample_test.rs"]
mod tests;
