//! Block devices that fail when they are told to: the device mapper's, on ram disks of the testbed.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::process::quiet;
use crate::programs;

/// Bytes of a ram disk, as Debian's kernels make them.
const RAM: u64 = 16 << 20;
const SECTOR: u64 = 512;
/// Those that nobody has.
static FREE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static COUNTED: Mutex<bool> = Mutex::new(false);

/// Why there can be none here, if so.
pub fn lacking() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("block devices that fail are made by root");
    }
    let there = ["/dev/mapper/control", "/dev/ram0"].iter().all(|path| Path::new(path).exists());
    (!there).then_some("the kernel has no ram disks (brd) or device mapper (dm_flakey) loaded")
}

/// What becomes of what is written to a device.
#[derive(Debug, Clone)]
pub enum Way {
    /// It is written.
    Whole,
    /// Reads and writes of these sectors fail.
    Fails(Range<u64>),
    /// It is said to be written, and is not.
    Drops,
}

/// A block device of whole ram disks; it goes with its owner.
pub struct Mapped {
    name: String,
    rams: Vec<u8>,
}

fn dmsetup(arguments: &[&str], table: &str) -> Result<()> {
    let mut dmsetup = Command::new("dmsetup");
    // There is no udev here.
    dmsetup.env("DM_DISABLE_UDEV", "1").args(arguments).stdin(Stdio::piped());
    dmsetup.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = dmsetup.spawn().context("cannot run dmsetup")?;
    child.stdin.take().context("no pipe")?.write_all(table.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "dmsetup {}: {said}", arguments.join(" "));
    Ok(())
}

impl Mapped {
    /// Makes one of `name`, of zeroes, of that many ram disks of 16 MiB. Fails if there are not so many.
    pub fn new(name: &str, rams: usize) -> Result<Self> {
        programs::ensure(&[programs::DMSETUP])?;
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *counted, true) {
            free.extend((0..16).filter(|at| Path::new(&format!("/dev/ram{at}")).exists()));
        }
        ensure!(free.len() >= rams, "{} ram disks are left, and {rams} are needed", free.len());
        let left = free.len() - rams;
        let made = Self { name: name.to_owned(), rams: free.split_off(left) };
        drop((free, counted));
        for ram in &made.rams {
            let zeroes = vec![0; RAM as usize];
            let mut file = File::options().write(true).open(format!("/dev/ram{ram}"))?;
            file.write_all(&zeroes)?;
            file.sync_all()?;
        }
        dmsetup(&["create", name], &made.table(&Way::Whole))?;
        Ok(made)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/dev/mapper").join(&self.name)
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.rams.len() as u64 * RAM
    }

    /// Lines of the device mapper's: first sector, count, kind, what the kind wants.
    fn table(&self, way: &Way) -> String {
        let each = RAM / SECTOR;
        let bad = if let Way::Fails(bad) = way { bad.clone() } else { 0..0 };
        let mut lines = String::new();
        for (begin, ram) in (0..).step_by(each as usize).zip(&self.rams) {
            let end = begin + each;
            // Before what fails, what fails, and behind it.
            let cuts = [begin, bad.start.clamp(begin, end), bad.end.clamp(begin, end), end];
            for (nth, cut) in cuts.windows(2).enumerate() {
                let (from, len) = (cut[0], cut[1] - cut[0]);
                let place = format!("/dev/ram{ram} {}", from - begin);
                let kind = match way {
                    Way::Fails(_) if nth == 1 => "error".to_owned(),
                    // Never up, down for an hour.
                    Way::Drops => format!("flakey {place} 0 3600 1 drop_writes"),
                    _ => format!("linear {place}"),
                };
                if len > 0 {
                    lines += &format!("{from} {len} {kind}\n");
                }
            }
        }
        lines
    }

    /// From now on it does as told; what is under way ends as it would have.
    pub fn become_so(&self, way: &Way) -> Result<()> {
        self.stop()?;
        self.go_on(way)
    }

    /// Nothing that is asked of it ends any more.
    pub fn stop(&self) -> Result<()> {
        dmsetup(&["suspend", "--nolockfs", &self.name], "")
    }

    /// It does as told, also with what was asked of it meanwhile.
    pub fn go_on(&self, way: &Way) -> Result<()> {
        dmsetup(&["load", &self.name], &self.table(way))?;
        dmsetup(&["resume", &self.name], "")
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Somebody may be about to let it go.
        let _ = quiet(
            Command::new("dmsetup")
                .env("DM_DISABLE_UDEV", "1")
                .args(["remove", "--retry", "--force", &self.name]),
        );
        FREE.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.rams);
    }
}

#[cfg(test)]
#[path = "mapped_test.rs"]
mod tests;
