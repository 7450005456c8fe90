//! Boot options of Linux that touch interrupts, timers, ACPI, PCI and CPUs: what comes of each.

use anyhow::{Result, ensure};
use tests::guest::USER_SPACE_REACHED;
use tests::kernel::Release;
use tests::machine::BOOT;
use tests::net::Network;

use crate::scenario::{COMPLAINTS, Scenario, long, machine, stock};

/// What a guest with an option does.
#[derive(Clone, Copy)]
enum Comes {
    /// Network and power-off work as without it, on as many CPUs.
    Whole { cpus: u8 },
    /// It has no interrupts for a network card.
    WithoutCard { cpus: u8 },
}

/// Whether each round tries it, or only the long one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    Always,
    Long,
}

use Tried::{Always, Long};

const WHOLE: Comes = Comes::Whole { cpus: 2 };
const ONE_CPU: Comes = Comes::Whole { cpus: 1 };
/// These kernels cannot read an MP table, so that they keep to one CPU and to the PICs.
const BY_PICS: Comes = Comes::WithoutCard { cpus: 1 };
const WITHOUT_CARD: Comes = Comes::WithoutCard { cpus: 2 };

/// Guests have two CPUs. Without ACPI they cannot power the machine off, but only reset it.
const ROWS: &[(Tried, &str, Comes)] = &[
    (Always, "noapic acpi=off", BY_PICS),
    (Always, "noapic", WHOLE),
    (Always, "nosmp", ONE_CPU),
    // ACPI and PCI.
    (Long, "acpi=off", BY_PICS),
    (Long, "nolapic acpi=off", BY_PICS),
    (Long, "acpi=strict", WHOLE),
    (Long, "pci=off", WHOLE),
    (Long, "pci=off acpi=off", BY_PICS),
    (Long, "pci=nomsi", WITHOUT_CARD),
    (Long, "pci=conf1", WHOLE),
    (Long, "pci=nommconf", WHOLE),
    (Long, "pci=realloc", WHOLE),
    (Long, "pci=nocrs", WHOLE),
    (Long, "pci=assign-busses", WHOLE),
    // Interrupts.
    (Long, "irqpoll", WHOLE),
    (Long, "irqfixup", WHOLE),
    (Long, "noirqdebug", WHOLE),
    (Long, "threadirqs", WHOLE),
    (Long, "apic=debug", WHOLE),
    (Long, "nox2apic", WHOLE),
    (Long, "x2apic_phys", WHOLE),
    (Long, "no_timer_check", WHOLE),
    // CPUs.
    (Long, "maxcpus=1", ONE_CPU),
    (Long, "nr_cpus=1", ONE_CPU),
    (Long, "nopti mitigations=off", WHOLE),
    (Long, "mitigations=auto,nosmt", WHOLE),
    (Long, "nokaslr", WHOLE),
    (Long, "noxsave", WHOLE),
    (Long, "nosmap nosmep", WHOLE),
    (Long, "noinvpcid nopcid", WHOLE),
    (Long, "no5lvl nopku", WHOLE),
    // Clocks and timers.
    (Long, "lapic=notscdeadline", WHOLE),
    (Long, "tsc=reliable", WHOLE),
    (Long, "tsc=unstable", WHOLE),
    (Long, "clocksource=tsc", WHOLE),
    (Long, "clocksource=kvm-clock", WHOLE),
    (Long, "clocksource=acpi_pm", WHOLE),
    (Long, "hpet=disable", WHOLE),
    (Long, "nohpet", WHOLE),
    (Long, "nohz=off highres=off", WHOLE),
    (Long, "lapic_timer_c2_ok", WHOLE),
    (Long, "idle=halt", WHOLE),
    (Long, "idle=nomwait processor.max_cstate=1", WHOLE),
    (Long, "nowatchdog nmi_watchdog=0", WHOLE),
    // What a guest knows of its hypervisor, and the rest.
    (Long, "no-kvmapf no-steal-acc", WHOLE),
    (Long, "nopvspin", WHOLE),
    (Long, "noefi nomodeset", WHOLE),
    (Long, "i8042.noaux i8042.nomux i8042.dumbkbd 8250.nr_uarts=1", WHOLE),
    (Long, "notsc", WHOLE),
    (Long, "clocksource=jiffies", WHOLE),
    (Long, "clocksource=hpet hpet=force", WHOLE),
    (Long, "nolapic_timer", WHOLE),
    (Long, "idle=poll", WHOLE),
];

pub fn scenarios() -> Vec<Scenario> {
    let releases: &[_] = if long() { &Release::GUESTS } else { &[Release::Guest6_1] };
    let scenario = |release: Release, options: &'static str, comes: Comes| {
        let name = format!("options::what_comes_of [{} {options}]", release.name());
        Scenario::new(name, move || boot(release, options, comes))
    };
    let tried = || ROWS.iter().filter(|(tried, ..)| *tried == Always || long());
    let each =
        |&release: &Release| tried().map(move |&(_, words, comes)| scenario(release, words, comes));
    releases.iter().flat_map(each).collect()
}

fn boot(release: Release, options: &str, comes: Comes) -> Result<()> {
    let mut network = Network::new()?;
    let tap = network.tap(1, 1500)?;
    let machine = if long() { stock(release)? } else { machine(release)? };
    let machine = machine.cpus(2).card(&tap);
    let words = [options.to_owned(), format!("guest.quick={}", tap.host_ipv4)];
    let mut running = words
        .iter()
        .fold(machine, |machine, word| machine.parameter(word))
        .start(Some(&network))?;
    running.console.wait_for(0, USER_SPACE_REACHED, BOOT)?;
    let code = if options.contains("acpi=off") { 3 } else { 0 };
    running.expect_exit(code, BOOT)?;

    let console = running.console.text();
    let (network, cpus) = match comes {
        Comes::Whole { cpus } => ("answers", cpus),
        Comes::WithoutCard { cpus } => ("is silent", cpus),
    };
    for said in [format!("{} {network}", tap.host_ipv4), format!("with {cpus} CPUs")] {
        ensure!(console.contains(&said), "the guest does not say {said:?}:\n{console}");
    }
    for complaint in COMPLAINTS {
        ensure!(!console.contains(complaint), "the guest's kernel says {complaint}:\n{console}");
    }
    Ok(())
}
