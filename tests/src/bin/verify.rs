//! `cargo verify`: every check of the project, one after the other, with a summary.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use tests::batches::{self, Rules};
use tests::needs::Needs;
use tests::process::{brief, heard_while, once_more, quiet, stdout_of};
use tests::tally::Tally;
use tests::testbed::Testbed;
use tests::told::Told;
use tests::{cargo, host, native};

/// Check format, lints and tests; run the integration tests where KVM works.
#[derive(Parser)]
#[command(name = "cargo verify")]
struct Arguments {
    /// Run everything at full length
    #[arg(long)]
    long: bool,
    /// Run only the steps whose name contains this, and what they need
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The integration tests, which need a working KVM.
const INTEGRATION: &str = "integration";

/// Seconds a fuzz target runs.
const FUZZ_SECONDS: u64 = 20;
const FUZZ_SECONDS_LONG: u64 = 600;

/// What fuzz targets are built for: with a sanitizer, so not for whatever cargo takes by itself.
const FUZZ_TARGET: &str = "x86_64-unknown-linux-gnu";

/// No step takes longer than this unless something hangs.
const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);
const STEP_LIMIT_LONG: Duration = Duration::from_secs(6 * 3600);

/// No test in a testbed is silent for longer than this unless something hangs: ten times what the longest takes.
const TEST_LIMIT: Duration = Duration::from_secs(6 * 60);
const TEST_LIMIT_LONG: Duration = Duration::from_secs(2 * 3600);

struct Step {
    name: String,
    took: Duration,
    tally: Tally,
}

impl Step {
    fn fail(&mut self, error: &anyhow::Error) {
        println!("{}: {error:#}", self.name);
        self.tally.failed.push(format!("{error:#}"));
    }
}

struct Verify {
    long: bool,
    only: Option<String>,
    steps: Vec<Step>,
    /// What guests and testbeds were made of.
    versions: Vec<String>,
}

fn main() -> ExitCode {
    let Arguments { long, only } = Arguments::parse();
    let mut verify = Verify { long, only, steps: Vec::new(), versions: Vec::new() };
    verify.run_all();
    verify.summarise()
}

