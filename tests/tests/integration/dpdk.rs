//! The ENA card driven by DPDK's poll-mode driver, in user space, with no kernel in the packets' way.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use tests::dpdk::{self, BY_LINES, DRIVER, Hashed, MEMPOOL};
use tests::guest::Tool;
use tests::rss::{self, Flow, MICROSOFT_KEY};

use crate::ena::boot;
use crate::network::{ANSWER, printed, socket};
use crate::scenario::{Scenario, Wired, eventually, long};

/// None in the short round, which would have to fetch DPDK and build a kernel module.
pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        return Vec::new();
    }
    vec![Scenario::new("dpdk::the_poll_mode_driver_drives_a_card", drives_a_card)]
}

const PAIRS: u8 = 2;
/// What the driver fills its table of 128 buckets with: its queues by turns.
const BUCKETS: u32 = 128;
/// Where flows come from, and where nobody listens.
const PORTS: std::ops::Range<u16> = 20_000..20_016;
const PORT: u16 = 9;

/// Takes the card from Linux, with what DPDK wants of a system: a writable folder, huge pages, a safe root folder.
const TAKE: &[&str] = &[
    "echo 0000:00:01.0 >/sys/bus/pci/drivers/ena/unbind",
    "insmod /lib/modules/uio.ko && insmod /lib/modules/igb_uio.ko",
    "echo 1d0f ec20 >/sys/bus/pci/drivers/igb_uio/new_id && [ -e /dev/uio0 ]",
    "chmod 755 / && mkdir -p /var/run /dev/hugepages",
    "mount -t hugetlbfs huge /dev/hugepages && echo 48 >/proc/sys/vm/nr_hugepages",
    "mkfifo /tmp/in && exec 3<>/tmp/in",
];

/// Gives it back; Linux's driver knows the card by itself.
const GIVE_BACK: &[&str] = &[
    "echo 0000:00:01.0 >/sys/bus/pci/drivers/igb_uio/unbind",
    "echo 0000:00:01.0 >/sys/bus/pci/drivers/ena/bind",
    "ip link set eth0 up",
];

/// Ends of the names of counters that stay at zero.
const ERRORS: &[&str] = &[
    "errors",
    "wd_expired",
    "tx_drops",
    "exceeded",
    "prepare_ctx_err",
    "bad_req_id",
    "missed_tx",
    "csum_bad",
    "mbuf_alloc_fail",
    "bad_desc_num",
];

fn drives_a_card() -> Result<()> {
    let mut guest = boot(dpdk::KERNEL, PAIRS, 1500, |machine| machine.tools(&[Tool::Testpmd]))?;
    guest.reaches_guest()?;
    for line in TAKE {
        guest.shell.sh(line)?;
    }
    let tap = guest.tap.clone();
    // It answers pings, but does not tell neighbours of IPv6 where it is.
    let neighbour = ["neigh", "replace", &tap.guest_ipv6, "lladdr", &tap.mac, "dev", &tap.name];
    guest.network.ip(&neighbour)?;

    for (options, policy) in [("", "Low latency"), (",enable_llq=0", "Regular")] {
        guest.start_testpmd(options)?;
        guest.heard(&format!("Placement policy: {policy}"))?;
        guest.running.errors.wait_for(0, "driven by DPDK", ANSWER)?;
        guest.reaches_guest()?;
        guest.ping_guest(&tap.guest_ipv4, 5)?;
        guest.packets_have_their_hashes()?;
        // What has no hash goes where a hash of zero does, and is answered from there.
        guest.tell("port config 0 rss reta (0,1)")?;
        guest.asks("show port 0 rss reta 128 (1,0)", "hash index=0, queue=1")?;
        guest.ping_guest(&tap.guest_ipv4, 5)?;
        guest.stop_testpmd().with_context(|| format!("with {policy} queues"))?;
    }

    for line in GIVE_BACK {
        guest.shell.sh(line)?;
    }
    guest.shell.sh(&format!("ip address add {}/24 dev eth0", tap.guest_ipv4))?;
    guest.reaches_guest()?;
    guest.streams_each_way(4 << 20, &tap.host_ipv4, &tap.guest_ipv4)?;
    // Linux, its farewell (11), DPDK twice, Linux: none was for an error.
    let resets = guest.resets();
    ensure!(resets == [0, 11, 0, 0, 0], "the drivers' resets were for {resets:?}");
    guest.finish()
}

