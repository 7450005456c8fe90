//! `vmm snapshot`: what a snapshot is, and whether it is whole.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::error::{LoadError, ReadError};
use super::format::{self, Body, Sealed};
use super::memory_file;
use super::spec::{MEMORY, STATE};
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
    writeln!(text, "processor      {}", head.architecture)?;
    writeln!(text, "created        {} s after 1970", head.created_s)?;
    writeln!(text, "vCPUs          {}", head.vcpus)?;
    writeln!(text, "memory         {}", Size(head.memory_bytes))?;
    writeln!(text, "not zero       {}", Size(head.memory_data_bytes))?;
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
    let sums = body(&path, &open(&path)?)?.memory;
    let failed = |source| LoadError::Memory { path: memory.clone(), source };
    let file = File::open(&memory).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found != sums.bytes {
        let wanted = sums.bytes;
        return Err(LoadError::MemoryLength { path: memory, found, wanted }.into());
    }
    match memory_file::check(&file, &sums).map_err(failed)? {
        Some(differs) => Err(LoadError::OtherMemory { path: memory, at: differs.at }.into()),
        None => {
            Ok(format!("{} and {} are as they were written\n", path.display(), memory.display()))
        }
    }
}
