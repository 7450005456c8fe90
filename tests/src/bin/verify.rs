//! `cargo verify`: every check of the project, one after the other, with a summary.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::process::{Owned, quiet};
use tests::tally::Tally;
use tests::{cargo, guest, host};

/// Check format, lints and tests; run the integration tests where KVM works.
#[derive(Parser)]
#[command(name = "cargo verify")]
struct Arguments {
    /// Run everything at full length
    #[arg(long)]
    long: bool,
}

/// The integration tests, which need a working KVM.
const INTEGRATION: &str = "integration";

/// Seconds a fuzz target runs.
const FUZZ_SECONDS: u64 = 30;
const FUZZ_SECONDS_LONG: u64 = 600;

/// No step takes longer than this, unless something hangs.
const STEP_LIMIT: Duration = Duration::from_secs(30 * 60);
const STEP_LIMIT_LONG: Duration = Duration::from_secs(6 * 3600);

struct Step {
    name: String,
    took: Duration,
    tally: Tally,
}

struct Verify {
    long: bool,
    steps: Vec<Step>,
}

fn main() -> ExitCode {
    let mut verify = Verify { long: Arguments::parse().long, steps: Vec::new() };
    verify.run_all();
    verify.summarise()
}

impl Verify {
    fn run_all(&mut self) {
        self.check("format", cargo::command().args(["fmt", "--all", "--check"]));
        self.check(
            "lints",
            cargo::command().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
        );
        self.tests(
            "unit and property tests",
            cargo::command().args(["test", "--workspace", "--exclude", "tests", "--no-fail-fast"]),
        );
        let vmm = match self.attempt("release build", cargo::vmm) {
            Some(path) => path,
            None => return,
        };
        if let Some(targets) = self.attempt("list of test programs", plain_test_targets) {
            let mut command = cargo::command();
            command.args(["test", "--package", "tests", "--lib", "--bins", "--no-fail-fast"]);
            command.args(targets.iter().flat_map(|name| ["--test", name])).env("VMM_BIN", &vmm);
            self.tests("tests without KVM", &mut command);
        }
        self.fuzz();
        self.integration(&vmm);
        let mut demo = cargo::command();
        demo.args(["run", "--quiet", "--package", "tests", "--bin", "demo", "--", "--vmm"])
            .arg(&vmm);
        self.check("demo", &mut demo);
    }

    fn limit(&self) -> Duration {
        if self.long { STEP_LIMIT_LONG } else { STEP_LIMIT }
    }

    /// A step that is itself one check.
    fn check(&mut self, name: &str, command: &mut Command) {
        self.step(name, |limit| {
            run(command, limit, |_| ())?;
            Ok(Tally { passed: 1, ..Tally::default() })
        });
    }

    /// A step whose output tells of many tests.
    fn tests(&mut self, name: &str, command: &mut Command) {
        self.tests_again(name, command, 1);
    }

    /// The same, up to `tries` times while it ends badly without a failed test: an emulated testbed
    /// dies now and then.
    fn tests_again(&mut self, name: &str, command: &mut Command, tries: u32) {
        self.step(name, |limit| {
            let mut tally = Tally::default();
            let mut result = run(command, limit, |line| tally.read(line));
            for _ in 1..tries {
                match &result {
                    Err(error) if tally.failed.is_empty() => println!("{name}, again: {error:#}"),
                    _ => break,
                }
                tally = Tally::default();
                result = run(command, limit, |line| tally.read(line));
            }
            match result {
                // A failed test is told by its name; anything else has to be told here.
                Err(error) if tally.failed.is_empty() => tally.failed.push(format!("{error:#}")),
                Ok(()) if tally == Tally::default() => bail!("no test ran"),
                _ => (),
            }
            Ok(tally)
        });
    }

    /// A step that makes something for later ones, and is told only if it fails.
    fn attempt<T>(&mut self, name: &str, make: impl FnOnce() -> Result<T>) -> Option<T> {
        let mut made = None;
        self.step(name, |_| {
            made = Some(make()?);
            Ok(Tally::default())
        });
        made
    }

