//! Building parts of this workspace from its own tools.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A line of cargo's JSON output, as far as we care.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Cargo itself: the one that started us, if one did.
pub fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(PathBuf::from).unwrap_or(tests)
}

/// Runs a cargo command that builds; returns what it says of each executable.
fn build_all(arguments: &[&str]) -> Result<impl Iterator<Item = Message>> {
    let output = command()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    let lines: Vec<Message> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    Ok(lines
        .into_iter()
        .filter(|message| message.reason == "compiler-artifact" && message.executable.is_some()))
}

/// Returns the file of the executable `name` of a kind such as `bin` or `test`.
fn build(arguments: &[&str], kind: &str, name: &str) -> Result<PathBuf> {
    build_all(arguments)?
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|t| t.name == name && t.kind.iter().any(|k| k == kind))
        })
        .find_map(|message| message.executable)
        .with_context(|| format!("cargo {} built no {name}", arguments.join(" ")))
}

/// A test program, and the folder of its package, in which it runs.
pub struct TestProgram {
    pub name: String,
    pub file: PathBuf,
    pub folder: PathBuf,
}

/// Builds the test programs that a cargo command such as `test --workspace` runs.
pub fn tests(arguments: &[&str]) -> Result<Vec<TestProgram>> {
    let arguments = [arguments, &["--no-run"]].concat();
    let built = build_all(&arguments)?;
    let tests = built.filter(|message| message.profile.as_ref().is_some_and(|p| p.test));
    Ok(tests
        .filter_map(|message| {
            Some(TestProgram {
                name: message.target?.name,
                file: message.executable?,
                folder: message.manifest_path?.parent()?.to_owned(),
            })
        })
        .collect())
}

/// The release build of vmm.
pub fn vmm() -> Result<PathBuf> {
    build(&["build", "--release", "--package", "vmm", "--bin", "vmm"], "bin", "vmm")
}

/// The vmm with an intruder in it: a debug build.
pub fn intruder() -> Result<PathBuf> {
    let name = "vmm-intruder";
    build(&["build", "--package", "vmm", "--features", "intruder", "--bin", name], "bin", name)
}

/// An example of a package, built as vmm is.
pub fn example(package: &str, name: &str) -> Result<PathBuf> {
    build(&["build", "--release", "--package", package, "--example", name], "example", name)
}

/// The same, built as we are: nobody looks at how long it takes.
pub fn slow_example(package: &str, name: &str) -> Result<PathBuf> {
    build(&["build", "--package", package, "--example", name], "example", name)
}

/// A program of this crate, such as `load`, built as we are.
pub fn program(name: &str) -> Result<PathBuf> {
    build(&["build", "--package", "tests", "--bin", name], "bin", name)
}

/// A test program of this crate, such as `boot`.
pub fn test(name: &str) -> Result<PathBuf> {
    build(&["test", "--no-run", "--package", "tests", "--test", name], "test", name)
}
