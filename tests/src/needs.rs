//! What a command needs before it starts: said at once, fetched at once, for it may run where there
//! is no network, such as the testbed.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use anyhow::{Error, Result, anyhow, bail};

use crate::apt::Unreachable;
use crate::debian::{Debian, Edition};
use crate::guest::Tool;
use crate::kernel::{Kernel, Release};
use crate::process::stdout_of;
use crate::programs::Program;
use crate::{cache, dpdk, initramfs, programs, ssh, tshark};

/// Programs of this machine, and files in the cache besides busybox, which every guest has.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    pub programs: Vec<Program>,
    pub kernels: Vec<Release>,
    pub tools: Vec<Tool>,
    pub tshark: bool,
    /// Disks with a system on them, and what logs in there by ssh.
    pub debians: Vec<Edition>,
}

impl Needs {
    /// What integration tests boot and look at guests with; those of the long round need more.
    pub fn of_tests(long: bool) -> Self {
        let tools = [
            Tool::Ethtool,
            Tool::Iperf3,
            Tool::Iproute2,
            Tool::Tcpdump,
            Tool::PushBuffer,
            Tool::Traffic,
            Tool::Fio,
            Tool::Nvme,
            Tool::Records,
        ];
        let of_disks = [programs::XFS_REPAIR, programs::DMSETUP];
        Self {
            programs: [programs::IP]
                .into_iter()
                .chain(programs::OF_DISKS)
                .chain(of_disks)
                .collect(),
            kernels: Release::GUESTS.to_vec(),
            tools: tools.into_iter().chain(long.then_some(Tool::Testpmd)).collect(),
            tshark: true,
            debians: [Edition::Small].into_iter().chain(long.then_some(Edition::Cloud)).collect(),
        }
    }

    /// Adds what another command needs.
    pub fn and(mut self, other: Self) -> Self {
        self.programs.extend(other.programs);
        self.kernels.extend(other.kernels);
        self.tools.extend(other.tools);
        self.tshark |= other.tshark;
        self.debians.extend(other.debians);
        self
    }

    /// Kernels to boot, and programs to boot and look at them with, a line for each kind, once they
    /// are fetched.
    pub fn versions(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for &release in self.kernels.iter().collect::<BTreeSet<_>>() {
            let who = if release == Release::Testbed { "" } else { "guest " };
            lines.push(format!(
                "kernel of {who}{}: {}",
                release.name(),
                Kernel::open(release)?.origin()
            ));
        }
        for &edition in self.debians.iter().collect::<BTreeSet<_>>() {
            lines.push(format!("disk: {}", Debian::open(edition)?.origin()));
        }
        let mut programs = vec![initramfs::busybox_origin()?];
        for program in self.tools.iter().filter_map(|tool| tool.debian()) {
            programs.push(program?.origin().to_owned());
        }
        if self.tshark {
            programs.push(tshark::open()?.origin().to_owned());
        }
        lines.push(format!("programs: {}", programs.join(", ")));
        if self.programs.contains(&programs::QEMU) {
            let said = stdout_of(Command::new("qemu-system-x86_64").arg("--version"))?;
            lines.extend(said.lines().next().map(str::to_owned));
        }
        Ok(lines)
    }

    /// Fetches and installs what is missing, and checks the sums of all, several things at once: one waits for the network
    /// while another is unpacked. Where no mirror can be asked, one error tells all that is missing.
    pub fn fetch(&self) -> Result<()> {
        type Job = Box<dyn Fn() -> Result<()> + Send>;
        let mut jobs: Vec<Job> = Vec::new();
        let mut programs = self.programs.clone();
        for &release in self.kernels.iter().collect::<BTreeSet<_>>() {
            jobs.push(Box::new(move || Kernel::open(release)?.check()));
        }
        jobs.push(Box::new(|| initramfs::busybox().map(drop)));
        for &tool in self.tools.iter().collect::<BTreeSet<_>>() {
            match tool {
                Tool::Testpmd => jobs.push(Box::new(dpdk::fetch)),
                // What we add of this machine's is stripped first.
                Tool::Disks | Tool::Xfs => {}
                Tool::Records | Tool::Vsock | Tool::PushBuffer | Tool::Traffic | Tool::Load => {
                    programs.push(programs::STRIP);
                }
                _ => jobs.push(Box::new(move || match tool.debian() {
                    Some(program) => program?.check(),
                    None => Ok(()),
                })),
            }
        }
        if self.tshark {
            jobs.push(Box::new(|| tshark::open()?.check()));
        }
        for &edition in self.debians.iter().collect::<BTreeSet<_>>() {
            jobs.push(Box::new(move || Debian::open(edition)?.check()));
        }
        if !self.debians.is_empty() {
            jobs.push(Box::new(|| ssh::client().map(drop)));
        }
        jobs.push(Box::new(move || programs::ensure(&programs)));

        let run = |job: thread::ScopedJoinHandle<'_, Result<()>>| {
            job.join().unwrap_or_else(|_| Err(anyhow!("a thread that fetches has panicked"))).err()
        };
        let errors: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();
            started.into_iter().filter_map(run).collect()
        });
        told(errors)
    }
}

/// All errors as one, in one line.
fn told(errors: Vec<Error>) -> Result<()> {
    let (far, others): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(|error| error.downcast_ref::<Unreachable>().is_some());
    // A full disk fails all that is fetched at once; one of them tells it.
    if let Some(first) = others.into_iter().next() {
        return Err(first);
    }
    let far: Vec<_> = far.iter().filter_map(|error| error.downcast_ref::<Unreachable>()).collect();
    let Some(first) = far.first() else { return Ok(()) };
    let packages: BTreeSet<_> =
        far.iter().flat_map(|error| &error.packages).map(String::as_str).collect();
    bail!(
        "no network ({}), and these packages are missing: {}; run the same command once with a \
         network, or copy {} from a machine where it ran",
        first.why,
        packages.into_iter().collect::<Vec<_>>().join(" "),
        cache::folder()?.display()
    );
}

#[cfg(test)]
#[path = "needs_test.rs"]
mod tests;
