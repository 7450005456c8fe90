//! Where the tests of jails play: a folder of jails, and what can be known of who is in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tests::api::Api;
use tests::machine::Hypervisor;
use tests::process::Owned;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const UID: u32 = 4711;
pub const GID: u32 = 4712;

pub fn vmm() -> PathBuf {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => fs::canonicalize(path).unwrap(),
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of jails, with names for one of them.
pub struct Scene {
    pub base: Arc<TempDir>,
    pub id: &'static str,
}

impl Scene {
    pub fn new() -> Scene {
        Scene { base: Arc::new(tempfile::tempdir().unwrap()), id: "one" }
    }

    /// Another jail in the same folder.
    pub fn sibling(&self, id: &str) -> Scene {
        Scene { base: self.base.clone(), id: id.to_owned().leak() }
    }

    pub fn home(&self) -> PathBuf {
        self.home_of(&vmm())
    }

    pub fn home_of(&self, program: &Path) -> PathBuf {
        self.base.path().join(program.file_name().unwrap()).join(self.id)
    }

    pub fn root(&self) -> PathBuf {
        self.home().join("root")
    }

    pub fn socket(&self) -> PathBuf {
        self.root().join("run/vm.sock")
    }

    /// `vmm jail` with these flags, and behind them what runs in it: a vmm without a machine.
    pub fn command(&self, flags: &[&str]) -> Command {
        self.command_with(flags, &[])
    }

    /// The same of a vmm that has these words before those by which it serves the API.
    pub fn command_with(&self, flags: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(vmm());
        command.args(["jail", "--id", self.id, "--chroot-base-dir"]).arg(self.base.path());
        command.args(["--uid", "4711", "--gid", "4712"]).args(flags);
        command.arg("--").args(words).args(["--api-sock", "/run/vm.sock"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// The same of another program.
    pub fn command_of(&self, program: &Path, flags: &[&str]) -> Command {
        self.command(&[flags, &["--exec-file", program.to_str().unwrap()]].concat())
    }

    pub fn start(&self, flags: &[&str]) -> Owned {
        Owned::spawn(&mut self.command(flags)).unwrap()
    }

    pub fn api(&self) -> Api {
        Api::wait(&self.socket(), PATIENCE).unwrap()
    }

    pub fn output(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// What `vmm jail` says when it refuses.
    pub fn refusal(&self, flags: &[&str]) -> String {
        let output = self.output(flags);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("vmm jail: error: "), "{said}");
        said
    }

    pub fn clean(&self) -> Output {
        self.clean_with(&vmm(), &[])
    }

    /// Of a program's jail, with more flags.
    pub fn clean_with(&self, program: &Path, flags: &[&str]) -> Output {
        let mut command = Command::new(vmm());
        command.args(["jail", "--clean", "--id", self.id, "--exec-file"]).arg(program);
        command.arg("--chroot-base-dir").arg(self.base.path()).args(flags).output().unwrap()
    }

    pub fn pid(&self) -> u32 {
        let mut name = vmm().file_name().unwrap().to_os_string();
        name.push(".pid");
        fs::read_to_string(self.root().join(name)).unwrap().parse().unwrap()
    }
}

pub fn proc(pid: u32, what: &str) -> PathBuf {
    format!("/proc/{pid}/{what}").into()
}

/// A field of a process's status.
pub fn status(pid: u32, field: &str) -> Vec<String> {
    let text = fs::read_to_string(proc(pid, "status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().map(str::to_string).collect()
}

pub fn space(pid: u32, name: &str) -> PathBuf {
    fs::read_link(proc(pid, "ns").join(name)).unwrap()
}

pub fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}
