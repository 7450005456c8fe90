//! A guest that takes nothing while much arrives: its buffers run out, and Linux recovers by itself. That the card does is
//! tried without it, in `tests/native.rs`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::Model;

use crate::network::{ANSWER, printed, socket, some};
use crate::scenario::{Scenario, Wired, eventually, long};

pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        return Vec::new();
    }
    Scenario::for_each_kernel(
        "stall::receiving_resumes_when_a_stalled_guest_runs_again",
        flood_while_stalled,
    )
}

/// A cgroup that holds threads of one process and can freeze them; goes with its owner.
struct Freezer {
    threads: PathBuf,
    process: PathBuf,
    pid: u32,
}

impl Freezer {
    /// Takes in the threads of a process whose name `belongs`.
    fn of(pid: u32, belongs: impl Fn(&str) -> bool) -> Result<Self> {
        let process = PathBuf::from(format!("/sys/fs/cgroup/vmm-{pid}"));
        let threads = process.join("vcpus");
        fs::create_dir_all(&threads)
            .context("cannot make a cgroup (version 2) to freeze threads in")?;
        let freezer = Self { threads, process, pid };
        fs::write(freezer.process.join("cgroup.procs"), pid.to_string())?;
        fs::write(freezer.threads.join("cgroup.type"), "threaded")?;
        let mut count = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = entry?.path();
            if belongs(fs::read_to_string(task.join("comm"))?.trim()) {
                let id = task
                    .file_name()
                    .context("a task without a name")?
                    .to_string_lossy()
                    .into_owned();
                fs::write(freezer.threads.join("cgroup.threads"), id)?;
                count += 1;
            }
        }
        ensure!(count > 0, "process {pid} has no vCPU threads");
        Ok(freezer)
    }

    fn set(&self, frozen: bool) -> Result<()> {
        fs::write(self.threads.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let wanted = format!("frozen {}", u8::from(frozen));
        eventually(&wanted, PATIENCE, || {
            Ok(fs::read_to_string(self.threads.join("cgroup.events"))?.contains(&wanted))
        })
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // A frozen process could not be killed; the rest is tidiness.
        let _ = fs::write(self.threads.join("cgroup.freeze"), "0");
        let _ = fs::write("/sys/fs/cgroup/cgroup.procs", self.pid.to_string());
        let _ = fs::remove_dir(&self.threads);
        let _ = fs::remove_dir(&self.process);
    }
}

fn flood_while_stalled(release: Release) -> Result<()> {
    let mut guest = Wired::boot(release, Model::Virtio, 1, 1500, |machine| machine)?;
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    let freezer = Freezer::of(guest.running.pid(), |name| name.starts_with("vcpu"))?;
    for _ in 0..3 {
        freezer.set(true)?;
        let taken = guest.network.statistic(&tap, "tx_packets")?;
        let flood = guest.traffic(&[
            "flood",
            &socket(&tap.guest_ipv4, 9),
            "--size",
            "1400",
            "--seconds",
            "2",
        ])?;
        let sent: u64 = printed(flood, ANSWER)?.parse()?;
        let taken = guest.network.statistic(&tap, "tx_packets")? - taken;
        // The ring holds some hundred frames and the TAP's queue a thousand: the rest must have been dropped.
        ensure!(
            sent > 3000 && taken < sent,
            "{taken} of {sent} datagrams were taken from a stalled guest's TAP"
        );
        freezer.set(false)?;
        guest.reaches_guest()?;
    }
    drop(freezer);
    guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4)?;
    guest.finish()
}
