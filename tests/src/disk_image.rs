//! Disk images with partitions and file systems in them, made in a file: nothing is mounted, and nobody need be root.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::host;
use crate::process::{as_root, quiet};

/// What is in a partition.
#[derive(Debug, Clone)]
pub enum Contents {
    /// An ext4 with what is in a folder, owned by root.
    Ext4 { uuid: String, label: String, folder: PathBuf },
    /// A FAT with what is in a folder.
    Fat { label: String, folder: PathBuf },
    /// What other tools put there.
    Nothing,
}

/// What a partition is for, by its type in a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The root of a Linux on x86-64 (Discoverable Partitions Specification).
    Root,
    /// `/boot`, as its boot loader reads it.
    Boot,
    /// The EFI system partition.
    Efi,
    /// GRUB's own code on a PC without EFI.
    Bios,
}

impl Use {
    fn guid(self) -> &'static str {
        match self {
            Self::Root => "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
            Self::Boot => "BC13C2FF-59E6-4262-A352-B275FD6F7172",
            Self::Efi => "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            Self::Bios => "21686148-6449-6E6F-744E-656564454649",
        }
    }
}

/// A partition of a GPT.
#[derive(Debug, Clone)]
pub struct Partition {
    pub number: u8,
    pub purpose: Use,
    pub mib: u64,
    pub contents: Contents,
}

const MIB: u64 = 1 << 20;
/// MiB before the first partition, and after the last one: the table and its copy.
const MARGIN: u64 = 1;

/// Makes the image `disk` with a GPT and these partitions, in this order on the disk.
pub fn with_gpt(disk: &Path, partitions: &[Partition]) -> Result<()> {
    let mib: u64 = partitions.iter().map(|partition| partition.mib).sum();
    empty(disk, mib + 2 * MARGIN)?;
    let mut table = "label: gpt\n".to_owned();
    let mut places = Vec::new();
    let mut at = MARGIN;
    for partition in partitions {
        let Partition { number, purpose, mib, contents } = partition;
        // The number is what the name ends with.
        table += &format!("disk{number} : start={at}MiB, size={mib}MiB, type={}\n", purpose.guid());
        places.push((at, *mib, contents));
        at += mib;
    }
    let mut sfdisk = Command::new(program("sfdisk")?);
    sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(disk);
    fed(&mut sfdisk, table.as_bytes())?;
    for (at, mib, contents) in places {
        fill(disk, at, mib, contents)?;
    }
    Ok(())
}

/// Makes the image `disk` of one file system, without partitions.
pub fn without_partitions(disk: &Path, mib: u64, contents: &Contents) -> Result<()> {
    empty(disk, mib)?;
    fill(disk, 0, mib, contents)
}

fn empty(disk: &Path, mib: u64) -> Result<()> {
    let file = File::create(disk).with_context(|| format!("cannot make {}", disk.display()))?;
    Ok(file.set_len(mib * MIB)?)
}

/// Makes what is `mib` long and `at` MiB from the image's start.
fn fill(disk: &Path, at: u64, mib: u64, contents: &Contents) -> Result<()> {
    match contents {
        Contents::Ext4 { uuid, label, folder } => {
            let place = format!("offset={}", at * MIB);
            let mut mke2fs = as_root(program("mke2fs")?);
            // As in larger ones; by itself it takes smaller blocks for so small a file system.
            mke2fs.args([
                "-q", "-F", "-t", "ext4", "-b", "4096", "-E", &place, "-U", uuid, "-L", label, "-d",
            ]);
            quiet(mke2fs.arg(folder).arg(disk).arg(format!("{mib}M"))).map(drop)
        }
        Contents::Fat { label, folder } => {
            let mut mkfs = Command::new(program("mkfs.vfat")?);
            mkfs.args(["-n", label, "--offset", &(at * MIB / 512).to_string()]).arg(disk);
            quiet(mkfs.arg((mib * MIB / 1024).to_string()))?;
            let mut mcopy = Command::new(program("mcopy")?);
            mcopy.args(["-s", "-i"]).arg(format!("{}@@{}", disk.display(), at * MIB));
            for entry in fs::read_dir(folder)? {
                mcopy.arg(entry?.path());
            }
            quiet(mcopy.arg("::/")).map(drop)
        }
        Contents::Nothing => Ok(()),
    }
}

/// Programs of root are not on everybody's path.
fn program(name: &str) -> Result<PathBuf> {
    host::find(name).with_context(|| format!("there is no program {name}"))
}

/// Runs a command with something to read.
fn fed(command: &mut Command, input: &[u8]) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    child.stdin.take().context("its input is missing")?.write_all(input)?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed ({}): {said}", output.status);
    Ok(())
}
