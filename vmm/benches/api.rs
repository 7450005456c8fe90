//! `cargo bench -p vmm --bench api`: what the API costs on this machine: the way to its first answer,
//! answers to one client and to many, and what a hundred thousand requests leave behind.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::api::{Api, Served};
use tests::bench::figures::{Figures, Target, row, rule};

const STARTS: usize = 30;
/// Requests of each of the 64 clients, and of the one.
const EACH: usize = 200;
const ALONE: usize = 10_000;
const MANY: usize = 100_000;
/// After so many, buffers have the size that they keep.
const WARM: usize = 5_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("api");
    let head = ["API", "figure", "target"];
    println!("{}\n{}", row(&head), rule(head.len()));
    let show = |what: &str, figure: String, judged: String| {
        println!("{}", row(&[what.to_string(), figure, judged]));
    };

    let (mut cpu, mut wall) = (Figures::default(), Figures::default());
    for _ in 0..STARTS {
        let begin = Instant::now();
        let served = serve(&socket)?;
        wall.add(begin.elapsed().as_secs_f64() * 1e3);
        cpu.add(cpu_ms(served.pid())?);
        served.api()?.act("Kill")?;
        served.end()?;
    }
    let judged = Target::AtMost(8.0).judge(cpu.median());
    show("CPU time from exec to the first answer, ms", cpu.to_string(), judged);
    show("wall clock from spawn to the first answer, ms", wall.to_string(), String::new());

    let served = serve(&socket)?;
    let p99 = quantile(&mut gets(&socket, ALONE)?, 0.99);
    show("GET /, one client, p99, ms", format!("{p99:.3}"), Target::AtMost(1.0).judge(p99));
    let clients = (0..64).map(|_| {
        let socket = socket.clone();
        thread::spawn(move || gets(&socket, EACH))
    });
    let clients: Vec<_> = clients.collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.join().ok().context("a client panicked")??);
    }
    let p99 = quantile(&mut all, 0.99);
    show("GET /, 64 clients, p99, ms", format!("{p99:.3}"), Target::AtMost(5.0).judge(p99));

    gets(&socket, WARM)?;
    let before = (resident_kib(served.pid())?, descriptors(served.pid())?);
    let begin = Instant::now();
    for _ in 0..MANY / 1000 {
        gets(&socket, 1000)?;
    }
    let rate = MANY as f64 / begin.elapsed().as_secs_f64();
    show("requests per second, one client", format!("{rate:.0}"), String::new());
    let after = (resident_kib(served.pid())?, descriptors(served.pid())?);
    let growth = after.0 as f64 - before.0 as f64;
    let judged = Target::AtMost(64.0).judge(growth);
    show("growth of resident memory over 100,000 requests, KiB", format!("{growth}"), judged);
    let growth = after.1 as f64 - before.1 as f64;
    // The connection closed last may not have been noticed yet.
    let judged = Target::AtMost(1.0).judge(growth);
    show("growth of open descriptors over 100,000 requests", format!("{growth}"), judged);
    Ok(())
}

fn serve(socket: &Path) -> Result<Served> {
    Served::start(Command::new(env!("CARGO_BIN_EXE_vmm")).args(["--serial", "none"]), socket)
}

/// How long each of `count` requests took, in milliseconds.
fn gets(socket: &Path, count: usize) -> Result<Vec<f64>> {
    let mut api = Api::connect(socket)?;
    (0..count)
        .map(|_| {
            let begin = Instant::now();
            let answer = api.ask("GET", "/", "")?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(begin.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}

fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * part) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// CPU time of all threads of a process, in milliseconds.
fn cpu_ms(pid: u32) -> Result<f64> {
    let mut ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split(' ').next().context("no time")?.parse::<u64>()?;
    }
    Ok(ns as f64 / 1e6)
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
