//! Who is in a jail: a file beside it, which what runs in it cannot reach, and which is locked while somebody builds there.
//!
//! The file has a line for the process, its PID and when it began, and a line for each control group. It is written before
//! what it tells of is made, so that a jail whose builder was killed at any step is known and can be cleaned.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat, statat,
};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::error::{JailError, Step};
use super::tree::Folder;

/// Its name.
const NAME: &str = "occupant";
/// Longest text of it that is read.
const LONGEST: u64 = 64 << 10;
/// Fields of `/proc/PID/stat` behind the name (proc_pid_stat(5)): threads, and when the process began, in ticks since the
/// host did.
const THREADS: usize = 17;
const BEGAN: usize = 19;
/// Of a process that waits for being reaped; its first thread may be dead before others are.
const DEAD: [&str; 2] = ["Z", "X"];

/// A process, told from later ones with its PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    began: u64,
}

/// What the file tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    process: Option<Process>,
    groups: Vec<PathBuf>,
}

impl Record {
    /// Of a file's text; what is no line of it does not count.
    fn parse(text: &str) -> Record {
        let mut record = Record::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("process", rest)) => {
                    let parsed = rest.split_once(' ').and_then(|(pid, began)| {
                        Some(Process { pid: pid.parse().ok()?, began: began.parse().ok()? })
                    });
                    record.process = parsed.or(record.process);
                }
                Some(("group", path)) => record.groups.push(path.into()),
                _ => {}
            }
        }
        record
    }

    fn text(&self) -> String {
        let process = self.process.map(|Process { pid, began }| format!("process {pid} {began}\n"));
        let groups = self.groups.iter().map(|path| format!("group {}\n", path.display()));
        process.into_iter().chain(groups).collect()
    }
}

/// The right to build, or remove, a jail; it lasts until it is dropped, or the program is executed.
pub struct Occupancy {
    file: File,
    record: Record,
    /// The host's `/proc`: there is none in the jail.
    proc: OwnedFd,
    home: PathBuf,
}

impl Occupancy {
    /// Takes the jail in `home`. Fails if somebody runs in it or is about to.
    pub fn take(home: &Folder) -> Result<Occupancy, JailError> {
        let path = home.path_of(NAME);
        let what = || format!("cannot open {}", path.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc =
            openat(CWD, "/proc", flags, Mode::empty()).step(|| "cannot open /proc".into())?;
        let refused = |why: &str| {
            JailError::refused(format!(
                "{} is in use: {why}; choose another --id",
                home.path().display()
            ))
        };
        let mut file = home.open_or_create(NAME.as_ref()).step(what)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(refused("another jail is made or removed there")),
            Err(error) => return Err(error).step(what),
        }
        // Between the two calls somebody may have removed it, whose jail it then was.
        if fstat(&file).step(what)?.st_nlink == 0 {
            return Err(refused("it has just been removed"));
        }
        let mut text = String::new();
        let read = (&mut file).take(LONGEST).read_to_string(&mut text);
        read.step(|| format!("cannot read {}", path.display()))?;
        let record = Record::parse(&text);
        if let Some(process) = record.process
            && is_there(&proc, process)
        {
            return Err(refused(&format!("process {} runs in it", process.pid)));
        }
        let home = home.path().to_path_buf();
        Ok(Occupancy { file, record: Record { process: None, ..record }, proc, home })
    }

    /// Control groups that were made for it.
    pub fn groups(&self) -> &[PathBuf] {
        &self.record.groups
    }

    /// A control group is about to be made for it.
    pub fn add_group(&mut self, path: &Path) -> Result<(), JailError> {
        if !self.record.groups.iter().any(|known| known == path) {
            self.record.groups.push(path.into());
        }
        self.write()
    }

    /// The process `pid`, as the host knows it, is what will run in it.
    pub fn is_of(&mut self, pid: i32) -> Result<(), JailError> {
        let began = began(&self.proc, pid)
            .step(|| format!("cannot read when process {pid} began"))?
            .ok_or_else(|| JailError::refused(format!("process {pid} has ended")))?;
        self.record.process = Some(Process { pid, began });
        self.write()
    }

    fn write(&mut self) -> Result<(), JailError> {
        let path = self.home.join(NAME);
        let text = self.record.text();
        let file = &mut self.file;
        ftruncate(&*file, 0)
            .map_err(std::io::Error::from)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .step(|| format!("cannot write {}", path.display()))
    }
}

/// When a process began; nothing if there is none, or nothing of it runs.
fn began(proc: &OwnedFd, pid: i32) -> Result<Option<u64>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut file = match openat(proc, format!("{pid}/stat"), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    // It may end meanwhile.
    if file.read_to_end(&mut text).is_err() {
        return Ok(None);
    }
    Ok(parse_began(&String::from_utf8_lossy(&text)))
}

fn parse_began(stat: &str) -> Option<u64> {
    // A name may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let threads: u32 = fields.get(THREADS)?.parse().ok()?;
    if DEAD.contains(fields.first()?) && threads <= 1 {
        return None;
    }
    fields.get(BEGAN)?.parse().ok()
}

fn is_shown(proc: &OwnedFd, pid: i32) -> bool {
    statat(proc, format!("{pid}"), AtFlags::empty()).is_ok()
}

fn is_there(proc: &OwnedFd, process: Process) -> bool {
    match began(proc, process.pid) {
        Ok(Some(began)) => began == process.began,
        Ok(None) if is_shown(proc, process.pid) => false,
        // It may be there, and hidden (proc(5), hidepid): then the PID is all that is known.
        Ok(None) | Err(_) => {
            let pid = Pid::from_raw(process.pid);
            pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
        }
    }
}

#[cfg(test)]
#[path = "occupant_test.rs"]
mod tests;
