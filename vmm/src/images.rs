//! `vmm disk`: overlays that no machine has, made, looked at, and made whole images.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use devices::block::image::{OpenError, Source, offline};

use crate::memory::Size;
use crate::observe::stderr;
use crate::words;

/// Makes overlays, and tells about them. A machine takes one by --disk OVERLAY,base=FILE.
#[derive(Debug, Parser)]
#[command(name = "vmm disk", bin_name = "vmm disk", version = env!("VMM_VERSION"))]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// An overlay, and what is below it.
#[derive(Debug, clap::Args)]
struct Disk {
    /// The overlay
    overlay: PathBuf,
    /// What is below it: a raw image or a block device; before that, once for each, overlays that are between, the nearest
    /// first
    #[arg(long, required = true, value_name = "FILE")]
    base: Vec<PathBuf>,
}

impl Disk {
    fn source(&self) -> Source<'_> {
        Source { path: &self.overlay, bases: &self.base }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an overlay that has nothing yet
    Create {
        #[command(flatten)]
        disk: Disk,
        /// Bytes of the disk, such as 20G, if it is to be larger than its base
        #[arg(long, value_name = "SIZE")]
        size: Option<Size>,
    },
    /// Show what the file of an overlay says of itself
    Info {
        /// The overlay
        overlay: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look whether an overlay is whole, and on its base as that was
    Check {
        #[command(flatten)]
        disk: Disk,
    },
    /// Write an overlay and what is below it to one raw image
    Flatten {
        #[command(flatten)]
        disk: Disk,
        /// The image, which must not be there
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Have an overlay be on a base whose bytes are the same as those of the one that it was made on, such as a copy;
    /// if they are not, the disk is a mixture of both
    Rebase {
        /// The overlay
        overlay: PathBuf,
        /// The base, and what is below that if it is an overlay, the nearest first
        #[arg(required = true)]
        base: Vec<PathBuf>,
    },
}

/// The command with all its parts, for help, manuals and completions.
#[cfg(test)]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Everything behind `vmm disk`, which takes the code for a command line that cannot be read from `refused`.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    refused: fn(&clap::Error) -> ExitCode,
) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return refused(&error),
    };
    let text = run(&args.command);
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

fn run(command: &Command) -> Result<String, Box<dyn Error>> {
    match command {
        Command::Create { disk, size } => {
            offline::create(&disk.source(), size.map(|size| size.0))?;
            Ok(String::new())
        }
        Command::Info { overlay, json } => Ok(info(overlay, *json)?),
        Command::Check { disk } => Ok(check(disk)?),
        Command::Flatten { disk, to } => {
            offline::flatten(&disk.source(), to)?;
            Ok(String::new())
        }
        Command::Rebase { overlay, base } => {
            offline::rebase(&Source { path: overlay, bases: base })?;
            Ok(String::new())
        }
    }
}

fn info(path: &Path, json: bool) -> Result<String, OpenError> {
    let offline::About { header, bytes } = offline::look(path)?;
    let base = header.base;
    if json {
        let all = serde_json::json!({
            "size": header.size,
            "overlay_bytes": bytes,
            "base_size": base.size,
            "base_modified_ns": base.modified,
        });
        return Ok(format!("{all:#}\n"));
    }
    let mut text = String::new();
    // A text takes all.
    let _ = writeln!(text, "disk           {} bytes", header.size);
    let _ = writeln!(text, "own            {bytes} bytes, all else is the base's");
    let _ = writeln!(text, "base           {} bytes", base.size);
    if base.modified > 0 {
        let (seconds, rest) = (base.modified / 1_000_000_000, base.modified % 1_000_000_000);
        let _ = writeln!(text, "base written   {seconds}.{rest:09} s after 1970");
    }
    Ok(text)
}

/// Fails if a machine would not take it.
fn check(disk: &Disk) -> Result<String, OpenError> {
    let image = offline::open(&disk.source())?;
    let (size, own) = (image.size(), image.overlay_bytes().unwrap_or_default());
    Ok(format!("whole: {own} of {size} bytes are its own\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_named_the_nearest_first() {
        let args = ["vmm disk", "check", "c", "--base", "b", "--base", "a"];
        let Command::Check { disk } = Args::try_parse_from(args).unwrap().command else { panic!() };
        assert_eq!(disk.source().bases, [PathBuf::from("b"), "a".into()]);
        assert!(Args::try_parse_from(["vmm disk", "check", "c"]).is_err());
        assert!(Args::try_parse_from(["vmm disk", "rebase", "c"]).is_err());
    }
}
