//! Clients of Firecracker by others, unmodified, that take a machine of ours for one of theirs.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;
use tests::machine::Hypervisor;
use tests::net::Network;
use tests::process::Owned;
use tests::{cargo, host, idle, programs, python};

/// The clients from PyPI and what they need, with the sums of its files.
const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::ignorable_test("firecracker_python_drives_a_machine", || run(firecracker_python)),
        Trial::ignorable_test("microheart_drives_a_machine", || run(microheart)),
        Trial::ignorable_test("firepilot_drives_a_machine", || {
            run(|scene| crates(scene, "firepilot"))
        }),
        Trial::ignorable_test("fctools_drives_a_machine", || run(|scene| crates(scene, "fctools"))),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(test: fn(&Scene) -> Result<Option<&'static str>>) -> Result<Completion, Failed> {
    if let Err(error) = host::kvm() {
        return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
    }
    let done = Scene::new().and_then(|scene| test(&scene));
    match done.map_err(|error| format!("{error:#}"))? {
        None => Ok(Completion::Completed),
        Some(why) => Ok(Completion::ignored_with(why)),
    }
}

/// A folder with a program called `firecracker`, a kernel that halts, a disk, and a folder for the client.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Result<Scene> {
        let folder = tempfile::tempdir()?;
        let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { unreachable!("it is ours") };
        symlink(fs::canonicalize(vmm)?, folder.path().join("firecracker"))?;
        idle::kernel(folder.path())?;
        File::create(folder.path().join("disk"))?.set_len(1 << 20)?;
        fs::create_dir(folder.path().join("client"))?;
        Ok(Scene { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a client to its end, which must be a good one.
    fn finish(&self, client: &mut Command) -> Result<()> {
        // A file: a machine that a failed client leaves behind would keep a pipe open.
        let said = File::create(self.path("said"))?;
        client.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let status = Owned::spawn(client)?.wait(host::PATIENCE)?;
        let said = fs::read_to_string(self.path("said"))?;
        ensure!(status.is_some_and(|status| status.success()), "{status:?}: {said}");
        Ok(())
    }
}

fn firecracker_python(scene: &Scene) -> Result<Option<&'static str>> {
    scene.finish(&mut script(scene, "firecracker_python.py")?)?;
    Ok(None)
}

/// It makes a TAP, which nobody else shall see.
fn microheart(scene: &Scene) -> Result<Option<&'static str>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("TAPs are made by root only"));
    }
    programs::ensure(&[programs::IP])?;
    let (network, script) = (Network::new()?, script(scene, "microheart.py")?);
    let mut command = network.command(script.get_program());
    command.args(script.get_args()).current_dir(scene.path("client"));
    for (name, value) in script.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    scene.finish(&mut command)?;
    Ok(None)
}

/// A client in Python, in its folder.
fn script(scene: &Scene, name: &str) -> Result<Command> {
    let packages = python::packages("firecracker-python", REQUIREMENTS)?;
    let mut command = python::command(&packages);
    command.arg(cargo::workspace().join("tests/clients").join(name));
    command.args(["firecracker", "idle", "disk"].map(|name| scene.path(name))).arg(&packages);
    command.current_dir(scene.path("client"));
    Ok(command)
}

/// The crates are built for this test alone, so only where there is time for it.
fn crates(scene: &Scene, client: &str) -> Result<Option<&'static str>> {
    if std::env::var_os("VMM_LONG").is_none() {
        return Ok(Some("VMM_LONG is not set, and the client's crate has to be built"));
    }
    let mut command = Command::new(built()?);
    command
        .arg(client)
        .args(["firecracker", "idle", "disk", "client"].map(|name| scene.path(name)));
    scene.finish(&mut command)?;
    Ok(None)
}

fn built() -> Result<PathBuf> {
    let target = cargo::workspace().join("target/clients");
    let status = cargo::command()
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(cargo::workspace().join("tests/clients"))
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the clients were not built");
    Ok(target.join("debug/clients"))
}