impl Wired {
    /// Starts testpmd to answer pings on all queues.
    fn start_testpmd(&mut self, options: &str) -> Result<()> {
        let eal = format!(
            "-l 0-1 -n 1 -d {MEMPOOL} -d {DRIVER} -a 0000:00:01.0{options} --log-level=pmd.net.ena.*:info"
        );
        let queues = format!("--rxq={PAIRS} --txq={PAIRS} --rxd=256 --txd=256 --nb-cores=1");
        // It has room to tell of a few packets at a time.
        let own = "-i --total-num-mbufs=2048 --burst=8 --forward-mode=icmpecho --rss-udp";
        self.shell.sh(&format!(
            "cd /; : >/tmp/out; {BY_LINES} dpdk-testpmd {eal} -- {queues} {own} </tmp/in >>/tmp/out 2>&1 & testpmd=$!"
        ))?;
        self.heard("Done")?;
        self.asks("show port info 0", "Link status: up")?;
        self.asks("start", "icmpecho packet forwarding - ports=1")
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        self.shell.sh(&format!("echo '{command}' >&3")).map(drop)
    }

    /// Tells testpmd something and waits for its answer.
    fn asks(&mut self, command: &str, answer: &str) -> Result<()> {
        self.tell(command)?;
        self.heard(answer)
    }

    /// Waits until testpmd has said something.
    fn heard(&mut self, words: &str) -> Result<()> {
        let heard = eventually(words, ANSWER, || {
            let ran = self.shell.run(&format!("grep -qF '{words}' /tmp/out"), ANSWER)?;
            Ok(ran.status == 0)
        });
        if let Err(error) = heard {
            return Err(error.context(self.shell.sh("tail -n 40 /tmp/out")?));
        }
        Ok(())
    }

    /// Sends datagrams: each must come by the hash, and so the queue, that its flow has.
    fn packets_have_their_hashes(&mut self) -> Result<()> {
        let tap = self.tap.clone();
        let (key, digits) = (rss::key(MICROSOFT_KEY)?, MICROSOFT_KEY.replace(':', ""));
        let ports: Vec<_> = PORTS.map(|port| port.to_string()).collect();
        self.asks("set verbose 1", "Change verbose level from 0 to 1")?;
        // The key comes with the one kind of packets that is hashed from then on.
        for (kind, (host, guest)) in ["ipv4-udp", "ipv6-udp"].into_iter().zip(tap.addresses()) {
            self.shell.sh(": >/tmp/out")?;
            self.tell(&format!("port config 0 rss-hash-key {kind} {digits}"))?;
            self.asks("show port 0 rss-hash key", &digits.to_uppercase())?;

            let (from, to): (IpAddr, IpAddr) = (host.parse()?, guest.parse()?);
            let mut expected = Vec::new();
            for from_port in PORTS {
                let hash = Flow { from, from_port, to, to_port: PORT }.hash(&key);
                let queue = u16::try_from(hash % BUCKETS % u32::from(PAIRS))?;
                expected.push(Hashed { hash, queue, is_good: true });
            }
            expected.sort();
            let to = socket(guest, PORT);
            let send = ["send-from", &to, &format!("1:{}", ports.join(","))];
            printed(self.traffic(&send)?, ANSWER)?;

            let mut arrived = Vec::new();
            let all = eventually("datagrams", ANSWER, || {
                let said = self.shell.run("grep -A 1 'RSS hash' /tmp/out", ANSWER)?;
                arrived = dpdk::hashed(&said.output);
                arrived.sort();
                Ok(arrived == expected)
            });
            all.with_context(|| format!("{kind}: arrived {arrived:x?}, expected {expected:x?}"))?;
        }
        self.asks("set verbose 0", "Change verbose level from 1 to 0")
    }

    /// Ends testpmd; it must have counted packets, and no error.
    fn stop_testpmd(&mut self) -> Result<()> {
        self.shell.sh(": >/tmp/out")?;
        self.tell("stop")?;
        self.tell("show port xstats 0")?;
        self.tell("quit")?;
        self.shell.sh("wait $testpmd")?;
        let said = self.shell.sh("cat /tmp/out")?;
        let counters: Vec<(&str, u64)> = said
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)))
            .collect();
        let counted = |name: &str| counters.iter().any(|&(n, count)| n == name && count > 0);
        for name in ["rx_q0_packets", "rx_q1_packets", "tx_q0_packets", "tx_q1_packets"] {
            ensure!(counted(name), "nothing was counted as {name}:\n{said}");
        }
        for end in ERRORS {
            let mut errors = counters.iter().filter(|(name, _)| name.ends_with(end)).peekable();
            ensure!(errors.peek().is_some(), "nothing is counted as {end}:\n{said}");
            let risen: Vec<_> = errors.filter(|(_, count)| *count > 0).collect();
            ensure!(risen.is_empty(), "the driver counted {risen:?}:\n{said}");
        }
        Ok(())
    }
}
