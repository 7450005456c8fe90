//! What a load costs the hypervisor, by the kernel's own counters: exits, interrupts, CPU time and
//! switches of each thread, frames on the TAP.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::quiet;

const KVM: &str = "/sys/kernel/debug/kvm";
/// Of `/proc/PID/task/TID/stat`, in all Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters by name; differences of two looks tell what happened between.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads all counters of a hypervisor, and the frames on its TAP in this network namespace.
    pub fn of(pid: u32, tap: &str) -> Result<Self> {
        let mut counters = Self::default();
        counters.kvm(pid)?;
        counters.threads(pid)?;
        for name in ["rx_packets", "tx_packets", "tx_dropped"] {
            // A TAP receives what its guest sends.
            let file = format!("/sys/class/net/{tap}/statistics/{name}");
            if let Ok(text) = fs::read_to_string(file) {
                counters.add(format!("tap {name}"), text.trim().parse()?);
            }
        }
        Ok(counters)
    }

    fn add(&mut self, name: String, count: f64) {
        *self.0.entry(name).or_default() += count;
    }

    /// KVM's statistics of the machine: a file per counter, the sum of its vCPUs.
    fn kvm(&mut self, pid: u32) -> Result<()> {
        for file in entries(&machine_of(pid)?)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Ok(text) = fs::read_to_string(&file)
                && let Ok(count) = text.trim().parse()
            {
                self.add(format!("kvm {name}"), count);
            }
        }
        Ok(())
    }

    fn threads(&mut self, pid: u32) -> Result<()> {
        for thread in entries(Path::new(&format!("/proc/{pid}/task")))? {
            let read = |name| fs::read_to_string(thread.join(name));
            // A thread may end meanwhile.
            let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else { continue };
            let Some((head, rest)) = stat.rsplit_once(')') else { continue };
            let name = head.split_once('(').map_or("", |(_, name)| name);
            let field = |n: usize| rest.split_whitespace().nth(n)?.parse::<f64>().ok();
            if let (Some(user), Some(system)) = (field(11), field(12)) {
                self.add(format!("{name}: user, s"), user / TICKS_PER_SECOND);
                self.add(format!("{name}: system, s"), system / TICKS_PER_SECOND);
            }
            let switches = status.lines().find_map(|line| {
                line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok()
            });
            self.add(format!("{name}: waits"), switches.unwrap_or_default());
        }
        Ok(())
    }

    /// What changed since `before`, one line each.
    pub fn since(&self, before: &Self) -> Vec<(String, f64)> {
        let difference = |name: &String, now: f64| now - before.0.get(name).copied().unwrap_or(0.0);
        let changes = self.0.iter().map(|(name, &now)| (name.clone(), difference(name, now)));
        changes.filter(|&(_, change)| change != 0.0).collect()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

/// `/sys/kernel/debug/kvm/PID-FD`; mounts the file system if it is missing.
pub fn machine_of(pid: u32) -> Result<PathBuf> {
    if !Path::new(KVM).exists() {
        quiet(Command::new("mount").args(["-t", "debugfs", "debugfs", "/sys/kernel/debug"]))
            .context("KVM's counters are in debugfs")?;
    }
    let prefix = format!("{pid}-");
    entries(Path::new(KVM))?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("process {pid} has no machine in {KVM}"))
}

#[cfg(test)]
#[path = "exits_test.rs"]
mod tests;
