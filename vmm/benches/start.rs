//! `cargo bench -p vmm --bench start`: what a start of vmm costs on this machine, up to the first
//! KVM_RUN: CPU time, and memory outside the guest's.
//!
//! The guest is stopped there and killed, so that this runs on any `/dev/kvm`.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::bench::figures::{Figures, Target, row, rule};
use tests::bench::resident::Resident;
use tests::kernel::{Format, Kernel, Release};
use tests::process::Owned;

const MEMORY_MIB: u32 = 512;
const RUNS: usize = 50;

/// One start; times in milliseconds.
struct Start {
    cpu: f64,
    reading: f64,
    wall: f64,
    memory: Resident,
}

/// Figures of many starts.
#[derive(Default)]
struct Starts {
    cpu: Figures,
    reading: Figures,
    wall: Figures,
    outside: Figures,
    private: Figures,
    peak: Figures,
}

fn main() -> Result<()> {
    let kernel = Kernel::open(Release::Guest6_1)?;
    println!("{RUNS} starts with {MEMORY_MIB} MiB, {}\n", kernel.origin());
    let head = ["up to the first KVM_RUN", "min", "median", "max", "target"];
    println!("{}\n{}", row(&head), rule(head.len()));
    for (name, format) in [("bzImage", Format::BzImage), ("vmlinux", Format::Vmlinux)] {
        let image = kernel.image(format)?;
        start(&image).context("first start, which fills the page cache")?;
        let mut starts = Starts::default();
        for _ in 0..RUNS {
            starts.add(&start(&image)?);
        }
        starts.show(name);
    }
    Ok(())
}

impl Starts {
    fn add(&mut self, start: &Start) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        self.cpu.add(start.cpu);
        self.reading.add(start.reading);
        self.wall.add(start.wall);
        self.outside.add(mib(start.memory.outside));
        self.private.add(mib(start.memory.private));
        self.peak.add(mib(start.memory.outside_peak));
    }

    fn show(&self, kernel: &str) {
        let show = |what: &str, figures: &Figures, target: Option<f64>| {
            let judged = target.map(|limit| Target::AtMost(limit).judge(figures.median()));
            println!(
                "{}",
                row(&[
                    format!("{kernel}: {what}"),
                    format!("{:.2}", figures.min()),
                    format!("{:.2}", figures.median()),
                    format!("{:.2}", figures.max()),
                    judged.unwrap_or_default(),
                ])
            );
        };
        show("CPU time besides reading, ms", &self.cpu, Some(8.0));
        show("CPU time of reading the kernel, ms", &self.reading, None);
        show("wall clock from spawn, ms", &self.wall, None);
        show("resident outside guest memory, MiB", &self.outside, Some(4.0));
        show("of it private, MiB", &self.private, None);
        show("peak outside guest memory, MiB", &self.peak, None);
    }
}

/// Starts vmm up to its report, stops it there, looks at its memory, and kills it.
fn start(kernel: &Path) -> Result<Start> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmm"));
    command.arg("--kernel").arg(kernel).args(["--mem", &format!("{MEMORY_MIB}M")]);
    command.args(["--log-level", "info"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begin = Instant::now();
    let mut process = Owned::spawn(&mut command)?;
    let errors = process.child().stderr.take().context("no pipe")?;
    let mut said = String::new();
    for line in BufReader::new(errors).lines() {
        let line = line?;
        if let Some((cpu, reading)) = report(&line) {
            let wall = begin.elapsed().as_secs_f64() * 1e3;
            kill(Pid::from_raw(i32::try_from(process.pid())?), Signal::SIGSTOP)?;
            let memory = Resident::of(process.pid(), MEMORY_MIB)?;
            return Ok(Start { cpu, reading, wall, memory });
        }
        said += &format!("{line}\n");
    }
    bail!("vmm ended without a report of its start:\n{said}")
}

/// Milliseconds in `start: N us of CPU time ... besides M us for reading ...`.
fn report(line: &str) -> Option<(f64, f64)> {
    let (_, report) = line.split_once("start: ")?;
    let mut times = report.split(" us ").map(|part| part.rsplit(' ').next()?.parse::<f64>().ok());
    Some((times.next()?? / 1e3, times.next()?? / 1e3))
}
