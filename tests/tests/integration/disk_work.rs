//! Disks at work: what fio writes it reads, through both models and both engines, whatever happens meanwhile.

use std::fs::{self, File};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::guest::Tool;
use tests::host::{PATIENCE, eventually};
use tests::kernel::Release;

use crate::disk_scene::{Disk, Load, Scene};
use crate::disk_steps::{self, Step};
use crate::disk_tools;
use crate::scenario::{Scenario, is_as_limited, long};

pub fn scenarios() -> Vec<Scenario> {
    let name = "disk_work::what_was_written_is_read_whatever_happens_to_the_disk_meanwhile";
    Scenario::for_each_kernel(name, work)
}

const MIB: u64 = 1 << 20;
/// Bytes of each disk at first, which are those that fio has, and of a larger one.
fn sizes() -> (u64, u64) {
    if long() { (256 * MIB, 320 * MIB) } else { (24 * MIB, 40 * MIB) }
}

/// How often a thing is done that is to be done at any moment.
fn times(short: u32, many: u32) -> u32 {
    if long() { many } else { short }
}

/// A disk, and the name that the guest has for it.
type Named = (Disk, String);

fn work(release: Release) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (size, _) = sizes();
    let disk = |id, options| Disk::on_file(folder.path(), id, size, options);
    let disks = [
        disk("v", "engine=uring,queues=2")?,
        disk("t", "engine=threads,queues=1")?,
        disk("n", "engine=uring,model=nvme,queues=3")?,
        disk("m", "engine=threads,model=nvme-instance")?,
    ];
    // A queue of each controller is polled by the guest.
    let words = ["nvme.poll_queues=1"];
    let mut scene = Scene::boot(release, &[Tool::Fio, Tool::Nvme], &words, &disks)?;
    let mut named: Vec<Named> = Vec::new();
    for disk in disks {
        let name = scene.name(&disk)?;
        named.push((disk, name));
    }
    for (disk, _) in &named {
        let wanted = if disk.options.contains("uring") { "uring" } else { "threads" };
        let drive = scene.drive(disk)?;
        ensure!(drive["engine"] == wanted && drive["running"] == true, "{drive}");
    }
    disk_tools::checks(&mut scene, &named[2].0, &named[2].1)?;
    verify(&mut scene, &named)?;
    under_load(&mut scene, &named)?;
    for step in disk_steps::AFTERWARDS {
        take(&mut scene, step, &named)?;
    }
    for (disk, _) in &named {
        let counters = scene.drive(disk)?["counters"].clone();
        let troubles = ["medium_errors", "no_space", "bad_memory", "guest_faults"];
        ensure!(troubles.iter().all(|name| counters[name] == 0), "disk {}: {counters}", disk.id);
    }
    let said = scene.running.errors.text();
    ensure!(said.lines().all(|line| line.contains("has shrunk")), "vmm said {said:?}");
    scene.finish()
}

fn take(scene: &mut Scene, step: &Step, named: &[Named]) -> Result<()> {
    let names: Vec<_> = named.iter().map(|(_, name)| name.as_str()).collect();
    let begun = Instant::now();
    let taken = step.take(&mut scene.shell, &names);
    println!("{:6.1} s  {}", begun.elapsed().as_secs_f64(), step.what);
    taken
}

