//! Disks whose host fails them, and disks that fail on purpose: the guest gets an error, vmm says a line, and both go on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::host::PATIENCE;
use tests::kernel::Release;
use tests::mapped::{Mapped, Way, lacking};
use tests::process::quiet;

use crate::disk_scene::{Disk, Scene};
use crate::scenario::{Scenario, eventually};

pub fn scenarios() -> Vec<Scenario> {
    let name = "disk_faults::what_fails_is_an_error_in_the_guest_and_a_line_of_vmms";
    Scenario::for_each_kernel(name, faults)
        .into_iter()
        .map(|scenario| scenario.unless(lacking))
        .collect()
}

const MIB: u64 = 1 << 20;
/// Sectors of the devices that fail.
const BAD: std::ops::Range<u64> = 8192..8256;
/// Seconds after which Linux takes a command of an NVMe controller for lost.
const TIMEOUT: u32 = 3;

/// A file system in memory with little room; it goes with its owner.
struct Small(PathBuf);

impl Small {
    fn new(folder: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir(folder)?;
        quiet(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "small"])
                .arg(folder),
        )?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whoever still has a file there keeps it.
        let _ = quiet(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn faults(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = Small::new(&folder.path().join("small"), 4 * MIB)?;
    let [cached, direct] = [Mapped::new("vmm-cached", 1)?, Mapped::new("vmm-direct", 1)?];
    let on = |id, device: &Mapped, options| Disk { id, image: device.path(), options };
    let file = |id, options| Disk::on_file(folder.path(), id, 16 * MIB, options);
    let disks = [
        on("c", &cached, "queues=2"),
        on("d", &direct, "model=nvme,direct=on,engine=threads"),
        Disk::on_file(&small.0, "v", 16 * MIB, "")?,
        Disk::on_file(&small.0, "n", 16 * MIB, "model=nvme,engine=threads")?,
        file("x", "")?,
        file("y", "model=nvme")?,
    ];
    let timeouts = format!("nvme_core.io_timeout={TIMEOUT} nvme_core.admin_timeout={TIMEOUT}");
    let words: Vec<_> = timeouts.split(' ').collect();
    let mut scene = Scene::boot(release, &[], &words, &disks)?;
    let mut names = Vec::new();
    for disk in &disks {
        names.push(scene.name(disk)?);
    }
    scene
        .shell
        .sh("dd if=/dev/urandom of=/tmp/some bs=64k count=1 2>/dev/null; dmesg -c >/dev/null")?;
    let named: Vec<_> = disks.iter().zip(names.iter().map(String::as_str)).collect();
    let [c, d, v, n, x, y] = named[..] else { unreachable!("there are six") };
    timed("direct", || medium(&mut scene, d, &direct, Seen::AtOnce))?;
    timed("cached", || medium(&mut scene, c, &cached, Seen::ByFlush))?;
    timed("room", || [v, n].into_iter().try_for_each(|disk| no_room(&mut scene, disk)))?;
    timed("truncated", || [x, y].into_iter().try_for_each(|disk| truncated(&mut scene, disk)))?;
    timed("deleted", || {
        [x, y].into_iter().try_for_each(|disk| deleted(&mut scene, disk, folder.path()))
    })?;
    timed("error, slow", || [x, y].into_iter().try_for_each(|disk| mild(&mut scene, disk)))?;
    timed("swallow", || [x, y].into_iter().try_for_each(|disk| swallowed(&mut scene, disk)))?;
    timed("fatal", || gone(&mut scene, y.0, "fatal"))?;
    timed("vanish", || gone(&mut scene, y.0, "vanish"))?;
    // What each of them has to say in a minute is a line; a disk that is asked for more says no more.
    let said = scene.running.errors.text();
    ensure!(said.lines().count() <= LINES, "{} lines:\n{said}", said.lines().count());
    scene.finish()
}

/// One for each disk and what befalls it, and what the API refuses.
const LINES: usize = 24;

fn timed(what: &str, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let done = run();
    println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    done.with_context(|| format!("disks that fail, {what}"))
}

type Named<'a> = (&'a Disk, &'a str);

/// Reads or writes 4 KiB at a sector, past the guest's own cache.
fn read(name: &str, sector: u64) -> String {
    format!("dd if=/dev/{name} of=/dev/null bs=4k skip={} count=1 iflag=direct", sector / 8)
}

fn write(name: &str, sector: u64) -> String {
    let at = sector / 8;
    format!("dd if=/tmp/some of=/dev/{name} bs=4k seek={at} count=1 oflag=direct conv=notrunc")
}

/// Flushes what `of=` names, and writes nothing.
const FLUSH: &str = "dd if=/dev/null conv=fsync,notrunc";

/// What a guest says of a part that cannot be read or written: NVMe calls it a matter of the medium, and Linux that a lack
/// of data.
fn bad(name: &str) -> &'static str {
    if name.starts_with("nvme") { "No data available" } else { "Input/output error" }
}

