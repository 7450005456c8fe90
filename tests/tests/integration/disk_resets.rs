//! Controllers that a Linux resets thousands of times while it writes, reads and compares: nothing is lost, nothing is wrong.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::guest::Tool;
use tests::host::PATIENCE;
use tests::kernel::Release;

use crate::disk_scene::{Disk, Load, Scene};
use crate::scenario::{Scenario, long};

/// Resets in all. Each test has its share, as one that is lost with its testbed does not take the others with it.
const RESETS: u32 = 10_000;
/// Tests for each kernel.
const PARTS: u32 = 20;
/// Resets of a test.
const SHARE: u32 = RESETS / PARTS / Release::GUESTS.len() as u32;
/// After so many the load must have gone on.
const STEP: u32 = 50;

const MIB: u64 = 1 << 20;

pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        // A few are among what happens to disks at work.
        return Vec::new();
    }
    let of = |part: u32| {
        let name = format!("disk_resets::thousands_of_resets_lose_no_byte, part {part} of {PARTS}");
        let options =
            ["engine=uring,model=nvme,queues=3", "engine=threads,model=nvme"][part as usize % 2];
        Scenario::for_each_kernel(&name, move |release| resets(release, options))
    };
    (1..=PARTS).flat_map(of).collect()
}

fn resets(release: Release, options: &'static str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = Disk::on_file(folder.path(), "n", 16 * MIB, options)?;
    let mut scene = Scene::boot(release, &[Tool::Fio], &[], std::slice::from_ref(&disk))?;
    let name = scene.name(&disk)?;
    let controller = name.strip_suffix("n1").context("a name without a namespace")?.to_owned();
    let job = "ioengine=io_uring rw=randrw rwmixread=30 bssplit=4k/60:32k/40 iodepth=8 size=1m \
               verify_backlog=32";
    let load = Load::begin(&mut scene.shell, "load", &[(name.clone(), job.to_owned())])?;
    let before = scene.number(&disk, "resets")?;
    let begun = Instant::now();
    for done in (STEP..=SHARE).step_by(STEP as usize) {
        scene.shell.sh_within(
            &format!(
                "n=0; while [ $n -lt {STEP} ]; do echo 1 >/sys/class/nvme/{controller}/reset_controller || break; \
                 n=$((n+1)); done; [ $n = {STEP} ]"
            ),
            PATIENCE,
        )?;
        load.rounds(&mut scene.shell, 1).with_context(|| format!("after {done} resets"))?;
        println!("{:6.1} s  {done} resets", begun.elapsed().as_secs_f64());
    }
    load.end(&mut scene.shell)?;
    let counted = scene.number(&disk, "resets")? - before;
    ensure!(counted >= u64::from(SHARE), "{counted} resets were counted");
    let counters = scene.drive(&disk)?["counters"].clone();
    let troubles = ["medium_errors", "no_space", "bad_memory", "guest_faults"];
    ensure!(troubles.iter().all(|name| counters[name] == 0), "{counters}");
    scene.finish()
}
