//! Drives a program called `firecracker` with clients that know nothing of it: `clients firepilot|fctools
//! FIRECRACKER KERNEL DISK FOLDER`. The kernel halts for ever; or it is Linux, with the initrd of `CLIENTS_INITRD`, and
//! what it says comes into the file of `CLIENTS_CONSOLE`.
#![forbid(unsafe_code)]

mod fctools;
mod firepilot;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

/// What a client is given.
pub struct Scene {
    firecracker: PathBuf,
    kernel: PathBuf,
    disk: PathBuf,
    /// An empty folder.
    folder: PathBuf,
    /// Of a Linux, and where its console is.
    linux: Option<(PathBuf, PathBuf)>,
}

/// How long Linux may take to come up, on a host that is emulated.
const BOOT: Duration = Duration::from_secs(300);

impl Scene {
    /// What the kernel is told.
    fn boot_args(&self) -> String {
        let quick = "loglevel=4 mitigations=off cryptomgr.notests norandmaps";
        let words = if self.linux.is_some() { quick } else { "" };
        format!("console=ttyS0 reboot=k panic=1 pci=off {words}").trim_end().to_owned()
    }

    fn initrd(&self) -> Option<&PathBuf> {
        self.linux.as_ref().map(|(initrd, _)| initrd)
    }

    fn memory_mib(&self) -> usize {
        if self.linux.is_some() { 256 } else { 128 }
    }

    /// Waits until Linux has begun to run programs.
    async fn is_up(&self) -> Result<()> {
        let Some((_, console)) = &self.linux else { return Ok(()) };
        let begun = Instant::now();
        loop {
            let said = fs::read(console).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            if said.contains("user space reached") {
                return Ok(());
            }
            ensure!(begun.elapsed() < BOOT, "Linux is not up; it said {said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().collect();
    let [_, client, firecracker, kernel, disk, folder] = &words[..] else {
        bail!("usage: clients firepilot|fctools FIRECRACKER KERNEL DISK FOLDER");
    };
    let scene = Scene {
        firecracker: firecracker.into(),
        kernel: kernel.into(),
        disk: disk.into(),
        folder: folder.into(),
        linux: file("CLIENTS_INITRD").zip(file("CLIENTS_CONSOLE")),
    };
    match client.as_str() {
        "firepilot" => firepilot::live(&scene).await,
        "fctools" => fctools::live(&scene).await,
        other => bail!("{other} is no client"),
    }
}

fn file(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}
