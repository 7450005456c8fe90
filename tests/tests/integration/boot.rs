//! Kernels, their formats, CPUs and memory: what is asked for is what the guest sees.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::guest::Shell;
use tests::kernel::{Format, Release};
use tests::machine::Machine;

use crate::scenario::{Scenario, finish, long, machine, stock};

/// (CPUs, MiB) that every kernel is booted with; the second has memory above the PCI hole. The quick round takes
/// each in one format: of kernel, format and size any two come together.
const SIZES: [(u8, u32); 3] = [(1, 128), (2, 5 * 1024), (4, 1024)];
/// What else there is in the long round.
const MORE: [(u8, u32); 8] =
    [(2, 512), (1, 5 * 1024), (3, 512), (5, 512), (7, 512), (8, 1024), (16, 1024), (64, 1024)];

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for release in Release::GUESTS {
        for format in [Format::BzImage, Format::Vmlinux] {
            for (nth, (cpus, memory)) in SIZES.into_iter().enumerate() {
                let is_vmlinux = (release == Release::Guest6_12) != (nth == 2);
                if long() || is_vmlinux == (format == Format::Vmlinux) {
                    all.push(scenario(release, format, cpus, memory));
                }
            }
            if long() {
                all.extend(MORE.map(|(cpus, memory)| scenario(release, format, cpus, memory)));
            }
        }
    }
    all.push(Scenario::new("boot::a_disk_boots_what_its_boot_loader_would", on_disk));
    if long() {
        // The quick round has it where all CPUs and memory are looked for.
        let name = "boot::guests_read_who_the_machine_is";
        all.extend(Scenario::for_each_version(name, |release| {
            let (mut running, mut shell) = named(machine(release)?).boot(None)?;
            knows_itself(&mut shell)?;
            finish(&mut running, &mut shell)
        }));
    }
    all.extend(Scenario::for_each_kernel("boot::a_bzimage_lies_where_it_is_put", placed));
    all
}

/// Kernel, initial file system and command line come from a disk, and what the user adds goes behind.
fn on_disk() -> Result<()> {
    let machine = machine(Release::Guest6_12)?.parameter("said=by-the-menu").on_disk();
    let (mut running, mut shell) =
        machine.argument("--cmdline").argument("said=by-the-user").boot(None)?;
    let cmdline = shell.sh("cat /proc/cmdline")?;
    let words: Vec<_> = cmdline.split(' ').filter(|word| word.starts_with("said=")).collect();
    ensure!(words == ["said=by-the-menu", "said=by-the-user"], "it is told {cmdline:?}");
    finish(&mut running, &mut shell)
}

const UUID: &str = "ec2e1916-9099-7c05-8a4b-00a0c93ec93b";

/// One that is told who it is.
fn named(machine: Machine) -> Machine {
    let said = format!("vendor=Acme Ltd,product=Box,serial=ds=x;h=y,uuid={UUID},asset-tag=i-0123");
    machine.argument("--smbios").argument(said)
}

/// What it is told of itself is what the guest's programs read.
fn knows_itself(shell: &mut Shell) -> Result<()> {
    for (file, wanted) in [
        ("sys_vendor", "Acme Ltd"),
        ("bios_vendor", "Acme Ltd"),
        ("product_name", "Box"),
        ("product_serial", "ds=x;h=y"),
        ("product_uuid", UUID),
        ("board_asset_tag", "i-0123"),
        ("chassis_asset_tag", "i-0123"),
        ("chassis_type", "1"),
    ] {
        let seen = shell.sh(&format!("cat /sys/class/dmi/id/{file}"))?;
        ensure!(seen == wanted, "{file} is {seen:?}, not {wanted:?}");
    }
    Ok(())
}

