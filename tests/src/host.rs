//! What the machine we run on has: hardware virtualization, programs, libraries.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long any one step of a test may take where the host emulates its CPU and others run beside it: far
/// longer than it ever does, so that only what hangs is given up.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Set in the testbed, for the command that runs there.
pub const IN_TESTBED: &str = "VMM_IN_TESTBED";

/// Why a stock kernel cannot run under this machine's `/dev/kvm`, or `None` where it can.
pub fn no_hardware_kvm() -> Option<&'static str> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        return Some("the CPU shows neither VT-x nor AMD-V");
    }
    kvm().is_err().then_some("/dev/kvm cannot be opened")
}

/// `/dev/kvm`, of any kind: it runs kernels of a few bytes.
pub fn kvm() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/kvm")
}

/// Fails a test that needs `/dev/kvm` and is of a kind that cannot be skipped once it runs.
pub fn need_kvm() {
    let kvm = kvm();
    assert!(kvm.is_ok(), "needs /dev/kvm: {}", kvm.unwrap_err());
}

/// Whether this process runs inside the testbed.
pub fn in_testbed() -> bool {
    std::env::var_os(IN_TESTBED).is_some()
}

/// Full path of a program found in `$PATH` or in the folders of root.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(root).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The folder a Debian host keeps its libraries in.
pub fn library_folders() -> [&'static Path; 4] {
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"].map(Path::new)
}

/// Waits until `done` says yes, asking again and again.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
