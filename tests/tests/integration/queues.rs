//! Several queue pairs: each has its interrupts, and traffic goes over each.

use anyhow::{Context, Result, ensure};
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::{Machine, Model};

use crate::network::{ANSWER, printed, socket, some};
use crate::scenario::{Scenario, Wired, eventually, long, machine, network};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = vec![Scenario::new("queues::three_cards_do_not_mix", three_cards)];
    if long() {
        let name = "queues::traffic_goes_over_every_queue";
        all.extend(Scenario::for_each_kernel(name, cards_of_all_sizes));
    }
    all
}

/// Cards of one kind and of two: what one of them does is nothing to the next.
fn three_cards() -> Result<()> {
    let mut network = network()?;
    let taps = [network.tap(1, 1500)?, network.tap(2, 1500)?, network.tap(2, 1500)?];
    let machine = machine(Release::Guest6_12)?.cpus(2).card(&taps[0]).card(&taps[1]);
    let mut guest = Wired::of(&machine.card_of(Model::Ena, &taps[2]), network, &taps[0])?;
    for tap in &taps {
        guest.ping_guest(&tap.guest_ipv4, 3)?;
        guest.ping_host(&tap.host_ipv6, 3)?;
    }
    // The long round has guests for that, with more of them.
    for card in (0..2).filter(|_| !long()) {
        guest.tap = taps[card].clone();
        every_queue(&mut guest, card, 2).with_context(|| format!("eth{card}"))?;
    }
    let macs = guest.shell.sh("cat /sys/class/net/eth*/address")?;
    ensure!(macs.lines().eq(taps.iter().map(|tap| tap.mac.as_str())), "addresses {macs}");
    for (busy, tap) in taps.iter().zip(taps.iter().cycle().skip(1)) {
        let flood = guest.traffic(&["flood", &socket(&busy.guest_ipv4, 9), "--seconds", "2"])?;
        guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4)?;
        printed(flood, ANSWER)?;
    }
    guest.finish()
}

/// Queue pairs of the guest's cards, in their order.
const PAIRS: [u16; 3] = [1, 2, 4];
/// As many as the queue pairs of the last.
const CPUS: u8 = 4;

fn cards_of_all_sizes(release: Release) -> Result<()> {
    let mut network = network()?;
    let taps =
        PAIRS.map(|pairs| network.tap(pairs, 1500)).into_iter().collect::<Result<Vec<_>>>()?;
    let machine = taps.iter().fold(machine(release)?, Machine::card).cpus(CPUS).memory(512);
    let mut guest = Wired::of(&machine, network, &taps[0])?;
    for (card, tap) in taps.into_iter().enumerate() {
        guest.tap = tap;
        every_queue(&mut guest, card, CPUS).with_context(|| format!("eth{card}"))?;
    }
    guest.finish()
}

/// Interrupts of the card's `virtio0-{direction}.{pair}`, summed over CPUs.
fn interrupts(shell: &mut Shell, card: usize, direction: &str, pair: u16) -> Result<u64> {
    let line = shell.sh(&format!("grep 'virtio{card}-{direction}\\.{pair}$' /proc/interrupts"))?;
    let counts = line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
    Ok(counts.sum())
}

/// Frames go over each queue pair of the card on the guest's TAP, of which there are as many as the CPUs, or fewer.
pub fn every_queue(guest: &mut Wired, card: usize, cpus: u8) -> Result<()> {
    let tap = guest.tap.clone();
    let pairs = tap.queues;
    if pairs > 1 {
        // Some kernels start with one pair.
        guest
            .shell
            .sh(&format!("ethtool -L eth{card} combined {pairs} || ethtool -l eth{card}"))?;
    }
    guest.reaches_guest()?;

    // Out: the kernel picks the queue by the sending CPU, and gives each queue as many in a row.
    for pair in 0..pairs {
        let before = sent_by(&mut guest.shell, card, pair)?;
        let arrived = guest.network.statistic(&tap, "rx_packets")?;
        let mask = 1 << (pair * u16::from(cpus) / pairs);
        guest.shell.sh_within(
            &format!("taskset {mask:x} traffic flood {}:9 --seconds 1", tap.host_ipv4),
            ANSWER,
        )?;
        let after = sent_by(&mut guest.shell, card, pair)?;
        ensure!(after > before, "nothing went out by queue {pair}");
        let arrived = guest.network.statistic(&tap, "rx_packets")? - arrived;
        ensure!(arrived > 10, "only {arrived} packets of queue {pair} arrived");
    }

    // In: the host's kernel spreads flows by their hash.
    let before = (0..pairs)
        .map(|pair| interrupts(&mut guest.shell, card, "input", pair))
        .collect::<Result<Vec<_>>>()?;
    let to = socket(&tap.guest_ipv4, 9);
    let flood = guest.traffic(&[
        "flood",
        &to,
        "--flows",
        "64",
        "--seconds",
        if long() { "2" } else { "1" },
    ])?;
    printed(flood, ANSWER)?;
    for pair in 0..pairs {
        let shell = &mut guest.shell;
        let before = before[usize::from(pair)];
        eventually(&format!("interrupts of input queue {pair}"), ANSWER, || {
            Ok(interrupts(shell, card, "input", pair)? > before)
        })?;
    }
    guest.reaches_guest()?;
    if pairs == 2 {
        ethtool(guest, card).context("what ethtool shows")?;
    }
    Ok(())
}

/// What the driver counts as sent by a queue: packets, or kicks where a kernel shows no packets.
fn sent_by(shell: &mut Shell, card: usize, pair: u16) -> Result<u64> {
    let names = format!("tx_queue_{pair}_packets:|tx{pair}_kicks:");
    let line = shell.sh(&format!("ethtool -S eth{card} | grep -E '{names}'"))?;
    Ok(line.split_whitespace().last().context("no counter")?.parse()?)
}

/// What the card's tools show of one with two queue pairs.
fn ethtool(guest: &mut Wired, card: usize) -> Result<()> {
    let driver = guest.shell.sh(&format!("ethtool -i eth{card}"))?;
    for line in ["driver: virtio_net", "bus-info: 0000:00:"] {
        ensure!(driver.contains(line), "ethtool -i lacks {line:?}:\n{driver}");
    }

    let features = guest.shell.sh(&format!("ethtool -k eth{card}"))?;
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

    let channels = guest.shell.sh(&format!("ethtool -l eth{card}"))?;
    let combined: Vec<_> = channels.lines().filter(|line| line.starts_with("Combined:")).collect();
    ensure!(
        combined.len() == 2 && combined[0].ends_with('2'),
        "ethtool -l shows no maximum of 2:\n{channels}"
    );
    guest.shell.sh(&format!("ethtool -L eth{card} combined 1"))?;
    guest.reaches_guest()?;
    guest.shell.sh(&format!("ethtool -L eth{card} combined 2"))?;
    guest.reaches_guest()?;
    let channels = guest.shell.sh(&format!("ethtool -l eth{card}"))?;
    ensure!(
        channels.trim_end().ends_with('2'),
        "two queue pairs are not in use again:\n{channels}"
    );

    let mac = guest.shell.sh(&format!("cat /sys/class/net/eth{card}/address"))?;
    ensure!(mac == guest.tap.mac, "the card's address is {mac}");
    let carrier = guest.shell.sh(&format!("cat /sys/class/net/eth{card}/carrier"))?;
    ensure!(carrier == "1", "the link is down");
    Ok(())
}