/// At random, if nobody says otherwise; and where it was linked for.
fn placed(release: Release) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let unpacked =
        || -> Result<_> { Ok(stock(release)?.argument("--kernel-cache").argument(cache.path())) };
    let randomly = place(unpacked()?)?;
    ensure!(fs::read_dir(cache.path())?.count() > 0, "the kernel was not kept");
    let linked = place(unpacked()?.parameter("nokaslr"))?;
    ensure!(linked == LINKED, "with nokaslr it lies at {linked:x?}");
    // Some hundred places each: that both are the usual ones happens once in many ten thousands.
    ensure!(randomly != LINKED, "without a word it lies at {randomly:x?} as well");
    if !long() {
        return Ok(());
    }
    // Unpacked by the guest itself, and so put there by it.
    let by_itself = place(stock(release)?.argument("--kernel-cache").argument("off"))?;
    ensure!(by_itself != LINKED, "by itself it lies at {by_itself:x?}");
    Ok(())
}

/// Where Linux's code is by default, in memory and at virtual addresses.
const LINKED: [u64; 2] = [0x100_0000, 0xffff_ffff_8100_0000];

/// Where the code of a machine's kernel is, and that both kinds of addresses go by 2 MiB.
fn place(machine: Machine) -> Result<[u64; 2]> {
    let (mut running, mut shell) = machine.boot(None)?;
    let code = shell.sh("sed -n 's/-.*Kernel code//p' /proc/iomem")?;
    let text = shell.sh("sed -n 's/ T _text$//p' /proc/kallsyms")?;
    let place = [&code, &text].map(|hex| u64::from_str_radix(hex.trim(), 16));
    let place = [place[0].clone()?, place[1].clone()?];
    ensure!(place.iter().all(|address| address % (2 << 20) == 0), "it lies at {place:x?}");
    finish(&mut running, &mut shell)?;
    Ok(place)
}

fn scenario(release: Release, format: Format, cpus: u8, memory: u32) -> Scenario {
    let name = format!(
        "boot::all_cpus_and_memory_are_there [{} {format:?} {cpus} CPUs {memory} MiB]",
        release.name()
    );
    Scenario::new(name, move || boot(release, format, cpus, memory))
}

fn boot(release: Release, format: Format, cpus: u8, memory: u32) -> Result<()> {
    // As people boot the one, and as most tests boot the other.
    let machine = match format {
        Format::BzImage => stock(release)?,
        Format::Vmlinux => machine(release)?,
    };
    let machine = machine.cpus(cpus).memory(memory);
    let is_named = !long() && cpus == 2;
    let (mut running, mut shell) =
        if is_named { named(machine).boot(None)? } else { machine.boot(None)? };
    if is_named {
        knows_itself(&mut shell)?;
    }

    let online = shell.sh("cat /sys/devices/system/cpu/online")?;
    let wanted = if cpus == 1 { "0".to_owned() } else { format!("0-{}", cpus - 1) };
    ensure!(online == wanted, "CPUs {online} are online, not {wanted}");
    ensure!(shell.sh("nproc")? == cpus.to_string(), "the guest does not use all CPUs");

    let seen = memory_mib(&mut shell)?;
    let (low, high) = (f64::from(memory) * 0.95, f64::from(memory) * 1.05);
    ensure!((low..=high).contains(&seen), "the guest sees {seen:.0} MiB of {memory}");
    // Memory that is announced must also be usable: touch some of it, or most.
    let part = memory * 6 / 10;
    if memory >= 512 {
        shell.sh(&format!(
            "mount -t tmpfs -o size={part}m big /mnt && dd if=/dev/zero of=/mnt/x bs=1M count={}",
            part.min(if long() { 700 } else { 100 })
        ))?;
        shell.sh("rm /mnt/x")?;
    }

    let faults = shell.run(
        "dmesg | grep -iE 'acpi.*(error|bios bug)|firmware bug|mtrr.*bad'",
        crate::scenario::OFF,
    )?;
    ensure!(faults.status != 0, "the guest's kernel dislikes our tables:\n{}", faults.output);
    finish(&mut running, &mut shell)
}

/// Sum of the RAM ranges in the guest's memory map.
fn memory_mib(shell: &mut Shell) -> Result<f64> {
    let ranges = shell.sh("grep 'System RAM' /proc/iomem")?;
    let mut bytes = 0;
    for line in ranges.lines() {
        let range = line.trim().split_once(' ').context("an odd line in /proc/iomem")?.0;
        let (from, to) = range.split_once('-').context("an odd range in /proc/iomem")?;
        bytes += u64::from_str_radix(to, 16)? + 1 - u64::from_str_radix(from, 16)?;
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}