/// Waits until vmm has said something with these words.
fn says(scene: &Scene, words: &str) -> Result<()> {
    scene.running.errors.wait_for(0, words, PATIENCE).map(drop)
}

/// When a guest learns that what it writes fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// As the host's page cache is passed by.
    AtOnce,
    ByFlush,
}

/// Some sectors of the host's device fail, and later no more.
fn medium(scene: &mut Scene, (disk, name): Named, device: &Mapped, seen: Seen) -> Result<()> {
    device.become_so(&Way::Fails(BAD))?;
    scene.fails(&read(name, BAD.start), bad(name))?;
    scene.shell.sh(&format!("{} 2>/dev/null", read(name, BAD.start - 8)))?;
    says(scene, &format!("disk {}: cannot read {}", disk.id, disk.image.display()))?;
    match seen {
        Seen::AtOnce => {
            scene.fails(&write(name, BAD.start), bad(name))?;
            scene
                .shell
                .sh(&format!("{} 2>/dev/null && {FLUSH} of=/dev/{name}", write(name, BAD.end)))?;
            device.become_so(&Way::Whole)?;
        }
        Seen::ByFlush => {
            // The host says of a lost write once: no flush succeeds until somebody has looked after it.
            scene.shell.sh(&format!("{} 2>/dev/null", write(name, BAD.start)))?;
            scene.fails(&format!("{FLUSH} of=/dev/{name}"), "")?;
            says(scene, "cannot flush")?;
            device.become_so(&Way::Whole)?;
            scene.fails(&format!("{FLUSH} of=/dev/{name}"), "")?;
            scene.fails(&format!("{FLUSH} of=/dev/{name}"), "")?;
            scene.changed(disk, json!({ "path_on_host": disk.image }))?;
        }
    }
    let (write, read) = (write(name, BAD.start), read(name, BAD.start));
    scene
        .shell
        .sh(&format!("{write} 2>/dev/null && {FLUSH} of=/dev/{name} && {read} 2>/dev/null"))?;
    ensure!(scene.number(disk, "medium_errors")? > 0, "{}", scene.drive(disk)?);
    // Tried again and again by the guest, told once.
    let lines = scene.lines(&format!("disk {}: cannot", disk.id));
    ensure!(lines == 1, "{lines} lines of disk {}", disk.id);
    Ok(())
}

/// The host's file system is full. NVMe has a word for that.
fn no_room(scene: &mut Scene, (disk, name): Named) -> Result<()> {
    let words = if name.starts_with("nvme") { "No space left on device" } else { "error" };
    let fill = format!("dd if=/dev/zero of=/dev/{name} bs=64k oflag=direct");
    scene.fails(&fill, words)?;
    ensure!(scene.number(disk, "no_space")? > 0, "{}", scene.drive(disk)?);
    says(scene, &format!("disk {}: cannot write {}", disk.id, disk.image.display()))?;
    // What is there can be read, and when there is room again it goes on.
    scene.shell.sh(&format!("{} 2>/dev/null && blkdiscard /dev/{name}", read(name, 0)))?;
    scene.shell.sh(&format!(
        "{} 2>/dev/null && {FLUSH} of=/dev/{name} && blkdiscard /dev/{name}",
        write(name, 64)
    ))?;
    let lines = scene.lines(&format!("disk {}: cannot write", disk.id));
    ensure!(lines == 1, "{lines} lines of disk {}", disk.id);
    Ok(())
}

/// Somebody cuts the image's end off.
fn truncated(scene: &mut Scene, (disk, name): Named) -> Result<()> {
    let (kept, size) = (4 * MIB / 512, 16 * MIB);
    scene.shell.sh(&format!(
        "{} 2>/dev/null && {} 2>/dev/null",
        write(name, 0),
        write(name, 2 * kept)
    ))?;
    let file = File::options().write(true).open(&disk.image)?;
    file.set_len(kept * 512)?;
    scene.fails(&read(name, 2 * kept), bad(name))?;
    says(scene, &format!("disk {}: cannot read {}", disk.id, disk.image.display()))?;
    scene.shell.sh(&format!("{} 2>/dev/null && {FLUSH} of=/dev/{name}", read(name, 0)))?;
    // What the guest writes is there again, and what is before it is a hole.
    let write = write(name, 2 * kept);
    scene.shell.sh(&format!("{write} 2>/dev/null && {} 2>/dev/null", read(name, 2 * kept)))?;
    ensure!(fs::metadata(&disk.image)?.len() == (2 * kept + 8) * 512, "the file has not grown");
    for bytes in [kept * 512, size] {
        file.set_len(bytes)?;
        ensure!(scene.refresh(disk)?.is_none(), "it keeps its size");
        eventually("the new size", PATIENCE, || {
            let sectors = scene.shell.sh(&format!("cat /sys/block/{name}/size"))?;
            Ok(sectors.trim() == (bytes / 512).to_string())
        })?;
    }
    says(scene, "has shrunk from")?;
    scene.shell.sh(&format!("dd if=/dev/{name} of=/dev/null bs=1M iflag=direct 2>/dev/null"))?;
    Ok(())
}

