//! Fuzz targets: built as libFuzzer asks for it, and run for a time on their stored inputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::abreast;
use crate::cargo;
use crate::process::{quiet, shown};
use crate::tally::Tally;

/// Named to cargo, so that build scripts and macros, which run on the host, go without a sanitizer.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What libFuzzer and its sanitizer want of the compiler (SanitizerCoverage and AddressSanitizer in
/// Clang's documentation): counters of edges and where they lie, and calls at comparisons, so that inputs
/// can be made that satisfy them.
const FLAGS: [&str; 10] = [
    "--cfg=fuzzing",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// The folder of the fuzz targets, which are a workspace of their own.
pub fn folder() -> PathBuf {
    cargo::workspace().join("tests/fuzz")
}

/// Builds all targets and runs each for so long. Without a nightly toolchain they are skipped, by name.
pub fn run(each: Duration, limit: Duration) -> Result<Tally> {
    let folder = folder();
    let targets = targets(&folder)?;
    if quiet(Command::new("cargo").args(["+nightly", "--version"])).is_err() {
        println!("fuzz targets need a nightly toolchain, and there is none");
        let skipped = targets.iter().map(|name| format!("{name}: no nightly toolchain"));
        return Ok(Tally { skipped: skipped.collect(), ..Tally::default() });
    }
    let built = build(&folder, limit)?;
    Ok(abreast::run(&targets, |_, name| {
        let mut tally = Tally::default();
        match fuzz(&folder, &built, name, each, limit) {
            Ok(()) => tally.passed.push(name.clone()),
            Err(error) => {
                println!("fuzz target {name}: {error:#}");
                tally.failed.push(name.clone());
            }
        }
        tally
    }))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets")).context("no folder fuzz_targets")? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Returns the folder of the executables.
fn build(folder: &Path, limit: Duration) -> Result<PathBuf> {
    let built = folder.join("target");
    let mut build = Command::new("cargo");
    build.args(["+nightly", "build", "--quiet", "--release", "--bins", "--target", TRIPLE]);
    // Set for this process by the stable cargo that runs it.
    build.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    build.arg("--target-dir").arg(&built).current_dir(folder);
    shown(&mut build, limit, |_| ())?;
    Ok(built.join(TRIPLE).join("release"))
}

fn fuzz(folder: &Path, built: &Path, name: &str, each: Duration, limit: Duration) -> Result<()> {
    // New inputs go to the first folder; the stored ones stay as they are.
    let found = tempfile::tempdir().context("cannot make a temporary folder")?;
    let corpus = folder.join("corpus").join(name);
    ensure!(corpus.is_dir(), "there is no folder {}", corpus.display());
    let artifacts = folder.join("artifacts").join(name);
    fs::create_dir_all(&artifacts).context("no folder for what is found")?;
    let mut command = Command::new(built.join(name));
    command.env("ASAN_OPTIONS", "detect_odr_violation=0");
    command.arg(found.path()).arg(corpus).args([
        // With its slash: it begins the names of files.
        &format!("-artifact_prefix={}/", artifacts.display()),
        "-rss_limit_mb=2048",
        "-timeout=10",
        // Leaks are told at the end: looking for them after each input takes most of the time.
        "-detect_leaks=0",
        &format!("-max_total_time={}", each.as_secs()),
    ]);
    shown(&mut command, limit, |_| ())
}
