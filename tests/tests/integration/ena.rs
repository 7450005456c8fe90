//! The ENA card as its stock driver sees it: a clean probe, its tools, pings, streams, and much at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::{Machine, Model};

use crate::network::{ANSWER, much, printed, socket, some};
use crate::scenario::{Scenario, Wired, long};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    // The driver's first words, and what it offers to its tools, are its version's own.
    all.extend(Scenario::for_each_version(
        "ena::the_stock_driver_and_its_tools_find_a_card",
        tools,
    ));
    all.extend(Scenario::for_each_kernel(
        "ena::mixed_traffic_makes_no_reset_and_no_error",
        mixed_traffic,
    ));
    all.extend(Scenario::for_each_kernel(
        "ena::a_card_without_low_latency_queues_is_driven_in_host_mode",
        host_mode,
    ));
    all.push(Scenario::new("ena::low_latency_queues_take_wide_entries", wide_entries));
    all
}

/// Boots a guest with an ENA card and a CPU for each of its queue pairs; vmm tells of each reset.
pub fn boot(
    release: Release,
    pairs: u8,
    mtu: u16,
    adjust: impl FnOnce(Machine) -> Machine,
) -> Result<Wired> {
    Wired::boot(release, Model::Ena, pairs.into(), mtu, |machine| {
        adjust(machine.cpus(pairs).memory(512).manner(&["--log-level", "info"]))
    })
}

/// Ends of the names of counters that stay at zero in all the life of a good card.
const ERRORS: &[&str] = &[
    "tx_timeout",
    "wd_expired",
    "reset_fail",
    "admin_q_pause",
    "dma_mapping_err",
    "linearize_failed",
    "prepare_ctx_err",
    "bad_req_id",
    "missed_tx",
    "csum_bad",
    "bad_desc_num",
    "ena_admin_q_aborted_cmd",
    "ena_admin_q_out_of_space",
    "ena_admin_q_no_completion",
];

impl Wired {
    /// The driver's counters whose names match an extended regular expression.
    pub fn counters(&mut self, names: &str) -> Result<BTreeMap<String, u64>> {
        self.counted(names, "print")
    }

