//! Resident memory of a hypervisor, with guest memory told apart, from `/proc/PID/smaps`.

use std::fs;

use anyhow::{Context, Result, ensure};

/// What of a process is in memory, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Of the mapping that is the guest's RAM.
    pub guest: u64,
    /// Of all other mappings: code and data of program and libraries (shared ones too), heap, stacks.
    pub outside: u64,
    /// The part of `outside` that nobody shares.
    pub private: u64,
    /// Most that `outside` can be proved to have been: grown by what the process once had more than now.
    pub outside_peak: u64,
}

/// A mapping, as far as we care; KiB.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mapping {
    named: bool,
    size: u64,
    resident: u64,
    private: u64,
}

impl Resident {
    /// Looks at a process whose guest has `guest_mib` of memory, all in one mapping.
    pub fn of(pid: u32, guest_mib: u32) -> Result<Self> {
        let (smaps, status) = (read(pid, "smaps")?, read(pid, "status")?);
        let field = |name| {
            let line = status.lines().find_map(|line| kib(line, name));
            line.with_context(|| format!("no {name} in the status of process {pid}"))
        };
        let fallen = field("VmHWM:")?.saturating_sub(field("VmRSS:")?);
        Self::from_mappings(&parse(&smaps), u64::from(guest_mib) << 10, fallen)
    }

    fn from_mappings(mappings: &[Mapping], guest_size: u64, fallen: u64) -> Result<Self> {
        let is_guest = |mapping: &&Mapping| !mapping.named && mapping.size == guest_size;
        let (guest, other): (Vec<_>, Vec<_>) = mappings.iter().partition(is_guest);
        ensure!(
            guest.len() == 1,
            "{} mappings have the guest's {} MiB, not one",
            guest.len(),
            guest_size >> 10
        );
        let outside = other.iter().map(|mapping| mapping.resident).sum();
        Ok(Self {
            guest: guest.iter().map(|mapping| mapping.resident).sum(),
            outside,
            private: other.iter().map(|mapping| mapping.private).sum(),
            outside_peak: outside + fallen,
        })
    }
}

/// What of a process is in memory besides mappings as large as half of a guest's RAM, in KiB, whatever the
/// hypervisor makes that of.
pub fn beside(pid: u32, guest_mib: u32) -> Result<u64> {
    let guest = u64::from(guest_mib) << 9;
    Ok(parse(&read(pid, "smaps")?).iter().filter(|m| m.size < guest).map(|m| m.resident).sum())
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// The number of a line such as `Rss:     12 kB`.
fn kib(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok()
}

/// `smaps`: for each mapping a line `7f00-7f10 rw-p 0 00:00 0 NAME`, then lines `Field: n kB`.
fn parse(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            let named = line.split_whitespace().nth(5).is_some();
            mappings.push(Mapping { named, ..Mapping::default() });
            continue;
        }
        let Some(mapping) = mappings.last_mut() else { continue };
        if let Some(size) = kib(line, "Size:") {
            mapping.size = size;
        } else if let Some(resident) = kib(line, "Rss:") {
            mapping.resident = resident;
        } else if let Some(private) =
            kib(line, "Private_Clean:").or_else(|| kib(line, "Private_Dirty:"))
        {
            mapping.private += private;
        }
    }
    mappings
}

#[cfg(test)]
#[path = "resident_test.rs"]
mod tests;
