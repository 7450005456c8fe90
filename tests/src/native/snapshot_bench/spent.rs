//! What a process has spent, as `/proc` tells.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Milliseconds on a CPU of a process and of its children, all threads of them.
pub fn cpu_ms(pid: u32) -> Result<f64> {
    let (mut sum, mut left) = (0.0, vec![pid]);
    while let Some(pid) = left.pop() {
        for task in tasks(pid)? {
            // A thread may end meanwhile.
            let Ok(times) = fs::read_to_string(task.join("schedstat")) else { continue };
            let ns = times.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
            sum += ns.unwrap_or_default() / 1e6;
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            left.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(sum)
}

fn tasks(pid: u32) -> Result<Vec<std::path::PathBuf>> {
    let list = fs::read_dir(format!("/proc/{pid}/task")).context("the hypervisor has ended")?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

/// Page faults of the threads that a guest waits for: its vCPU, and the lanes of its card.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// All of them, by whatever they were resolved.
    pub all: u64,
    /// Those that waited for a disk.
    pub from_disk: u64,
}

impl Faults {
    /// Of a process until now.
    pub fn of(pid: u32) -> Result<Self> {
        let mut sum = Self::default();
        for task in tasks(pid)? {
            if let Some(Self { all, from_disk }) = of_thread(&task) {
                sum.all += all;
                sum.from_disk += from_disk;
            }
        }
        Ok(sum)
    }
}

/// `None` of a thread that the guest does not wait for.
fn of_thread(task: &Path) -> Option<Faults> {
    let name = fs::read_to_string(task.join("comm")).ok()?;
    let serves = ["vcpu", "fc_vcpu", "net-", "virtio-net", "eth"];
    if !serves.iter().any(|begin| name.trim_start_matches('_').starts_with(begin)) {
        return None;
    }
    parse(&fs::read_to_string(task.join("stat")).ok()?)
}

/// `minflt` and `majflt` of `/proc/PID/task/TID/stat`, the 8th and 10th field behind the name.
fn parse(stat: &str) -> Option<Faults> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(7);
    let minor: u64 = fields.next()?.parse().ok()?;
    let from_disk: u64 = fields.nth(1)?.parse().ok()?;
    Some(Faults { all: minor + from_disk, from_disk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stand_behind_a_name_that_may_have_anything_in_it() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 321 0 9 0 5 6 0 0 20 0";
        assert_eq!(parse(stat), Some(Faults { all: 330, from_disk: 9 }));
        assert_eq!(parse("7 (a) S"), None);
    }

    #[test]
    fn this_process_has_spent_something() {
        assert!(cpu_ms(std::process::id()).unwrap() > 0.0);
    }
}