/// Somebody deletes the image: whoever has it open keeps it, until another one takes its place.
fn deleted(scene: &mut Scene, (disk, name): Named, folder: &Path) -> Result<()> {
    fs::remove_file(&disk.image)?;
    scene.shell.sh(&format!(
        "{} 2>/dev/null && {FLUSH} of=/dev/{name} && {} 2>/dev/null && blkdiscard -o 1048576 -l 1048576 /dev/{name}",
        write(name, 0),
        read(name, 0)
    ))?;
    ensure!(scene.refresh(disk)?.is_none(), "its size is that of the open file");
    let refused = scene.change(disk, json!({ "path_on_host": disk.image }))?;
    ensure!(refused.as_ref().is_some_and(|said| said.contains("No such file")), "{refused:?}");
    let next = Disk::on_file(folder, disk.id, 16 * MIB, "")?;
    scene.changed(disk, json!({ "path_on_host": next.image }))?;
    scene.shell.sh(&format!("{} 2>/dev/null && {FLUSH} of=/dev/{name}", write(name, 8)))?;
    let written = fs::read(&next.image)?;
    ensure!(
        written.get(4096..8192).is_some_and(|part| part.iter().any(|byte| *byte != 0)),
        "not written"
    );
    Ok(())
}

/// Faults that no driver resets for.
fn mild(scene: &mut Scene, (disk, name): Named) -> Result<()> {
    scene.inject(disk, "error")?;
    scene.fails(&read(name, 0), bad(name))?;
    scene.fails(&write(name, 0), bad(name))?;
    scene.hears(if name.starts_with("nvme") {
        "critical medium error|I/O Error"
    } else {
        "I/O error"
    })?;
    scene.clear_faults(disk)?;
    scene.inject(disk, "slow")?;
    let took = scene.shell.sh(&format!(
        "a=$(cut -d. -f1 /proc/uptime); {} 2>/dev/null && {} 2>/dev/null; echo $(($(cut -d. -f1 /proc/uptime)-a))",
        read(name, 0),
        write(name, 0)
    ))?;
    ensure!(took.trim().parse::<u64>()? >= 1, "two slow requests took {took} s");
    scene.clear_faults(disk)
}

/// virtio-blk waits for what is swallowed; NVMe's driver calls it lost, and tries again.
fn swallowed(scene: &mut Scene, (disk, name): Named) -> Result<()> {
    let counted = scene.number(disk, "medium_errors")?;
    scene.inject(disk, "swallow")?;
    scene.shell.sh(&format!("({} 2>/dev/null; echo $? >/tmp/ended) & true", read(name, 64)))?;
    if name.starts_with("nvme") {
        scene.hears("timeout, (aborting|reset controller)")?;
    } else {
        tests::host::eventually("a request in flight", PATIENCE, || {
            Ok(scene.number(disk, "in_flight")? > 0)
        })?;
        scene.fails("[ -e /tmp/ended ]", "")?;
    }
    scene.clear_faults(disk)?;
    let status = scene.shell.sh("wait; cat /tmp/ended; rm /tmp/ended")?;
    ensure!(status.trim() == "0", "the reader ended with {status}");
    ensure!(scene.number(disk, "medium_errors")? == counted, "{}", scene.drive(disk)?);
    scene.shell.sh(&format!("{} 2>/dev/null && {FLUSH} of=/dev/{name}", write(name, 0))).map(drop)
}

/// A controller that is of no use: its driver resets it, in vain, and gives it up. It comes back as a new one.
fn gone(scene: &mut Scene, disk: &Disk, fault: &str) -> Result<()> {
    let name = scene.name(disk)?;
    let place = scene.shell.sh(&format!("readlink -f /sys/block/{name}/device/device"))?;
    let place = place.trim();
    scene.inject(disk, fault)?;
    scene.shell.sh(&format!("({} 2>/dev/null; echo $? >/tmp/ended) & true", read(&name, 64)))?;
    scene.hears("controller is down|timeout, (disable|reset) controller")?;
    let status = scene.shell.sh("wait; cat /tmp/ended; rm /tmp/ended")?;
    ensure!(status.trim() != "0", "a read of a controller that is gone ended with {status}");
    scene.clear_faults(disk)?;
    scene.shell.sh(&format!(
        "dmesg -c >/dev/null; [ ! -e {place}/remove ] || echo 1 >{place}/remove; echo 1 >/sys/bus/pci/rescan"
    ))?;
    let name = scene.name(disk)?;
    scene.shell.sh(&format!("{} 2>/dev/null && {FLUSH} of=/dev/{name}", write(&name, 0))).map(drop)
}
