//! Running other programs: quietly, with a deadline, never left behind.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A command that sees itself, and owns its files, as root: this user, or a user namespace of his.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.arg("--map-root-user").arg(program);
    command
}

/// A command that ends with the thread that starts it, also if that is killed.
pub fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Runs a command to its end without showing its output; on failure the output is in the error.
pub fn quiet(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let arguments: Vec<_> =
            command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!(
            "{name} {} failed ({})\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

/// What a command says in lines that begin with one of `marks`, without these; none twice.
pub fn says(output: &Output, marks: &[&str]) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let line = marks.iter().find_map(|mark| line.strip_prefix(mark));
        let line = line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        said.extend(line.filter(|line| !said.contains(line)));
    }
    said
}

/// Why a command failed, in one line: what apt, pip or cargo mark as an error, else the last line.
pub fn reason(output: &Output) -> String {
    let errors = says(output, &["E: ", "ERROR: ", "error: "]);
    if !errors.is_empty() {
        return errors.join("; ");
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| output.status.to_string(), str::to_owned)
}

/// Whether something failed because a disk, or this user's part of it, is full.
pub fn is_disk_full(error: &anyhow::Error) -> bool {
    let said = ["No space left on device", "Disk quota exceeded"];
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
            || said.iter().any(|said| cause.to_string().contains(said))
    })
}

/// Does something over a network; if that fails, does it once more with what may be stale left out,
/// as `attempt` is told.
pub fn once_more<T>(mut attempt: impl FnMut(bool) -> Result<T>) -> Result<T> {
    match attempt(false) {
        Err(error) if !is_disk_full(&error) => attempt(true),
        done => done,
    }
}

/// Runs a command to its end without showing its output; on failure one line says why.
pub fn brief(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", reason(&output));
    }
    Ok(())
}

/// Text that a command writes to its standard output.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&quiet(command)?.stdout).into_owned())
}

/// A child that is killed and reaped when its owner goes.
pub struct Owned(Child);

impl Owned {
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start {name}"))?))
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end; `None` when the deadline passes first.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        self.wait_while(|| start.elapsed() < limit)
    }

    /// Waits for an end that has to come. Fails if it does not within `limit`, with what keeps each thread.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match self.wait(limit)? {
            Some(status) => Ok(status),
            None => bail!("it still runs after {limit:?}: {}", threads(self.pid())),
        }
    }

    /// Waits for the end as long as `patient` says so; `None` when it no longer does.
    pub fn wait_while(
        &mut self,
        mut patient: impl FnMut() -> bool,
    ) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if !patient() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The threads of a process, and of each what it waits for and which signals wait for it (proc(5)).
fn threads(process: u32) -> String {
    let folder = format!("/proc/{process}/task");
    let threads = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|thread| {
        let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let status = read("status");
        let wanted = ["Name", "State", "SigPnd", "ShdPnd", "SigBlk"];
        let said = status.lines().filter_map(|line| line.split_once(":\t"));
        let said = said.filter(|(name, _)| wanted.contains(name)).map(|(_, value)| value);
        let call = read("syscall");
        let call = call.split(' ').next().unwrap_or_default().trim();
        format!("[{}, call {call}, in {}]", said.collect::<Vec<_>>().join(" "), read("wchan"))
    });
    threads.collect::<Vec<_>>().join(" ")
}

/// Runs a command with each line of its standard output handed to `hear`, as long as `patient` says
/// so; `None` when it no longer does.
pub fn heard_while(
    command: &mut Command,
    mut patient: impl FnMut() -> bool,
    mut hear: impl FnMut(&str),
) -> Result<Option<ExitStatus>> {
    let mut process = Owned::spawn(command.stdout(Stdio::piped()))?;
    let output = process.child().stdout.take().context("the output is missing")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => hear(line.trim_end_matches('\r')),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => (),
        }
        if !patient() {
            return Ok(None);
        }
    }
    Ok(process.wait_while(patient)?)
}

/// Runs a command with its output shown, and each line of it handed to `each`; fails if that does not
/// succeed within `limit`.
pub fn shown(command: &mut Command, limit: Duration, each: impl FnMut(&str)) -> Result<()> {
    shown_as("", command, limit, each)
}

/// The same, with a mark before each line that is shown.
pub fn shown_as(
    mark: &str,
    command: &mut Command,
    limit: Duration,
    mut each: impl FnMut(&str),
) -> Result<()> {
    let start = Instant::now();
    let patient = || start.elapsed() < limit;
    let status = heard_while(command.stdin(Stdio::null()), patient, |line| {
        println!("{mark}{line}");
        each(line);
    })?
    .with_context(|| format!("not done within {} minutes", limit.as_secs() / 60))?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
#[path = "process_test.rs"]
mod tests;
