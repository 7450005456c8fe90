//! Boot options of Linux that touch interrupts, timers, ACPI, PCI and CPUs: what comes of each.

use anyhow::{Result, ensure};
use tests::guest::USER_SPACE_REACHED;
use tests::kernel::Release;
use tests::machine::BOOT;
use tests::net::Network;

use crate::scenario::{COMPLAINTS, Scenario, long, machine};

/// What a guest with an option does.
#[derive(Clone, Copy)]
enum Comes {
    /// Network and power-off work as without it, on as many CPUs.
    Whole { cpus: u8 },
    /// It has no interrupts for a network card.
    WithoutCard { cpus: u8 },
}

struct Row {
    options: &'static str,
    comes: Comes,
    /// Whether it is tried in every round.
    quick: bool,
}

const fn row(options: &'static str, comes: Comes) -> Row {
    Row { options, comes, quick: false }
}

const fn quick(options: &'static str, comes: Comes) -> Row {
    Row { options, comes, quick: true }
}

const WHOLE: Comes = Comes::Whole { cpus: 2 };
const ONE_CPU: Comes = Comes::Whole { cpus: 1 };
const WITHOUT_CARD: Comes = Comes::WithoutCard { cpus: 2 };
/// These kernels cannot read an MP table, so that they keep to one CPU and to the PICs.
const WITHOUT_APIC: Comes = Comes::WithoutCard { cpus: 1 };

/// Guests have two CPUs. Without ACPI they cannot power the machine off, but only reset it.
const ROWS: &[Row] = &[
    quick("noapic acpi=off", WITHOUT_APIC),
    quick("noapic", WHOLE),
    quick("nosmp", ONE_CPU),
    row("acpi=off", WITHOUT_APIC),
    row("nolapic acpi=off", WITHOUT_APIC),
    row("acpi=strict", WHOLE),
    row("pci=off", WITHOUT_CARD),
    row("pci=nomsi", WITHOUT_CARD),
    row("pci=conf1", WHOLE),
    row("pci=nommconf", WHOLE),
    row("pci=realloc", WHOLE),
    row("pci=nocrs", WHOLE),
    row("pci=assign-busses", WHOLE),
    row("maxcpus=1", ONE_CPU),
    row("nr_cpus=1", ONE_CPU),
    row("irqpoll", WHOLE),
    row("irqfixup", WHOLE),
    row("noirqdebug", WHOLE),
    row("threadirqs", WHOLE),
    row("apic=debug", WHOLE),
    row("nox2apic", WHOLE),
    row("x2apic_phys", WHOLE),
    row("lapic=notscdeadline", WHOLE),
    row("notsc", WHOLE),
    row("tsc=reliable", WHOLE),
    row("tsc=unstable", WHOLE),
    row("clocksource=tsc", WHOLE),
    row("clocksource=kvm-clock", WHOLE),
    row("clocksource=acpi_pm", WHOLE),
    row("clocksource=hpet hpet=force", WHOLE),
    row("clocksource=jiffies", WHOLE),
    row("hpet=disable", WHOLE),
    row("nohpet", WHOLE),
    row("no-kvmapf no-steal-acc", WHOLE),
    row("nopv", WHOLE),
    row("nopvspin", WHOLE),
    row("nohz=off highres=off", WHOLE),
    row("nolapic_timer", WHOLE),
    row("lapic_timer_c2_ok", WHOLE),
    row("idle=poll", WHOLE),
    row("idle=halt", WHOLE),
    row("idle=nomwait processor.max_cstate=1", WHOLE),
    row("nopti mitigations=off", WHOLE),
    row("mitigations=auto,nosmt", WHOLE),
    row("nokaslr", WHOLE),
    row("noxsave", WHOLE),
    row("nosmap nosmep", WHOLE),
    row("noinvpcid nopcid", WHOLE),
    row("no_timer_check", WHOLE),
    row("no5lvl nopku", WHOLE),
    row("nowatchdog nmi_watchdog=0", WHOLE),
    row("noefi nomodeset", WHOLE),
    row("i8042.noaux i8042.nomux i8042.dumbkbd 8250.nr_uarts=1", WHOLE),
];

pub fn scenarios() -> Vec<Scenario> {
    let releases: &[_] = if long() { &Release::GUESTS } else { &[Release::Guest6_1] };
    let chosen = || ROWS.iter().filter(|row| row.quick || long());
    let scenario = |release: Release, row: &'static Row| {
        let name = format!("options::what_comes_of [{} {}]", release.name(), row.options);
        Scenario::new(name, move || boot(release, row))
    };
    releases.iter().flat_map(|&release| chosen().map(move |row| scenario(release, row))).collect()
}

fn boot(release: Release, row: &Row) -> Result<()> {
    let mut network = Network::new()?;
    let tap = network.tap(1, 1500)?;
    let machine = machine(release)?.cpus(2).card(&tap);
    let words = [row.options.to_owned(), format!("guest.quick={}", tap.host_ipv4)];
    let mut running = words
        .iter()
        .fold(machine, |machine, word| machine.parameter(word))
        .start(Some(&network))?;
    running.console.wait_for(0, USER_SPACE_REACHED, BOOT)?;
    let code = if row.options.contains("acpi=off") { 3 } else { 0 };
    running.expect_exit(code, BOOT)?;

    let console = running.console.text();
    let (network, cpus) = match row.comes {
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
