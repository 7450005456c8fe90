//! Guests that were booted once: the first that wants such a machine boots it and keeps it as a snapshot, and whoever
//! wants another one like it, in the same process, restores that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{BOOT, BOOTED, Disk, Hypervisor, Machine, Running};
use crate::api::Api;
use crate::guest::Shell;
use crate::net::Network;

/// A snapshot, once there is one. Whoever makes it holds the lock.
type Slot = Arc<Mutex<Option<Arc<tempfile::TempDir>>>>;

/// By all that makes out such a machine.
static KEPT: Mutex<BTreeMap<String, Slot>> = Mutex::new(BTreeMap::new());

/// Guests that this process has restored.
static RESTORED: AtomicU32 = AtomicU32::new(0);

/// How many guests this process has booted, and how many it has restored.
pub fn counts() -> (u32, u32) {
    (BOOTED.load(Ordering::Relaxed), RESTORED.load(Ordering::Relaxed))
}

/// Removes what was kept; who still wants such a machine boots it.
pub fn forget() {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

impl Machine {
    /// The machine with its guest at its shell, as after a boot; restored if there was one like it before. It has an
    /// API. What is in its folder, such as its disks, is new each time.
    pub fn ready(&self, network: Option<&Network>) -> Result<(Running, Shell)> {
        let machine = self.clone().api();
        let like = Machine { manners: Vec::new(), ..machine.clone() };
        let slot = {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(format!("{like:?}")).or_default().clone()
        };
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(saved) = kept.clone() {
            drop(kept);
            return machine.restore(saved.path(), network);
        }
        let (running, shell) = machine.boot(network)?;
        *kept = Some(Arc::new(save(&running).context("the snapshot for others like it")?));
        Ok((running, shell))
    }

    /// Starts a process in which the machine goes on from a snapshot of one like it.
    fn restore(&self, saved: &Path, network: Option<&Network>) -> Result<(Running, Shell)> {
        let Hypervisor::Vmm(_) = &self.hypervisor else { bail!("only ours is restored") };
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        self.make_disks(folder.path())?;
        let mut command = self.program(network);
        command.arg("restore").arg(saved);
        for Disk { id, .. } in &self.disks {
            let image = folder.path().join(format!("{id}.raw"));
            command.args(["--disk", &format!("{id}={}", image.display())]);
        }
        if self.vsock.is_some() {
            command.arg("--vsock").arg(folder.path().join("v.sock"));
        }
        self.manner_arguments(&mut command, folder.path());
        RESTORED.fetch_add(1, Ordering::Relaxed);
        let mut running = Running::spawn(command, folder)?;
        running.is_restored = true;
        let shell = Shell::resume(running.console.clone(), running.input()?, BOOT);
        let shell = shell
            .with_context(|| format!("a restored guest; vmm said: {:?}", running.errors.text()))?;
        Ok((running, shell))
    }
}

/// Saves a machine into a folder of its own, and lets it go on.
fn save(running: &Running) -> Result<tempfile::TempDir> {
    // Where vmm may make files; a snapshot may be moved.
    let made = running.path("saved");
    fs::create_dir(&made)?;
    let mut api = Api::wait(&running.path("api"), BOOT)?;
    api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
    let files =
        json!({ "snapshot_path": made.join("state"), "mem_file_path": made.join("memory") });
    api.done("PUT", "/snapshot/create", &files)?;
    api.done("PATCH", "/vm", &json!({ "state": "Resumed" }))?;
    let kept = tempfile::tempdir().context("cannot make a temporary folder")?;
    for file in ["state", "memory"] {
        fs::rename(made.join(file), kept.path().join(file))?;
    }
    fs::remove_dir(made)?;
    Ok(kept)
}
