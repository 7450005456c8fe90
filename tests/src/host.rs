//! What the machine we run on has: hardware virtualization, programs, and how to get missing ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A host program and the Debian package that brings it.
pub struct Program {
    name: &'static str,
    package: &'static str,
}

pub const QEMU: Program = Program { name: "qemu-system-x86_64", package: "qemu-system-x86" };
pub const PYTHON: Program = Program { name: "python3", package: "python3" };
pub const PIP: Program = Program { name: "pip3", package: "python3-pip" };
pub const MAKE: Program = Program { name: "make", package: "make" };
pub const GCC: Program = Program { name: "gcc", package: "gcc" };
pub const IP: Program = Program { name: "ip", package: "iproute2" };

/// Set in the testbed, for the command that runs there.
pub const IN_TESTBED: &str = "VMM_IN_TESTBED";

/// Why a stock kernel cannot run under this machine's `/dev/kvm`, or `None` where it can.
pub fn no_hardware_kvm() -> Option<&'static str> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        return Some("the CPU shows neither VT-x nor AMD-V");
    }
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Some("/dev/kvm cannot be opened");
    }
    None
}

/// Whether this process runs inside the testbed.
pub fn in_testbed() -> bool {
    std::env::var_os(IN_TESTBED).is_some()
}

/// Whether this machine's processor is QEMU's software CPU.
pub fn has_emulated_cpu() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG CPU"))
}

/// Full path of a program found in `$PATH` or in the folders of root.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(root).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Installs with apt what is missing of `programs`, as root; says so in one line.
pub fn ensure(programs: &[Program]) -> Result<()> {
    let missing: Vec<_> =
        programs.iter().filter(|p| find(p.name).is_none()).map(|p| p.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!("missing programs; install them with: apt-get install {list}");
    }
    eprintln!("installing {list} with apt-get");
    crate::apt::update_if_empty()?;
    let install = || {
        crate::process::quiet(
            Command::new("apt-get")
                .args(["install", "--yes", "-qq", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    if install().is_ok() {
        return Ok(());
    }
    // The lists may be older than the mirror.
    crate::apt::update()?;
    install().map(drop).with_context(|| format!("cannot install {list}"))
}

/// The folder a Debian host keeps its libraries in.
pub fn library_folders() -> [&'static Path; 4] {
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"].map(Path::new)
}
