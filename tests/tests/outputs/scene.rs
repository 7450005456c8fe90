//! A folder with a few kernels of some bytes, a vmm in it, and a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::api::Api;
use tests::host;
use tests::idle;
use tests::machine::Hypervisor;
use tests::process::Owned;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn vmm_path() -> PathBuf {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => path,
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

/// Waits for `done`, looking often.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder with the kernels, and where a vmm puts its things.
pub struct Scene(pub TempDir);

impl Scene {
    pub fn new() -> Scene {
        host::need_kvm();
        let folder = tempfile::tempdir().unwrap();
        idle::kernel(folder.path()).unwrap();
        idle::chatty(folder.path()).unwrap();
        Scene(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    /// A vmm in the folder, with its standard error in the file `errors`.
    pub fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.path("errors")).unwrap());
        command
    }

    /// A vmm that boots `kernel`, with an API at `api`.
    pub fn vmm(&self, kernel: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(vmm_path(), &["--kernel", kernel, "--mem", "64M"]);
        command.args(["--api-sock", "api"]).args(arguments);
        command
    }

    pub fn api(&self) -> Api {
        Api::wait(&self.path("api"), PATIENCE).unwrap()
    }

    /// Waits until the machine runs.
    pub fn running(&self) -> Api {
        let mut api = self.api();
        wait_until("the machine runs", || api.get("/").unwrap()["state"] == "Running");
        api
    }

    pub fn fifo(&self) -> PathBuf {
        let path = self.path("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

pub fn end(mut process: Owned) -> ExitStatus {
    process.ended(PATIENCE).unwrap()
}

pub fn send(process: &Owned, signal: Signal) {
    kill(Pid::from_raw(process.pid() as i32), signal).unwrap();
}

/// Both ends of a terminal.
pub struct Terminal {
    person: File,
    terminal: OwnedFd,
    shown: Vec<u8>,
}

impl Terminal {
    pub fn open() -> Terminal {
        let size = Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        Terminal { person: pty.master.into(), terminal: pty.slave, shown: Vec::new() }
    }

    pub fn end_for_child(&self) -> Stdio {
        self.terminal.try_clone().unwrap().into()
    }

    pub fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    pub fn is_raw(&self) -> bool {
        !self
            .modes()
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// What was shown so far.
    pub fn shown(&mut self) -> String {
        let mut bytes = [0; 4096];
        while let Ok(count) = self.person.read(&mut bytes) {
            if count == 0 {
                break;
            }
            self.shown.extend(&bytes[..count]);
        }
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits for the text, behind what was waited for before.
    pub fn wait_for(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            self.shown();
            let found = self.shown.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                self.shown.drain(..at + text.len());
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{text:?} was not shown: {}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_raw(&mut self, raw: bool) {
        let begin = Instant::now();
        while self.is_raw() != raw {
            assert!(begin.elapsed() < PATIENCE, "raw is not {raw}: {}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
