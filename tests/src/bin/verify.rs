//! `cargo verify`: every check of the project, one after the other, with a summary.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use clap::Parser;
use tests::abreast;
use tests::batches::{self, Rules};
use tests::cargo::TestProgram;
use tests::needs::Needs;
use tests::process::{shown, shown_as, stdout_of};
use tests::tally::Tally;
use tests::testbed::Testbed;
use tests::told::Told;
use tests::{cargo, fuzzing, host, native};

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

/// Steps that run test programs.
const UNITS: &str = "unit and property tests";
const PLAIN: &str = "tests without Linux";
const INTEGRATIONS: &str = "integration tests";

/// The package of test programs that drive vmm as a whole.
const TESTS: &str = "tests";
/// The one of them whose guests are Linux, which need a working KVM.
const INTEGRATION: &str = "integration";
/// Those that take longest.
const LONGEST: [&str; 5] = ["native_snapshot", "schemathesis", "bench", "shield", "native"];

/// Time that a fuzz target runs.
const FUZZING: Duration = Duration::from_secs(10);
const FUZZING_LONG: Duration = Duration::from_secs(600);

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
        let programs = [UNITS, PLAIN, INTEGRATIONS].iter().any(|name| self.is_wanted(name));
        let programs = programs
            .then(|| self.attempt("build of the tests", || cargo::tests(&["test", "--workspace"])))
            .flatten();
        let vmm = self.finish("release build", vmm);
        let is_fetched = self.finish("fetching guests", fetched).is_some();
        self.check(
            "examples in the documentation",
            cargo::command().args(["test", "--quiet", "--workspace", "--doc"]),
        );
        let Some(vmm) = vmm else { return };
        let (ours, units): (Vec<_>, Vec<_>) =
            programs.into_iter().flatten().partition(|program| program.folder.ends_with(TESTS));
        self.programs(UNITS, &units, |_| ());
        let (integration, mut plain): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|program| program.name == INTEGRATION);
        // The longest first, so that no CPU waits for the other in the end.
        plain.sort_by_key(|program| !LONGEST.contains(&program.name.as_str()));
        let long = self.long;
        self.programs(PLAIN, &plain, |command| {
            command.env("VMM_BIN", &vmm);
            if long {
                command.env("VMM_LONG", "1");
            }
        });
        let each = if self.long { FUZZING_LONG } else { FUZZING };
        self.step("fuzz targets", |limit| fuzzing::run(each, limit));
        if let (true, [program]) = (is_fetched, integration.as_slice()) {
            self.integration(&program.file, &vmm, &needs);
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
            shown(command, limit, |_| ())?;
            Ok(Tally { passed: vec![name.to_owned()], ..Tally::default() })
        });
    }

    /// A step whose output tells of many tests.
    fn tests(&mut self, name: &str, command: &mut Command) {
        self.step(name, |limit| {
            let mut tally = Tally::default();
            match shown(command, limit, |line| drop(tally.read(line))) {
                // A failed test is told by its name; anything else has to be told here.
                Err(error) if tally.failed.is_empty() => tally.failed.push(format!("{error:#}")),
                Ok(()) if tally == Tally::default() => bail!("no test ran"),
                _ => (),
            }
            Ok(tally)
        });
    }

    /// A step of test programs that run side by side.
    fn programs(
        &mut self,
        name: &str,
        programs: &[TestProgram],
        adjust: impl Fn(&mut Command) + Sync,
    ) {
        self.step(name, |limit| {
            let tally = abreast::run(programs, |runner, program| {
                let mut command = Command::new(&program.file);
                adjust(command.current_dir(&program.folder));
                let begun = Instant::now();
                let mut tally = Tally::default();
                println!("{runner}| {}", program.file.display());
                let ended = shown_as(&format!("{runner}| "), &mut command, limit, |line| {
                    drop(tally.read(line));
                });
                println!("{runner}| {} took {:.1} s", program.name, begun.elapsed().as_secs_f64());
                // A failed test is told by its name; anything else has to be told here.
                if let (Err(error), true) = (ended, tally.failed.is_empty()) {
                    tally.failed.push(format!("{}: {error:#}", program.name));
                }
                tally
            });
            ensure!(tally != Tally::default(), "no test ran");
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
        if self.is_wanted(name) {
            self.timed(name, run);
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
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

    fn integration(&mut self, program: &Path, vmm: &Path, needs: &Needs) {
        self.versions =
            needs.versions().unwrap_or_else(|error| vec![format!("versions: {error:#}")]);
        if host::no_hardware_kvm().is_some() {
            let long = self.long;
            self.step(INTEGRATIONS, |_| in_testbeds(program, vmm, long));
        } else {
            let mut command = Command::new(program);
            // Guests have up to four CPUs.
            command.args(["--test-threads", "2", "--color", "never"]).env("VMM_BIN", vmm);
            if self.long {
                command.env("VMM_LONG", "1");
            }
            self.tests(INTEGRATIONS, &mut command);
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
