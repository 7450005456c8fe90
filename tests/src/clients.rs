//! Clients of Firecracker by others, and what they are given: a program of that name, a kernel, a disk.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::guest::initramfs;
use crate::kernel::{Format, Kernel, Release};
use crate::machine::Hypervisor;
use crate::process::Owned;
use crate::{cargo, host, idle, python};

/// The clients from PyPI and what they need, with the sums of its files.
const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");

/// A folder with a program called `firecracker`, a kernel, a disk, and a folder for the client.
pub struct Scene {
    folder: TempDir,
    kernel: PathBuf,
    /// What a client is told besides.
    variables: Vec<(&'static str, PathBuf)>,
}

impl Scene {
    /// One whose kernel halts.
    pub fn idle() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        symlink(ours()?, folder.path().join("firecracker"))?;
        let kernel = idle::kernel(folder.path())?;
        Self::of(folder, kernel)
    }

    /// One whose kernel is Linux; clients wait until it has come up, by what is on its console.
    pub fn linux(release: Release) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("bin"))?;
        symlink(ours()?, path("bin/firecracker"))?;
        // Whatever a client does with the output of what it starts.
        let (program, console) = (path("bin/firecracker"), path("console"));
        let script =
            format!("#!/bin/sh\nexec {} \"$@\" >{}\n", program.display(), console.display());
        fs::write(path("firecracker"), script)?;
        fs::set_permissions(path("firecracker"), Permissions::from_mode(0o755))?;
        fs::write(path("initrd"), initramfs(release, &[])?)?;
        let variables = vec![("CLIENTS_INITRD", path("initrd")), ("CLIENTS_CONSOLE", console)];
        let kernel = Kernel::open(release)?.image(Format::Vmlinux)?;
        Ok(Self { variables, ..Self::of(folder, kernel)? })
    }

    fn of(folder: TempDir, kernel: PathBuf) -> Result<Self> {
        File::create(folder.path().join("disk"))?.set_len(1 << 20)?;
        fs::create_dir(folder.path().join("client"))?;
        Ok(Self { folder, kernel, variables: Vec::new() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a client to its end, which must be a good one.
    pub fn finish(&self, client: &mut Command) -> Result<()> {
        // A file: a machine that a failed client leaves behind would keep a pipe open.
        let said = File::create(self.path("said"))?;
        client.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        client.envs(self.variables.iter().cloned());
        let status = Owned::spawn(client)?.wait(2 * host::PATIENCE)?;
        let said = fs::read_to_string(self.path("said"))?;
        ensure!(status.is_some_and(|status| status.success()), "{status:?}: {said}");
        Ok(())
    }

    /// A client in Python, in its folder.
    pub fn script(&self, name: &str) -> Result<Command> {
        let packages = python::packages("firecracker-python", REQUIREMENTS)?;
        let mut command = python::command(&packages);
        command.arg(cargo::workspace().join("tests/clients").join(name));
        command.arg(self.path("firecracker")).arg(&self.kernel).arg(self.path("disk"));
        command.arg(&packages).current_dir(self.path("client"));
        Ok(command)
    }

    /// A client that is a crate, which [`build`] has built.
    pub fn of_crate(&self, client: &str) -> Result<Command> {
        let mut command = Command::new(built());
        command.arg(client).arg(self.path("firecracker")).arg(&self.kernel);
        command.args(["disk", "client"].map(|name| self.path(name)));
        Ok(command)
    }
}

fn ours() -> Result<PathBuf> {
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { unreachable!("it is ours") };
    Ok(fs::canonicalize(vmm)?)
}

fn target() -> PathBuf {
    cargo::workspace().join("target/clients")
}

/// The program that has the crates, if it is built.
pub fn built() -> PathBuf {
    target().join("debug/clients")
}

/// Why the crates cannot be had, if that is so.
pub fn unbuilt() -> Option<&'static str> {
    let is_there = Path::is_file(&built());
    (!is_there)
        .then_some("the clients' crates are not built; the test `clients` does so at full length")
}

/// Builds the crates, with what they need, for these tests alone.
pub fn build() -> Result<()> {
    let status = cargo::command()
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(target())
        .current_dir(cargo::workspace().join("tests/clients"))
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the clients were not built");
    Ok(())
}
