//! `vmm snapshot`: what a snapshot is, and whether it is whole.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::error::{LoadError, ReadError};
use super::format::{self, Body, Sealed};
use super::merge::{self, Snapshot};
use super::spec::{MEMORY, STATE};
use super::{compare, raw};
use crate::memory::Size;
use crate::observe::stderr;
use crate::words;

/// Tells about snapshots.
#[derive(Debug, Parser)]
#[command(name = "vmm snapshot", bin_name = "vmm snapshot", version = env!("VMM_VERSION"))]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a snapshot is and what is in it
    Show {
        /// A folder that vmm ctl has written a snapshot to, or the file with the state
        file: PathBuf,
        /// Print the whole state as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read all of a snapshot, to see whether it is as it was written
    Check {
        /// A folder that vmm ctl has written a snapshot to, or the file with the state
        file: PathBuf,
        /// The file with the memory; that called `memory` beside the state if not given
        #[arg(long, value_name = "FILE")]
        memory: Option<PathBuf>,
    },
    /// Lay snapshots of what has changed, in their order, over the one that they are of, and write the whole one
    Merge {
        /// The snapshot that has all of its memory: a folder, or the file with the state
        base: PathBuf,
        /// What has changed since the one before
        #[arg(required = true)]
        diffs: Vec<PathBuf>,
        /// The folder to write to, which is made if it is not there; it may be one of the others
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Show what two snapshots have different
    Diff {
        /// A snapshot: a folder, or the file with the state
        one: PathBuf,
        /// Another
        other: PathBuf,
    },
    /// Work on memory files alone, by the words of Firecracker's snapshot-editor
    EditMemory {
        #[command(subcommand)]
        command: EditMemory,
    },
}

#[derive(Debug, Subcommand)]
enum EditMemory {
    /// Lay a file of changes over a memory file: all that it has in no hole
    Rebase {
        /// The memory file, which is replaced
        #[arg(long, value_name = "FILE")]
        memory_path: PathBuf,
        /// The file of changes
        #[arg(long, value_name = "FILE")]
        diff_path: PathBuf,
    },
}

/// The command with all its parts, for help, manuals and completions.
#[cfg(test)]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// The files of the snapshot that `path` is, or is the state of.
pub fn files_of(path: &Path, memory: Option<&Path>) -> (PathBuf, PathBuf) {
    let state = if path.is_dir() { path.join(STATE) } else { path.to_owned() };
    let memory = memory.map_or_else(|| state.with_file_name(MEMORY), Path::to_owned);
    (state, memory)
}

/// Everything behind `vmm snapshot`, which takes the code for a command line that cannot be read from `refused`.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    refused: fn(&clap::Error) -> ExitCode,
) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return refused(&error),
    };
    let text = match &args.command {
        Command::Show { file, json } => show(file, *json),
        Command::Check { file, memory } => check(file, memory.as_deref()),
        Command::Diff { one, other } => different(one, other),
        Command::EditMemory { command: EditMemory::Rebase { memory_path, diff_path } } => {
            raw::rebase(memory_path, diff_path).map(|()| String::new()).map_err(Into::into)
        }
        Command::Merge { base, diffs, to } => merged(base, diffs, to),
    };
    let told = text.and_then(|text| match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::say(&format!("vmm: error: {}", words::one_line(None, &*error)));
            ExitCode::FAILURE
        }
    }
}

fn open(path: &Path) -> Result<Sealed, LoadError> {
    format::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn body(path: &Path, sealed: &Sealed) -> Result<Body, LoadError> {
    sealed.body().map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn show(path: &Path, json: bool) -> Result<String, Box<dyn Error>> {
    let (path, _) = files_of(path, None);
    let sealed = open(&path)?;
    let head = sealed.head().map_err(|source| LoadError::Read { path: path.clone(), source })?;
    if json {
        let body = body(&path, &sealed)?;
        let all = serde_json::json!({ "format": sealed.format(), "head": head, "body": body });
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let mut text = String::new();
    writeln!(
        text,
        "format         {}, {}, by vmm {}",
        sealed.format(),
        head.kind,
        head.vmm_version
    )?;
    writeln!(text, "name           {}", head.id)?;
    if let Some(base) = &head.base {
        writeln!(text, "changes since  {base}")?;
    }
    writeln!(text, "processor      {}", head.architecture)?;
    writeln!(text, "created        {} s after 1970", head.created_s)?;
    writeln!(text, "vCPUs          {}", head.vcpus)?;
    writeln!(text, "memory         {}", Size(head.memory_bytes))?;
    writeln!(text, "in its file    {}", Size(head.memory_data_bytes))?;
    for part in &head.parts {
        writeln!(text, "part           {} ({}, version {})", part.id, part.kind, part.version)?;
    }
    // One of a later vmm has told what it can.
    match sealed.body() {
        Ok(body) => {
            for (index, vcpu) in body.state.vcpus.iter().enumerate() {
                let (regs, sregs) = (&vcpu.regs.0, &vcpu.sregs.0);
                writeln!(
                    text,
                    "vCPU {index:<9} rip {:#x}, rsp {:#x}, cr0 {:#x}, cr3 {:#x}, {} MSRs, {} bytes of XSAVE",
                    regs.rip,
                    regs.rsp,
                    sregs.cr0,
                    sregs.cr3,
                    vcpu.msrs.len(),
                    vcpu.xsave.len(),
                )?;
            }
        }
        Err(error @ (ReadError::Newer { .. } | ReadError::Architecture { .. })) => {
            writeln!(text, "body           {error}")?;
        }
        Err(source) => return Err(LoadError::Read { path, source }.into()),
    }
    // Anybody may have written it.
    Ok(text.replace(|c: char| c.is_control() && c != '\n', "?"))
}

fn check(path: &Path, memory: Option<&Path>) -> Result<String, Box<dyn Error>> {
    let (path, memory) = files_of(path, memory);
    let snapshot = Snapshot::open(path, memory)?;
    snapshot.check()?;
    let (state, memory) = (snapshot.state.display(), snapshot.memory.display());
    Ok(format!("{state} and {memory} are as they were written\n"))
}

fn opened(path: &Path) -> Result<Snapshot, LoadError> {
    let (state, memory) = files_of(path, None);
    Snapshot::open(state, memory)
}

fn different(one: &Path, other: &Path) -> Result<String, Box<dyn Error>> {
    Ok(compare::tell(&opened(one)?, &opened(other)?)?)
}

fn merged(base: &Path, diffs: &[PathBuf], to: &Path) -> Result<String, Box<dyn Error>> {
    let base = opened(base)?;
    let diffs = diffs.iter().map(|diff| opened(diff)).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let (state, memory) = (to.join(STATE), to.join(MEMORY));
    let sums = merge::merge(&base, &diffs, (&state, &memory))?;
    Ok(format!("{} has the whole snapshot: {} not zero\n", to.display(), Size(sums.data_bytes)))
}