    /// What awk prints at its counters of such names: a console is a guest's slowest way out.
    fn counted(&mut self, names: &str, action: &str) -> Result<BTreeMap<String, u64>> {
        let line = format!("ethtool -S eth0 | awk '$1 ~ /^({names}):$/ {{ $1 = $1; {action} }}'");
        let read = |line: &str| {
            let (name, value) = line.trim().split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let said = self.shell.sh(&line)?;
        let counters = said.lines().map(|line| read(line).with_context(|| line.to_owned()));
        counters.collect()
    }

    /// Reasons of the driver's resets of its card, as vmm told them.
    pub fn resets(&self) -> Vec<u32> {
        let log = self.running.errors.text();
        let reasons = log.split("its driver resets it, reason ").skip(1);
        reasons.filter_map(|rest| rest.split(' ').next()?.trim().parse().ok()).collect()
    }

    /// Powers the guest off after `lives` of its driver, none of which may have ended by an error.
    pub fn finish_in_peace(mut self, lives: usize) -> Result<()> {
        let errors = format!(".*({})", ERRORS.join("|"));
        let mut counters =
            self.counted(&errors, "n++; if ($2 > 0) print } END { print \"all: \" n")?;
        let all = counters.remove("all");
        ensure!(all.is_some_and(|all| all >= 10), "only {all:?} errors are counted");
        ensure!(counters.is_empty(), "the driver counted errors: {counters:?}");
        // At its beginning a driver resets for no reason (0), at its end since it goes (11).
        let expected = (1..2 * lives).map(|n| if n % 2 == 1 { 0 } else { 11 });
        // That of the driver's first beginning was told by the process that booted it.
        let expected: Vec<u32> = expected.skip(usize::from(self.running.is_restored)).collect();
        let resets = self.resets();
        ensure!(resets == expected, "the driver's resets were for {resets:?}, not {expected:?}");
        self.finish()
    }
}

/// Fails unless the output of a tool has all these lines, blanks aside.
fn shows(shell: &mut Shell, line: &str, wanted: &[&str]) -> Result<()> {
    let said = shell.sh(line)?;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = said.lines().map(words).collect();
    for wanted in wanted {
        ensure!(lines.iter().any(|line| line == wanted), "`{line}` lacks {wanted:?}:\n{said}");
    }
    Ok(())
}

fn tools(release: Release) -> Result<()> {
    let mut guest = boot(release, 2, 1500, |machine| machine)?;
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    probe(&mut guest)?;
    let shell = &mut guest.shell;
    shows(shell, "ethtool -i eth0", &["driver: ena", "bus-info: 0000:00:01.0"])?;
    shows(shell, "ethtool eth0", &["Speed: 25000Mb/s", "Duplex: Full", "Link detected: yes"])?;
    shows(shell, "ethtool -l eth0 | grep Combined | uniq -c", &["2 Combined: 2"])?;
    shows(shell, "ethtool -g eth0 | sed '/Current/,$d'", &["RX: 8192", "TX: 1024"])?;
    shows(shell, "ethtool -g eth0 | sed '1,/Current/d'", &["RX: 1024", "TX: 1024"])?;
    let features = [
        "rx-checksumming: on",
        "tx-checksum-ipv4: on",
        "tx-checksum-ipv6: on",
        "scatter-gather: on",
        "tcp-segmentation-offload: on",
        "tx-tcp-segmentation: on",
        "tx-tcp6-segmentation: on",
        "generic-receive-offload: on",
        "receive-hashing: on",
    ];
    shows(shell, "ethtool -k eth0", &features)?;
    shows(shell, "ethtool -x eth0", &["120: 0 1 0 1 0 1 0 1", "toeplitz: on"])?;
    shows(shell, "ethtool -n eth0 rx-flow-hash tcp4", &["IP SA", "IP DA"])?;
    let moderation: &[_] = match release {
        Release::Guest6_1 => &["Adaptive RX: off TX: n/a", "rx-usecs: 0", "tx-usecs: 64"],
        _ => &["Adaptive RX: on TX: n/a", "rx-usecs: 20", "tx-usecs: 64"],
    };

    for (host, address) in tap.addresses() {
        guest.ping_guest(address, 5)?;
        guest.ping_host(host, 5)?;
        guest.streams_each_way(much(), host, address)?;
    }
    let moved = guest.counters("queue_._(tx_llq_buffer_copy|rx_csum_good)")?;
    for counter in ["tx_llq_buffer_copy", "rx_csum_good"] {
        let sum: u64 =
            moved.iter().filter(|(name, _)| name.ends_with(counter)).map(|(_, n)| n).sum();
        ensure!(sum > 0, "nothing was counted as {counter}: {moved:?}");
    }
    shows(&mut guest.shell, "ethtool -c eth0", moderation)?;
    guest.finish_in_peace(1)
}

/// The driver's own words at its start: the card has queues of low latency, and nothing is odd.
fn probe(guest: &mut Wired) -> Result<()> {
    let said = guest.shell.sh("dmesg | grep ' ena '")?;
    let found =
        format!("Elastic Network Adapter (ENA) found at mem c0000000, mac addr {}", guest.tap.mac);
    let wanted = [
        "ENA device version: 0.10",
        "ENA controller version: 0.0.1 implementation version 1",
        &found,
    ];
    for wanted in wanted {
        ensure!(said.contains(wanted), "the driver did not say {wanted:?}:\n{said}");
    }
    for odd in ["LLQ is not supported", "rror", "ailed", "allback"] {
        ensure!(!said.contains(odd), "the driver said {odd:?}:\n{said}");
    }
    Ok(())
}

fn host_mode(release: Release) -> Result<()> {
    let mut guest = boot(release, 2, 1500, |machine| machine.card_option("llq=off"))?;
    guest.reaches_guest()?;
    guest.shell.sh("dmesg | grep 'LLQ is not supported Fallback to host mode policy'")?;
    let tap = guest.tap.clone();
    for (host, address) in tap.addresses() {
        guest.ping_host(host, 3)?;
        guest.streams_each_way(some(), host, address)?;
    }
    let copied = guest.counters("queue_._tx_llq_buffer_copy")?;
    ensure!(copied.len() == 2 && copied.values().all(|&n| n == 0), "not in host mode: {copied:?}");
    guest.streams_during(some(), "ethtool -G eth0 rx 512 tx 256")?;
    guest.finish_in_peace(1)
}

/// Entries of 256 bytes: drivers before 6.12 never ask for them.
fn wide_entries() -> Result<()> {
    let mut guest = usual::ena(Release::Guest6_12)?;
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    for (bytes, depth) in [(224, "TX: 512"), (96, "TX: 1024")] {
        guest.streams_during(some(), &format!("push-buffer eth0 {bytes}"))?;
        shows(&mut guest.shell, "ethtool -g eth0 | sed '/Current/,$d'", &[depth])?;
        for (host, address) in tap.addresses() {
            guest.streams_each_way(some(), host, address)?;
        }
    }
    guest.finish()
}

/// So that floods leave time to streams.
const REST: [&str; 2] = ["--rest", "5"];

fn mixed_traffic(release: Release) -> Result<()> {
    let mut guest =
        if long() { boot(release, 4, 1500, |machine| machine)? } else { usual::ena(release)? };
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    let seconds = if long() { 600 } else { 5 };
    let (duration, time) = (Duration::from_secs(seconds), seconds.to_string());
    let begun = Instant::now();
    let floods = [(&tap.guest_ipv4, "64"), (&tap.guest_ipv6, "1400")].map(|(address, size)| {
        let to = socket(address, 9);
        let what = ["flood", &to, "--flows", "16", "--size", size, "--seconds", &time];
        guest.traffic(&[&what[..], &REST].concat())
    });
    for (address, size) in [(&tap.host_ipv4, 1400), (&tap.host_ipv6, 64)] {
        let to = socket(address, 9);
        guest.shell.sh(&format!(
            "traffic flood {to} --flows 16 --size {size} --seconds {time} {} >/dev/null 2>&1 &",
            REST.join(" ")
        ))?;
    }
    // All the time there is some of everything.
    while begun.elapsed() < duration {
        guest.streams_during(some(), "true")?;
        guest.ping_host(&tap.host_ipv4, 3)?;
    }
    for flood in floods {
        printed(flood?, ANSWER)?;
    }
    guest.shell.sh_within("wait", ANSWER)?;
    let counts = guest.counters("queue_._[rt]x_cnt")?;
    ensure!(
        counts.len() == if long() { 8 } else { 4 } && counts.values().all(|&count| count > 0),
        "not every queue was used: {counts:?}"
    );
    guest.reaches_guest()?;
    guest.finish_in_peace(1)
}