/// One round of each kind of job. What a job writes it reads and compares when all is written.
fn verify(scene: &mut Scene, named: &[Named]) -> Result<()> {
    let part = if long() { "size=256m" } else { "size=1m" };
    let mixed = "bssplit=512/10:4k/40:16k/30:128k/20";
    let kinds = [
        format!("ioengine=io_uring rw=randwrite {mixed} iodepth=32"),
        format!("ioengine=libaio rw=randrw {mixed} iodepth=16 fdatasync=8"),
        format!("ioengine=io_uring rw=randwrite {mixed} iodepth=64 fsync=16"),
        "ioengine=psync rw=write bs=64k".to_owned(),
        // Pieces of any alignment, that are copied on the way, and more requests than queues hold.
        "ioengine=io_uring rw=randwrite bs=4k iodepth=512 iomem_align=512".to_owned(),
        "ioengine=libaio rw=write bs=1m iodepth=8".to_owned(),
        // By queues that are polled, where there are some.
        "ioengine=io_uring hipri=1 rw=randwrite bs=4k iodepth=8".to_owned(),
        "ioengine=psync rw=randwrite bs=512 size=128k fsync=1".to_owned(),
    ];
    let rounds = if long() { kinds.len() } else { 2 };
    for round in 0..rounds {
        let job = |(nth, (_, name)): (usize, &Named)| {
            let kind = &kinds[(round + nth * 2) % kinds.len()];
            let is_polled = name.starts_with("nvme");
            let kind = if is_polled { kind.clone() } else { kind.replace("hipri=1", "") };
            (name.clone(), format!("{part} {kind}"))
        };
        let jobs: Vec<_> = named.iter().enumerate().map(job).collect();
        let begun = Instant::now();
        Load::once(&mut scene.shell, &jobs).with_context(|| format!("fio: {jobs:?}"))?;
        println!("{:6.1} s  fio, round {round}", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn under_load(scene: &mut Scene, named: &[Named]) -> Result<()> {
    let kind = "rw=randrw rwmixread=30 bssplit=4k/60:32k/40 iodepth=8 size=1m verify_backlog=32";
    let jobs: Vec<_> =
        named.iter().map(|(_, name)| (name.clone(), format!("ioengine=io_uring {kind}"))).collect();
    let load = Load::begin(&mut scene.shell, "load", &jobs)?;
    let done = [
        ("grown and shrunk", resized as fn(&mut Scene, &[Named]) -> Result<()>),
        ("taken once more", taken_again),
        ("copied and replaced", moved),
        ("limited", limited),
    ];
    for (what, step) in done {
        let begun = Instant::now();
        step(scene, named).with_context(|| format!("disks under load, {what}"))?;
        println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    }
    for _ in 0..times(1, 10) {
        for step in disk_steps::MEANWHILE {
            take(scene, step, named)?;
        }
    }
    load.rounds(&mut scene.shell, 1)?;
    load.end(&mut scene.shell)
}

/// A disk grows for its guest when its file has, and shrinks likewise, of which vmm tells.
fn resized(scene: &mut Scene, named: &[Named]) -> Result<()> {
    let (size, larger) = sizes();
    let set = |disk: &Disk, bytes| -> Result<()> {
        Ok(File::options().write(true).open(&disk.image)?.set_len(bytes)?)
    };
    for (disk, _) in named {
        set(disk, larger)?;
        ensure!(scene.refresh(disk)?.is_none(), "disk {} does not grow", disk.id);
    }
    for (disk, name) in named {
        let sees = |scene: &mut Scene, bytes: u64| {
            eventually("the new size", PATIENCE, || {
                let sectors = scene.shell.sh(&format!("cat /sys/block/{name}/size"))?;
                Ok(sectors.trim() == (bytes / 512).to_string())
            })
        };
        sees(scene, larger)?;
        // What fio has is in the first part.
        for bytes in [size, larger] {
            set(disk, bytes)?;
            ensure!(scene.refresh(disk)?.is_none(), "disk {} keeps its size", disk.id);
            sees(scene, bytes)?;
        }
    }
    Ok(())
}

/// The same path once more, again and again.
fn taken_again(scene: &mut Scene, named: &[Named]) -> Result<()> {
    for _ in 0..times(2, 500) {
        for (disk, _) in named {
            scene.changed(disk, json!({ "path_on_host": disk.image }))?;
        }
    }
    Ok(())
}

/// While the guest rests its image is moved: what it wrote before it reads from the new one.
fn moved(scene: &mut Scene, named: &[Named]) -> Result<()> {
    for nth in 0..times(1, 20) {
        for (disk, _) in named {
            scene.set_state("Paused")?;
            let next = disk.image.with_extension(format!("next{}", nth % 2));
            let now = scene.drive(disk)?["path"].as_str().context("no path")?.to_owned();
            fs::copy(&now, &next)?;
            scene.changed(disk, json!({ "path_on_host": next }))?;
            // Whoever still reads or writes here is found out.
            fs::write(&now, b"gone")?;
            scene.set_state("Resumed")?;
        }
    }
    Ok(())
}

/// Limits are kept from the moment on in which they are set.
fn limited(scene: &mut Scene, named: &[Named]) -> Result<()> {
    const BYTES: u64 = 400_000;
    const REQUESTS: u64 = 40;
    let span = Duration::from_secs(if long() { 20 } else { 2 });
    let bucket = |rate: u64| json!({ "size": rate / 10, "refill_time": 100 });
    let limits = |kind: &str, size: u64| json!({ "rate_limiter": { kind: bucket(size) } });
    let pair = [&named[0], &named[2]];
    // More than may go, at any time.
    let job = |name: &str| format!("--name={name} --filename=/dev/{name}");
    let jobs = pair.map(|(_, name)| job(name)).join(" ");
    scene.shell.sh(&format!(
        "fio --thread=1 --direct=1 --ioengine=io_uring --iodepth=16 --rw=randrw --bssplit=4k/80:32k/20 --offset=16m \
         --size=4m --time_based=1 --runtime=3600 --clocksource=clock_gettime {jobs} >/dev/null 2>&1 & echo $! >/tmp/flood"
    ))?;
    let pairs = [(pair[0], pair[1]), (pair[1], pair[0])];
    for ((ours, _), (theirs, _)) in pairs.into_iter().take(if long() { 2 } else { 1 }) {
        let waited = [scene.number(ours, "throttled")?, scene.number(theirs, "throttled")?];
        scene.changed(ours, limits("bandwidth", BYTES))?;
        scene.changed(theirs, limits("ops", REQUESTS))?;
        eventually("limits that are felt", PATIENCE, || {
            Ok(scene.number(ours, "throttled")? > waited[0]
                && scene.number(theirs, "throttled")? > waited[1])
        })?;
        // What had been let through before is over by then.
        sleep(Duration::from_secs(1));
        let (begin, bytes_before, requests_before) = moved_so_far(scene, ours, theirs)?;
        sleep(span);
        let (end, bytes, requests) = moved_so_far(scene, ours, theirs)?;
        let seconds = end.duration_since(begin).as_secs_f64();
        for (what, count, wanted) in [
            ("bytes", bytes - bytes_before, BYTES),
            ("requests", requests - requests_before, REQUESTS),
        ] {
            let rate = count as f64 / seconds;
            let as_limited = is_as_limited(rate, wanted as f64);
            ensure!(as_limited, "{rate:.1} {what} a second instead of {wanted}");
        }
        for disk in [ours, theirs] {
            let none = json!({ "bandwidth": bucket(0), "ops": bucket(0) });
            scene.changed(disk, json!({ "rate_limiter": none }))?;
        }
    }
    scene.shell.sh("p=$(cat /tmp/flood); kill $p && { wait $p || true; }")?;
    Ok(())
}

/// The time, bytes that one disk has moved, and requests that another has ended.
fn moved_so_far(scene: &Scene, ours: &Disk, theirs: &Disk) -> Result<(Instant, u64, u64)> {
    let sum = |disk: &Disk, names: &[&str]| -> Result<u64> {
        let counters = scene.drive(disk)?["counters"].clone();
        Ok(names.iter().filter_map(|name| counters[name].as_u64()).sum())
    };
    let now = Instant::now();
    let requests = ["reads", "writes", "flushes", "discards", "zeroes"];
    Ok((now, sum(ours, &["read_bytes", "write_bytes"])?, sum(theirs, &requests)?))
}