impl Verify {
    fn run_all(&mut self) {
        let mut needs = Needs::of_tests(self.long);
        if host::no_hardware_kvm().is_some() {
            needs = needs.and(Testbed::own_needs());
        }
        // Waits for the network, and for the one CPU that links, are filled with checks that only
        // compile; no test runs beside them.
        let wanted = needs.clone();
        let fetched = begin(move || wanted.fetch());
        let vmm = begin(cargo::vmm);
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
        // It is no part of the workspace, as it is linked in a way of its own.
        let guest = cargo::workspace().join(native::guest::FOLDER);
        let mut format = cargo::command();
        self.check(
            "format of the native guest",
            format.args(["fmt", "--check"]).current_dir(&guest),
        );
        let mut lints = cargo::command();
        lints.args(["clippy", "--quiet", "--target-dir"]).arg(native::guest::target());
        self.check(
            "lints of the native guest",
            lints.args(["--", "-D", "warnings"]).current_dir(&guest),
        );
        self.check(
            "documentation",
            cargo::command()
                .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
                // Private items are documented too, so links to them lead somewhere.
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
        );
        let vmm = self.finish("release build", vmm);
        let is_fetched = self.finish("fetching guests", fetched).is_some();
        self.tests(
            "unit and property tests",
            cargo::command().args(["test", "--workspace", "--exclude", "tests", "--no-fail-fast"]),
        );
        let Some(vmm) = vmm else { return };
        if let Some(targets) = self.attempt("list of test programs", plain_test_targets) {
            let mut command = cargo::command();
            command.args(["test", "--package", "tests", "--lib", "--bins", "--no-fail-fast"]);
            command.args(targets.iter().flat_map(|name| ["--test", name])).env("VMM_BIN", &vmm);
            if self.long {
                command.env("VMM_LONG", "1");
            }
            self.tests("tests without KVM", &mut command);
        }
        self.fuzz();
        if is_fetched {
            self.integration(&vmm, &needs);
        }
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
            Ok(Tally { passed: vec![name.to_owned()], ..Tally::default() })
        });
    }

    /// A step whose output tells of many tests.
    fn tests(&mut self, name: &str, command: &mut Command) {
        self.step(name, |limit| {
            let mut tally = Tally::default();
            match run(command, limit, |line| drop(tally.read(line))) {
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
        self.timed(name, |_| {
            made = Some(make()?);
            Ok(Tally::default())
        });
        made
    }

    /// Such a step that was begun earlier. Its time is its own, however long is waited for it.
    fn finish<T>(&mut self, name: &str, begun: JoinHandle<(Result<T>, Duration)>) -> Option<T> {
        let made = self.attempt(name, || {
            begun.join().map_err(|_| anyhow!("the thread that makes it has panicked"))
        });
        let (made, took) = made?;
        let step = self.steps.last_mut()?;
        step.took = took;
        made.inspect_err(|error| step.fail(error)).ok()
    }

    fn step(&mut self, name: &str, run: impl FnOnce(Duration) -> Result<Tally>) {
        if self.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            self.timed(name, run);
        }
    }

    fn timed(&mut self, name: &str, run: impl FnOnce(Duration) -> Result<Tally>) {
        println!("==== {name}");
        let start = Instant::now();
        let ended = run(self.limit());
        let mut step =
            Step { name: name.to_owned(), took: start.elapsed(), tally: Tally::default() };
        match ended {
            Ok(tally) => step.tally = tally,
            Err(error) => step.fail(&error),
        }
        self.steps.push(step);
    }

    fn fuzz(&mut self) {
        let folder = cargo::workspace().join("tests/fuzz");
        if !folder.join("Cargo.toml").is_file() {
            return;
        }
        let seconds = if self.long { FUZZ_SECONDS_LONG } else { FUZZ_SECONDS };
        self.step("fuzz targets", |limit| fuzz(&folder, seconds, limit));
    }

    fn integration(&mut self, vmm: &Path, needs: &Needs) {
        let Some(program) =
            self.attempt("build of the integration tests", || cargo::test(INTEGRATION))
        else {
            return;
        };
        self.versions =
            needs.versions().unwrap_or_else(|error| vec![format!("versions: {error:#}")]);
        if host::no_hardware_kvm().is_some() {
            let long = self.long;
            self.step("integration tests", |_| in_testbeds(&program, vmm, long));
        } else {
            let mut command = Command::new(program);
            // Guests have up to four CPUs.
            command.args(["--test-threads", "2", "--color", "never"]).env("VMM_BIN", vmm);
            if self.long {
                command.env("VMM_LONG", "1");
            }
            self.tests("integration tests", &mut command);
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
        for line in &self.versions {
            println!("{line}");
        }
        for name in &sum.skipped {
            println!("SKIPPED {name}");
        }
        for name in &sum.repeated {
            println!("REPEATED {name}");
        }
        for name in &sum.failed {
            println!("FAILED  {name}");
        }
        println!("{sum}");
        if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Begins to make something beside other steps.
fn begin<T: Send + 'static>(
    make: impl FnOnce() -> Result<T> + Send + 'static,
) -> JoinHandle<(Result<T>, Duration)> {
    thread::spawn(move || {
        let start = Instant::now();
        let made = make();
        (made, start.elapsed())
    })
}

/// Runs a command with its output shown, and each line of it handed to `each`.
fn run(command: &mut Command, limit: Duration, mut each: impl FnMut(&str)) -> Result<()> {
    let start = Instant::now();
    let patient = || start.elapsed() < limit;
    let status = heard_while(command.stdin(Stdio::null()), patient, |line| {
        println!("{line}");
        each(line);
    })?
    .with_context(|| format!("not done within {} minutes", limit.as_secs() / 60))?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// Runs the integration tests in as many testbeds at once as there are CPUs to emulate theirs.
fn in_testbeds(program: &Path, vmm: &Path, long: bool) -> Result<Tally> {
    let names = integration_tests(program, long)?;
    let cpus = thread::available_parallelism().map_or(1, |count| count.get());
    let rules =
        Rules { runners: cpus.min(4), batch: 24, least: 8, tries_if_lost: 3, tries_if_failed: 2 };
    println!(
        "{} tests, {} testbeds at once: {}",
        names.len(),
        rules.runners,
        Testbed::default().describe()
    );
    let times = Mutex::new(Vec::new());
    let (booted, restored) = (AtomicU32::new(0), AtomicU32::new(0));
    let in_one = |runner: usize, batch: &[String]| {
        let mut tally = Tally::default();
        let mut environment = vec![
            ("VMM_BIN", vmm.as_os_str().to_owned()),
            ("VMM_TESTS", OsString::from(batch.join("\n"))),
        ];
        if long {
            environment.push(("VMM_LONG", "1".into()));
        }
        let timeout = if long { TEST_LIMIT_LONG } else { TEST_LIMIT };
        let testbed = Testbed { timeout, environment, ..Testbed::default() };
        let command = [program.as_os_str(), OsStr::new("--color"), OsStr::new("never")];
        let ended = testbed.run_heard(&command.map(OsString::from), |line| {
            if !line.is_empty() {
                println!("{runner}| {line}");
            }
            match Told::read(line) {
                Some(Told::Took { time, test }) => {
                    times.lock().unwrap_or_else(PoisonError::into_inner).push((time, test));
                }
                Some(Told::Guests { booted: boots, restored: restores }) => {
                    booted.fetch_add(boots, Ordering::Relaxed);
                    restored.fetch_add(restores, Ordering::Relaxed);
                }
                None => drop(tally.read(line)),
            }
        });
        if let Err(error) = ended {
            println!("{runner}| {error:#}");
        }
        tally
    };
    let tally = batches::run(names, &rules, in_one);
    tell_slowest(times.into_inner().unwrap_or_else(PoisonError::into_inner));
    println!("{} guests were booted, {} restored", booted.into_inner(), restored.into_inner());
    Ok(tally)
}

/// Says where the time of tests went, of which some run side by side.
fn tell_slowest(mut times: Vec<(Duration, String)>) {
    times.sort();
    println!("the slowest tests:");
    for (took, test) in times.iter().rev().take(15) {
        println!("{:7.1} s  {test}", took.as_secs_f64());
    }
}

/// Names of all integration tests.
fn integration_tests(program: &Path, long: bool) -> Result<Vec<String>> {
    let mut command = Command::new(program);
    if long {
        command.env("VMM_LONG", "1");
    }
    let text = stdout_of(command.arg("--list"))?;
    let names: Vec<_> =
        text.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect();
    ensure!(!names.is_empty(), "no integration test is listed");
    Ok(names)
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
        let install = ["install", "--quiet", "--locked", "cargo-fuzz"];
        once_more(|_| brief(Command::new("cargo").args(install)))
            .context("cannot install cargo-fuzz; with a network run: cargo install cargo-fuzz")?;
    }
    let built = folder.join("target");
    let mut build = Command::new("cargo");
    build.args(["+nightly", "fuzz", "build", "--target", FUZZ_TARGET, "--fuzz-dir"]).arg(folder);
    // Set for this process by the stable cargo that runs it.
    build.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").arg("--target-dir").arg(&built);
    run(build.current_dir(folder), limit, |_| ())?;
    let one = |name: &String| -> Result<()> {
        // New inputs go to the first folder; the stored corpus stays as it is.
        let found = tempfile::tempdir().context("cannot make a temporary folder")?;
        let corpus = folder.join("corpus").join(name);
        ensure!(corpus.is_dir(), "there is no folder {}", corpus.display());
        let artifacts = folder.join("artifacts").join(name);
        fs::create_dir_all(&artifacts).context("no folder for what is found")?;
        let mut command = Command::new(built.join(FUZZ_TARGET).join("release").join(name));
        command.env("ASAN_OPTIONS", "detect_odr_violation=0");
        command.arg(found.path()).arg(corpus).args([
            // With its slash: it begins the names of files.
            &format!("-artifact_prefix={}/", artifacts.display()),
            "-rss_limit_mb=2048",
            "-timeout=10",
            // Leaks are told at the end: looking for them after each input takes most of the time.
            "-detect_leaks=0",
            &format!("-max_total_time={seconds}"),
        ]);
        run(&mut command, limit, |_| ())
    };
    // Each takes one CPU.
    let (waiting, tally) = (Mutex::new(targets.iter()), Mutex::new(tally));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(name) = next() {
            let ended = one(name);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(()) => tally.passed.push(name.clone()),
                Err(error) => {
                    println!("fuzz target {name}: {error:#}");
                    tally.failed.push(name.clone());
                }
            }
        }
    };
    let cpus = thread::available_parallelism().map_or(1, |count| count.get());
    thread::scope(|scope| {
        for _ in 0..cpus {
            scope.spawn(work);
        }
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}
