//! Machines without PCI: virtio devices at fixed addresses, each with one interrupt line.

use anyhow::{Result, ensure};
use tests::kernel::Release;

use crate::network::{ANSWER, some};
use crate::scenario::{Scenario, Wired, long, machine, network};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Scenario::for_each_kernel(
        "mmio::a_kernel_told_pci_off_finds_its_cards_at_fixed_addresses",
        |release| without_pci(release, Asked::OfKernel),
    );
    if long() {
        all.extend(Scenario::for_each_kernel(
            "mmio::a_machine_of_bus_mmio_has_no_pci",
            |release| without_pci(release, Asked::OfMachine),
        ));
    }
    all
}

/// Who is told to do without PCI.
#[derive(Clone, Copy)]
enum Asked {
    OfKernel,
    OfMachine,
}

/// Two cards, the second with two queue pairs on its one line: both ways, through their drivers' going and
/// coming.
fn without_pci(release: Release, asked: Asked) -> Result<()> {
    let mut network = network()?;
    let taps = [network.tap(1, 1500)?, network.tap(2, 1500)?];
    let machine = machine(release)?.cpus(2).card(&taps[0]).card(&taps[1]);
    let machine = match asked {
        Asked::OfKernel => machine.parameter("pci=off"),
        Asked::OfMachine => machine.argument("--bus").argument("mmio"),
    };
    let mut guest = Wired::of(&machine, network, &taps[0])?;

    let cards = guest.shell.sh("ls /sys/bus/pci/devices 2>/dev/null | wc -l")?;
    ensure!(cards == "0", "the guest has {cards} PCI devices");
    let places = guest.shell.sh("ls /sys/bus/platform/drivers/virtio-mmio | grep -c LNRO0005")?;
    ensure!(places == "2", "the driver has {places} devices");

    for tap in &taps {
        guest.tap = tap.clone();
        guest.ping_guest(&tap.guest_ipv4, 3)?;
        guest.ping_host(&tap.host_ipv6, 3)?;
        guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4)?;
    }
    // Each on a line of its own, by which something came.
    let lines = guest.shell.sh("grep -E 'edge +virtio[01]$' /proc/interrupts")?;
    let came = |line: &str| {
        let counts =
            line.split_ascii_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
        counts.sum::<u64>() > 0
    };
    ensure!(lines.lines().count() == 2 && lines.lines().all(came), "interrupts:\n{lines}");

    let driver = "/sys/bus/virtio/drivers/virtio_net";
    guest.tap = taps[0].clone();
    guest.lose_and_find_driver(
        &format!("echo virtio0 >{driver}/unbind"),
        &format!("echo virtio0 >{driver}/bind"),
    )?;
    let host = taps[0].host_ipv4.clone();
    guest.shell.sh_within(&format!("ping -A -c 3 -W 10 {host}"), ANSWER)?;
    guest.finish()
}
