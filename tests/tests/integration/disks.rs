//! Disks as a guest uses them: found as what they are, read and written, flushed, trimmed, grown while in use.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tests::guest::Shell;
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::machine::Hypervisor;
use tests::process::stdout_of;

use crate::scenario::{Scenario, Wired, eventually, finish};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(Scenario::for_each_kernel(
        "disks::both_models_are_written_read_trimmed_and_grown",
        both_models,
    ));
    all
}

const MIB: u64 = 1 << 20;
/// Bytes of each disk after it has grown.
const GROWN: u64 = 40 * MIB;
/// Where a file system's own blocks are not: these are written past it.
const RAW_MIB: u64 = 20;

/// A disk of the guest, by its name there, and its image on the host.
struct Disk<'a> {
    id: &'a str,
    name: &'a str,
    image: &'a Path,
}

fn both_models(release: Release) -> Result<()> {
    let (mut guest, _) = usual::of_all(release)?;
    let Wired { shell, running, .. } = &mut guest;
    let [virtio, nvme, fixed] = ["v.raw", "n.raw", "f.raw"].map(|image| running.path(image));
    let socket = running.path("api");

    let said = shell.sh("cat /sys/class/nvme/nvme0/model /sys/class/nvme/nvme0/serial")?;
    let words: Vec<_> = said.lines().map(str::trim).collect();
    ensure!(words == ["Amazon Elastic Block Store", "vol0123456789abcdef0"], "{words:?}");
    for (file, wanted) in [
        ("vda/serial", "v"),
        ("vda/queue/write_cache", "write back"),
        ("nvme0n1/queue/write_cache", "write back"),
        ("vda/queue/logical_block_size", "512"),
        ("nvme0n1/queue/logical_block_size", "512"),
        ("vda/ro", "0"),
        ("vdb/ro", "1"),
    ] {
        let said = shell.sh(&format!("cat /sys/block/{file}"))?;
        ensure!(said.trim() == wanted, "{file} is {said:?}");
    }
    let queues = shell.sh("ls -d /sys/block/vda/mq/* /sys/block/nvme0n1/mq/* | wc -l")?;
    ensure!(queues.trim() == "4", "{queues} queues");
    ensure!(shell.sh("echo x > /dev/vdb").is_err(), "a read-only disk was written");

    for disk in [
        Disk { id: "v", name: "vda", image: &virtio },
        Disk { id: "n", name: "nvme0n1", image: &nvme },
    ] {
        disk.is_used(shell, &socket).with_context(|| disk.name.to_owned())?;
    }
    ensure!(is_zero(&fs::read(&fixed)?), "the read-only image has changed");
    finish(running, shell)
}

impl Disk<'_> {
    fn is_used(&self, shell: &mut Shell, socket: &Path) -> Result<()> {
        let device = format!("/dev/{}", self.name);
        // What was written and synced is in the image.
        let written = shell.sh(&format!(
            "dd if=/dev/urandom of=/tmp/raw bs=1M count=2 2>/dev/null && \
             dd if=/tmp/raw of={device} bs=64k seek={} conv=fsync 2>/dev/null && sha256sum </tmp/raw",
            RAW_MIB * 16
        ))?;
        let part = format!("tail -c +{} $0 | head -c {} | sha256sum", RAW_MIB * MIB + 1, 2 * MIB);
        let on_host = stdout_of(Command::new("sh").args(["-c", &part]).arg(self.image))?;
        ensure!(written.trim() == on_host.trim(), "the guest has {written}, the host {on_host}");

        // A file outlives its file system's being mounted.
        let mounted = format!("mount -t ext4 {device} /mnt");
        let sum = shell.sh(&format!(
            "mkdir -p /mnt && mke2fs -b 1024 {device} 8192 >/dev/null && {mounted} && cp /tmp/raw /mnt/a && \
             sync && umount /mnt && {mounted} && sha256sum </mnt/a"
        ))?;
        ensure!(sum.trim() == written.trim(), "of {written} there was {sum}");

        // What is trimmed is given back to the host, and reads as zeroes.
        let before = blocks(self.image)?;
        shell.sh("rm /mnt/a && sync && fstrim /mnt && umount /mnt")?;
        shell.sh(&format!("blkdiscard -o {} -l {} {device}", RAW_MIB * MIB, 2 * MIB))?;
        let after = blocks(self.image)?;
        ensure!(
            after + 3 * MIB / 512 < before,
            "{before} sectors of the image are {after} after trimming"
        );
        let mut raw = vec![1; 2 * MIB as usize];
        let mut image = File::open(self.image)?;
        std::io::Seek::seek(&mut image, std::io::SeekFrom::Start(RAW_MIB * MIB))?;
        image.read_exact(&mut raw)?;
        ensure!(is_zero(&raw), "what was discarded is still there");

        // It grows while it is in use.
        File::options().write(true).open(self.image)?.set_len(GROWN)?;
        let Hypervisor::Vmm(program) = Hypervisor::ours()? else { bail!("another hypervisor") };
        stdout_of(Command::new(program).arg("ctl").arg(socket).args(["disk", self.id, "resize"]))?;
        let file = format!("/sys/block/{}/size", self.name);
        eventually("the new size", PATIENCE, || {
            Ok(shell.sh(&format!("cat {file}"))?.trim() == (GROWN / 512).to_string())
        })?;
        shell.sh(&format!("dd if=/tmp/raw of={device} bs=1M seek=38 conv=fsync 2>/dev/null"))?;
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Sectors of the host that a file takes.
fn blocks(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)?.blocks())
}