    fn step(&mut self, name: &str, run: impl FnOnce(Duration) -> Result<Tally>) {
        println!("==== {name}");
        let start = Instant::now();
        let tally = run(self.limit()).unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Tally { failed: vec![format!("{error:#}")], ..Tally::default() }
        });
        self.steps.push(Step { name: name.to_owned(), took: start.elapsed(), tally });
    }

    fn fuzz(&mut self) {
        let folder = cargo::workspace().join("tests/fuzz");
        if !folder.join("Cargo.toml").is_file() {
            return;
        }
        let seconds = if self.long { FUZZ_SECONDS_LONG } else { FUZZ_SECONDS };
        self.step("fuzz targets", |limit| fuzz(&folder, seconds, limit));
    }

    fn integration(&mut self, vmm: &Path) {
        let Some(program) =
            self.attempt("build of the integration tests", || cargo::test(INTEGRATION))
        else {
            return;
        };
        let Some(parts) =
            self.attempt("list of the integration tests", || parts_of_integration(&program))
        else {
            return;
        };
        let emulated = host::no_hardware_kvm().is_some();
        if !emulated {
            let fetch = || host::ensure(&[host::IP]).and_then(|()| guest::fetch());
            if self.attempt("fetching guests", fetch).is_none() {
                return;
            }
        }
        // An emulated testbed dies now and then after some minutes, so each part gets its own.
        for part in parts {
            let filter = format!("{part}::");
            let mut command = self.integration_command(&program, vmm, emulated, &[&filter]);
            self.tests_again(&format!("integration tests: {part}"), &mut command, 4);
            if emulated {
                self.repeat_failed(&program, vmm);
            }
        }
    }

    fn integration_command(
        &self,
        program: &Path,
        vmm: &Path,
        emulated: bool,
        choice: &[&str],
    ) -> Command {
        let mut command = if emulated {
            let mut command = cargo::command();
            let seconds = self.limit().as_secs().to_string();
            command.args(["run", "--quiet", "--package", "tests", "--bin", "testbed", "--"]);
            command.args(["--timeout", &seconds, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Guests have up to four CPUs; under an emulated CPU two at once break each other.
        let at_once = if emulated { "1" } else { "2" };
        command.args(["--test-threads", at_once, "--color", "never"]).env("VMM_BIN", vmm);
        command.args(choice);
        if self.long {
            command.env("VMM_LONG", "1");
        }
        command
    }

    /// Repeats each failed test of the last step twice, in a testbed of its own: an emulated CPU loses
    /// guests at any time, and a fault of ours shows each time. What passes then is said aloud.
    fn repeat_failed(&mut self, program: &Path, vmm: &Path) {
        const REPEATS: u32 = 2;
        let limit = self.limit();
        let Some(failed) = self.steps.last().map(|step| step.tally.failed.clone()) else { return };
        for name in failed.iter().filter(|name| name.contains("::")) {
            for nth in 1..=REPEATS {
                println!("{name}: repeat {nth}");
                let mut tally = Tally::default();
                let mut again = self.integration_command(program, vmm, true, &[name, "--exact"]);
                let ended = run(&mut again, limit, |line| tally.read(line));
                if ended.is_ok() && tally.passed == 1 {
                    println!("{name}: passed when repeated");
                    if let Some(step) = self.steps.last_mut() {
                        step.tally.failed.retain(|other| other != name);
                        step.tally.passed += 1;
                    }
                    break;
                }
            }
        }
    }

    fn summarise(&self) -> ExitCode {
        let mut sum = Tally::default();
        println!("\n==== summary");
        for step in &self.steps {
            let mark = if step.tally.failed.is_empty() { "ok  " } else { "FAIL" };
            println!("{mark} {:7.1} s  {:32} {}", step.took.as_secs_f64(), step.name, step.tally);
            sum.add(&step.name, &step.tally);
        }
        for name in &sum.skipped {
            println!("SKIPPED {name}");
        }
        for name in &sum.failed {
            println!("FAILED  {name}");
        }
        println!("{sum}");
        if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs a command with its output shown, and each line of it handed to `each`.
fn run(command: &mut Command, limit: Duration, mut each: impl FnMut(&str)) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut process = Owned::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = process.child().stdout.take().context("the output is missing")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{line}");
                each(line.trim_end_matches('\r'));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("not done within {} minutes", limit.as_secs() / 60)
            }
        }
    }
    match process.wait(deadline.saturating_duration_since(Instant::now()))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("ended with {status}"),
        None => bail!("not done within {} minutes", limit.as_secs() / 60),
    }
}

/// The parts of the integration tests, which stand before the first `::` of each name.
fn parts_of_integration(program: &Path) -> Result<Vec<String>> {
    let listed = Command::new(program).arg("--list").output().context("cannot run the tests")?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let mut parts: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_once("::")?.0.to_owned())).collect();
    parts.dedup();
    if parts.is_empty() {
        bail!("no integration test is listed");
    }
    Ok(parts)
}

/// Test programs of this crate that run anywhere: all but the integration tests.
fn plain_test_targets() -> Result<Vec<String>> {
    let folder = cargo::workspace().join("tests/tests");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs every fuzz target for a time, on the stored corpus.
fn fuzz(folder: &Path, seconds: u64, limit: Duration) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets")).context("no folder fuzz_targets")? {
        targets.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    let has_nightly = quiet(Command::new("cargo").args(["+nightly", "--version"])).is_ok();
    if !has_nightly {
        println!("fuzz targets need a nightly toolchain, and there is none");
        tally.skipped.extend(targets.iter().map(|name| format!("{name}: no nightly toolchain")));
        return Ok(tally);
    }
    if host::find("cargo-fuzz").is_none()
        && quiet(Command::new("cargo").args(["fuzz", "--version"])).is_err()
    {
        println!("installing cargo-fuzz with cargo");
        quiet(Command::new("cargo").args(["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    let fuzz = |verb: &str, name: &str| {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", verb, "--fuzz-dir"]).arg(folder).arg(name);
        // Set for this process by the stable cargo that runs it.
        command.current_dir(folder).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    };
    for name in &targets {
        // New inputs go to the first folder; the stored corpus stays as it is.
        let found = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut command = fuzz("run", name);
        command.arg(found.path());
        let corpus = folder.join("corpus").join(name);
        if corpus.is_dir() {
            command.arg(corpus);
        }
        command.args([
            "--",
            "-rss_limit_mb=2048",
            "-timeout=10",
            // Leaks are told at the end: looking for them after each input takes most of the time.
            "-detect_leaks=0",
            &format!("-max_total_time={seconds}"),
        ]);
        match run(&mut command, limit, |_| ()) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                println!("fuzz target {name}: {error:#}");
                tally.failed.push(name.clone());
            }
        }
    }
    Ok(tally)
}
