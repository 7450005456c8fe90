//! vmm is killed while its guest writes and syncs, and the host's power fails: what was synced is there, and file systems are
//! whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::guest::Tool;
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::mapped::{Mapped, Way, lacking};
use tests::process::quiet;
use tests::programs;

use crate::disk_scene::{Disk, Scene};
use crate::scenario::{Scenario, long};

pub fn scenarios() -> Vec<Scenario> {
    let name = "disk_cuts::no_synced_byte_is_lost_when_vmm_is_killed_or_the_power_fails";
    let mut all = Vec::new();
    if long() {
        // In parts, so that one that is lost with its testbed does not take the others with it.
        for part in 1..=PARTS {
            all.extend(Scenario::for_each_kernel(&format!("{name}, part {part} of {PARTS}"), cuts));
        }
    } else {
        all.extend(Scenario::for_each_kernel(name, cuts));
    }
    all.into_iter().map(|scenario| scenario.unless(lacking)).collect()
}

/// Of a long round, for each kernel; and how often vmm is killed in each.
const PARTS: u32 = 5;
const KILLS: u32 = 20;

const MIB: u64 = 1 << 20;
/// Records that each disk has at least, before anything happens.
const LEAST: u64 = 20;

/// How often vmm is killed; half of the time with the power failing.
fn rounds() -> u32 {
    if long() { KILLS } else { 1 }
}

/// A disk of the guest with a file system.
struct Part {
    disk: Disk,
    /// What is made on it, and looked at.
    kind: &'static str,
    /// Where it loses what was not flushed, if it can: the host's power fails there.
    device: Option<Mapped>,
    /// What was last told to be synced.
    said: u64,
}

fn cuts(release: Release) -> Result<()> {
    programs::ensure(&[programs::MKE2FS, programs::XFS_REPAIR])?;
    let folder = tempfile::tempdir()?;
    // XFS wants 300 MiB, of which it writes little; the other one is on a device that forgets.
    let device = Mapped::new("vmm-cut", 2)?;
    let on_device = Disk { id: "e", image: device.path(), options: "model=nvme" };
    let mut parts = [
        Part { disk: on_device, kind: "ext4", device: Some(device), said: 0 },
        Part {
            disk: Disk::on_file(folder.path(), "x", 300 * MIB, "queues=2")?,
            kind: "xfs",
            device: None,
            said: 0,
        },
    ];
    for part in &parts {
        part.make()?;
    }
    let careless = Careless::new()?;
    let begun = Instant::now();
    for nth in 0..rounds() {
        let mut scene = boot(release, &parts, &careless.disk)?;
        for part in &parts {
            part.was_kept(&mut scene).with_context(|| format!("round {nth}, {}", part.kind))?;
        }
        let unsafe_name = scene.name(&careless.disk)?;
        // From here on the console is theirs.
        let lines: Vec<_> = parts.iter().map(Part::begins).collect();
        scene.shell.send(&lines.join(" "))?;
        for part in &parts {
            // As slow as the slowest of all hosts may be.
            let enough = format!("/mnt/{}/records={LEAST};", part.disk.id);
            scene.running.console.wait_for(0, &enough, PATIENCE)?;
        }
        if nth == 0 {
            scene.shell.send(&format!(
                "echo synced | dd of=/dev/{unsafe_name} conv=fsync,notrunc && echo 'careless=done;'"
            ))?;
            scene.running.console.wait_for(0, "careless=done;", PATIENCE)?;
        }
        // At any moment.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        sleep(Duration::from_millis(u64::from(time.subsec_micros() % 1500)));
        let told = cut(scene, &parts, &careless, nth % 2 == 0)?;
        for part in &mut parts {
            part.hear(&told)?;
            let seconds = begun.elapsed().as_secs();
            println!(
                "{seconds:4} s  round {nth}: {} records were synced to {}",
                part.said, part.kind
            );
        }
        if nth == 0 {
            careless.has_lost()?;
        }
    }
    let mut scene = boot(release, &parts, &careless.disk)?;
    for part in &parts {
        part.was_kept(&mut scene)?;
    }
    scene.finish()
}

