//! Several queue pairs: each has its interrupts, and traffic goes over each.

use anyhow::{Context, Result, ensure};
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::Model;

use crate::network::{ANSWER, printed, socket};
use crate::scenario::{Scenario, Wired, eventually};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for release in Release::GUESTS {
        for pairs in [1, 2, 4] {
            let name =
                format!("queues::traffic_goes_over_every_queue [{} {pairs} pairs]", release.name());
            all.push(Scenario::new(name, move || every_queue(release, pairs)));
        }
    }
    all
}

/// Interrupts of the guest's `virtio0-{direction}.{pair}`, summed over CPUs.
fn interrupts(shell: &mut Shell, direction: &str, pair: u16) -> Result<u64> {
    let line =
        shell.sh(&format!("grep -E 'virtio[0-9]+-{direction}\\.{pair}$' /proc/interrupts"))?;
    let counts = line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
    Ok(counts.sum())
}

fn every_queue(release: Release, pairs: u16) -> Result<()> {
    let cpus = u8::try_from(pairs)?;
    let mut guest =
        Wired::boot(release, Model::Virtio, pairs, 1500, |machine| machine.cpus(cpus).memory(512))?;
    let tap = guest.tap.clone();
    if pairs > 1 {
        // Some kernels start with one pair.
        guest.shell.sh(&format!("ethtool -L eth0 combined {pairs} || ethtool -l eth0"))?;
    }
    guest.reaches_guest()?;

    // Out: the kernel picks the queue by the sending CPU.
    for pair in 0..pairs {
        let before = sent_by(&mut guest.shell, pair)?;
        let arrived = guest.network.statistic(&tap, "rx_packets")?;
        let mask = 1 << pair;
        guest.shell.sh_within(
            &format!("taskset {mask:x} traffic flood {}:9 --seconds 1", tap.host_ipv4),
            ANSWER,
        )?;
        ensure!(sent_by(&mut guest.shell, pair)? > before, "nothing went out by queue {pair}");
        let arrived = guest.network.statistic(&tap, "rx_packets")? - arrived;
        ensure!(arrived > 10, "only {arrived} packets of queue {pair} arrived");
    }

    // In: the host's kernel spreads flows by their hash.
    let before = (0..pairs)
        .map(|pair| interrupts(&mut guest.shell, "input", pair))
        .collect::<Result<Vec<_>>>()?;
    let flood = guest.traffic(&[
        "flood",
        &socket(&tap.guest_ipv4, 9),
        "--flows",
        "64",
        "--seconds",
        "2",
    ])?;
    printed(flood, ANSWER)?;
    for pair in 0..pairs {
        let shell = &mut guest.shell;
        let before = before[usize::from(pair)];
        eventually(&format!("interrupts of input queue {pair}"), ANSWER, || {
            Ok(interrupts(shell, "input", pair)? > before)
        })?;
    }
    guest.reaches_guest()?;
    if pairs == 2 {
        ethtool(&mut guest).context("what ethtool shows")?;
    }
    guest.finish()
}

/// What the driver counts as sent by a queue: packets, or kicks where a kernel shows no packets.
fn sent_by(shell: &mut Shell, pair: u16) -> Result<u64> {
    let names = format!("tx_queue_{pair}_packets:|tx{pair}_kicks:");
    let line = shell.sh(&format!("ethtool -S eth0 | grep -E '{names}'"))?;
    Ok(line.split_whitespace().last().context("no counter")?.parse()?)
}

/// What the card's tools show of one with two queue pairs.
fn ethtool(guest: &mut Wired) -> Result<()> {
    let driver = guest.shell.sh("ethtool -i eth0")?;
    for line in ["driver: virtio_net", "bus-info: 0000:00:"] {
        ensure!(driver.contains(line), "ethtool -i lacks {line:?}:\n{driver}");
    }

    let features = guest.shell.sh("ethtool -k eth0")?;
    let on = [
        "rx-checksumming: on",
        "tx-checksumming: on",
        "scatter-gather: on",
        "tcp-segmentation-offload: on",
        "tx-tcp-segmentation: on",
        "tx-tcp6-segmentation: on",
        "generic-receive-offload: on",
    ];
    for line in on {
        ensure!(features.contains(line), "ethtool -k lacks {line:?}:\n{features}");
    }

    let channels = guest.shell.sh("ethtool -l eth0")?;
    let combined: Vec<_> = channels.lines().filter(|line| line.starts_with("Combined:")).collect();
    ensure!(
        combined.len() == 2 && combined[0].ends_with('2'),
        "ethtool -l shows no maximum of 2:\n{channels}"
    );
    guest.shell.sh("ethtool -L eth0 combined 1")?;
    guest.reaches_guest()?;
    guest.shell.sh("ethtool -L eth0 combined 2")?;
    guest.reaches_guest()?;
    let channels = guest.shell.sh("ethtool -l eth0")?;
    ensure!(
        channels.trim_end().ends_with('2'),
        "two queue pairs are not in use again:\n{channels}"
    );

    let mac = guest.shell.sh("cat /sys/class/net/eth0/address")?;
    ensure!(mac == guest.tap.mac, "the card's address is {mac}");
    let carrier = guest.shell.sh("cat /sys/class/net/eth0/carrier")?;
    ensure!(carrier == "1", "the link is down");
    Ok(())
}
