//! `cargo demo --disk`: a Debian boots from its disk, is logged in to, writes, goes off, and comes back with what it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::console::Shown;
use tests::debian::{Debian, Edition, Guest, PASSWORD};
use tests::machine::{DiskModel, Machine, Model};
use tests::needs::Needs;
use tests::net::{Network, Tap};
use tests::programs;

use crate::say;

const MEMORY_MIB: u32 = 512;

/// What this demo uses, and nothing else.
pub fn needs() -> Needs {
    Needs { programs: vec![programs::IP], debians: vec![Edition::Small], ..Needs::default() }
}

/// Puts the disk and root's key into a folder, for people who boot it by hand.
pub fn files(folder: &Path) -> Result<ExitCode> {
    let debian = Debian::open(Edition::Small)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (disk, key) = (folder.join("disk.raw"), folder.join("key"));
    debian.copy_to(&disk)?;
    fs::copy(debian.key()?, &key)?;
    say(&format!("{} is a {}", disk.display(), debian.origin()));
    say(&format!("its root has the password {PASSWORD}, and lets in {} by ssh", key.display()));
    Ok(ExitCode::SUCCESS)
}

/// The demo with one model of disk.
pub struct Demo {
    vmm: PathBuf,
    model: DiskModel,
    debian: Debian,
    network: Network,
    tap: Tap,
    folder: tempfile::TempDir,
}

impl Demo {
    pub fn new(vmm: &Path, model: DiskModel) -> Result<Self> {
        let debian = Debian::open(Edition::Small)?;
        let mut network = Network::new().context("cannot make a network for the demo")?;
        let tap = network.tap(1, 1500)?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        debian.copy_to(&folder.path().join("disk.raw"))?;
        Ok(Self { vmm: vmm.to_owned(), model, debian, network, tap, folder })
    }

    /// A machine as EC2 has them with an NVMe disk, and with virtio all through with a virtio disk.
    fn machine(&self) -> Machine {
        let card = match self.model {
            DiskModel::Virtio => Model::Virtio,
            DiskModel::Nvme => Model::Ena,
        };
        Machine::of_disk(self.vmm.clone(), &self.folder.path().join("disk.raw"), self.model)
            .memory(MEMORY_MIB)
            .card_of(card, &self.tap)
            .parameter(&self.tap.parameter_of_systemd())
    }

    /// Gives the guest's console to whoever runs the demo.
    pub fn interactive(&self) -> Result<()> {
        let Tap { host_ipv4, guest_ipv4, .. } = &self.tap;
        say(&format!(
            "log in as root with the password {PASSWORD}; the guest is {guest_ipv4}, the host \
             {host_ipv4}; poweroff or Ctrl-A X ends it"
        ));
        let (mut command, _folder) = self.machine().command(Some(&self.network))?;
        let status = command.stdin(Stdio::inherit()).status().context("cannot start vmm")?;
        ensure!(status.success(), "vmm ended with {status}");
        Ok(())
    }

    pub fn run(&self, is_shown: bool) -> Result<()> {
        let (debian, model) = (self.debian.origin(), self.model.name());
        say(&format!("booting a {debian} from a disk of model {model}"));
        let start = Instant::now();
        let step = |what: &str| say(&format!("{:6.1} s  {what}", start.elapsed().as_secs_f64()));

        let mut guest = self.boot(is_shown)?;
        step(&guest.boots()?);
        let version = guest.shell.sh("uname -r; findmnt -n -o SOURCE /")?;
        let [kernel, root] = version.lines().collect::<Vec<_>>()[..] else {
            anyhow::bail!("an odd answer: {version}");
        };
        step(&format!("root logged in on the serial console: Linux {kernel}, / is {root}"));
        let written = guest.ssh.run_within(
            "head -c 1M /dev/urandom >/root/written && sync && sha256sum /root/written",
            tests::machine::BOOT,
        )?;
        step(&format!("and by ssh over the card, where a file was written: {}", written.trim()));
        guest.power_off()?;
        step("powered off cleanly");

        let mut guest = self.boot(false)?;
        let found = guest.shell.sh("sha256sum /root/written")?;
        ensure!(found.trim() == written.trim(), "after it booted again the file is {found}");
        step("booted again, and found what was written");
        guest.power_off()?;
        step("powered off cleanly");
        Ok(())
    }

    fn boot(&self, is_shown: bool) -> Result<Guest<'_>> {
        let machine = self.machine();
        let running =
            machine.argument("--log-level").argument("info").start(Some(&self.network))?;
        let shown = Shown::default();
        if is_shown {
            running.console.copy_to(shown.clone());
        }
        let guest = Guest::log_in(running, &self.network, &self.tap, self.debian.key()?);
        shown.end();
        if is_shown {
            println!();
        }
        guest
    }
}