fn boot(release: Release, parts: &[Part], careless: &Disk) -> Result<Scene> {
    let same = |disk: &Disk| Disk { id: disk.id, image: disk.image.clone(), options: disk.options };
    let disks: Vec<_> = parts.iter().map(|part| &part.disk).chain([careless]).map(same).collect();
    Scene::boot(release, &[Tool::Xfs, Tool::Records], &[], &disks)
}

/// Kills vmm at once; with `power` its host forgets what it had in memory only. Returns what the guest told.
fn cut(scene: Scene, parts: &[Part], careless: &Careless, power: bool) -> Result<String> {
    let devices: Vec<_> =
        parts.iter().filter_map(|part| part.device.as_ref()).chain([&careless.device]).collect();
    if power {
        for device in &devices {
            device.stop()?;
        }
    }
    scene.running.signal(Signal::SIGKILL)?;
    if power {
        for device in &devices {
            device.go_on(&Way::Drops)?;
        }
    }
    let mut running = scene.running;
    let console = running.console.clone();
    running.wait(PATIENCE)?;
    let told = console.wait_for_end(PATIENCE)?;
    if power {
        for device in devices {
            device.become_so(&Way::Whole)?;
        }
    }
    Ok(told)
}

impl Part {
    fn make(&self) -> Result<()> {
        let image = &self.disk.image;
        match self.kind {
            "ext4" => quiet(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(image)),
            _ => quiet(Command::new("mkfs.xfs").args(["-q", "-f"]).arg(image)),
        }
        .map(drop)
    }

    /// Takes from what the guest told what was synced. What was not told to its end was perhaps not told.
    fn hear(&mut self, told: &str) -> Result<()> {
        let begin = format!("/mnt/{}/records=", self.disk.id);
        let number = |(at, _)| {
            let (number, _) = told.get(at + begin.len()..)?.split_once(';')?;
            number.parse().ok()
        };
        let last = told.rmatch_indices(&begin).find_map(number);
        self.said = last.with_context(|| format!("nothing was told of {}", self.kind))?;
        Ok(())
    }

    /// The file system is as it should be, without repair. It must not be mounted.
    fn is_whole(&self) -> Result<()> {
        let image = &self.disk.image;
        match self.kind {
            "ext4" => quiet(Command::new("e2fsck").arg("-fn").arg(image)),
            _ => quiet(Command::new("xfs_repair").args(["-n", "-f"]).arg(image)),
        }
        .map(drop)
    }

    /// Mounts it, which plays its journal back, and checks all that was said; and then the file system itself.
    fn was_kept(&self, scene: &mut Scene) -> Result<()> {
        let (name, place) = (scene.name(&self.disk)?, format!("/mnt/{}", self.disk.id));
        let check = match self.said {
            0 => "true".to_owned(),
            said => format!("records check {place}/records {said} 2>&1"),
        };
        let kind = self.kind;
        scene.shell.sh(&format!(
            "mkdir -p {place} && echo /dev/{name} >{place}.name && mount -t {kind} /dev/{name} {place} && \
             {check} && umount {place}"
        ))?;
        self.is_whole()
    }

    /// The line that begins to write to it.
    fn begins(&self) -> String {
        let (kind, place) = (self.kind, format!("/mnt/{}", self.disk.id));
        format!("mount -t {kind} $(cat {place}.name) {place} && records write {place}/records &")
    }
}

/// A disk whose flushes promise nothing, on a device that forgets.
struct Careless {
    disk: Disk,
    device: Mapped,
}

impl Careless {
    fn new() -> Result<Self> {
        let device = Mapped::new("vmm-unsafe", 1)?;
        let disk = Disk { id: "u", image: device.path(), options: "cache=unsafe" };
        Ok(Self { disk, device })
    }

    /// It is not there: nobody was promised that it would.
    fn has_lost(&self) -> Result<()> {
        ensure!(
            head(&self.disk.image)? == [0; 6],
            "what an unsafe disk had in memory is still there"
        );
        Ok(())
    }
}

fn head(path: &Path) -> Result<[u8; 6]> {
    let mut head = [0; 6];
    File::open(path)?.read_exact_at(&mut head, 0)?;
    Ok(head)
}
