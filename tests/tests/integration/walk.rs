//! One guest with a card of each kind, an odd number of CPUs, memory around the hole below 4 GiB and more
//! queues than CPUs: it is told everything that is wrong, gets and sends every odd frame, and stays well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tests::api::Api;
use tests::frames::{Link, bytes, digits};
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::{BOOT, Model, Running};
use tests::net::{Network, Tap};
use tests::rss::{Flow, MICROSOFT_KEY, Scaling};

use crate::api::frames;
use crate::network::{ANSWER, socket};
use crate::odd::ODD;
use crate::scenario::{OFF, Scenario, eventually, is_healthy, long, machine};

pub fn scenarios() -> Vec<Scenario> {
    // Some minutes of commands, where the CPU is emulated.
    if !long() {
        return Vec::new();
    }
    Scenario::for_each_kernel("walk::wrong_settings_and_odd_frames_harm_no_card", walk)
}

const CPUS: u8 = 3;

/// What drivers or their cards must refuse; `@` is the card.
const REFUSED: &[&str] = &[
    "ethtool -G @ rx 100000",
    "ethtool -G @ tx 4294967295",
    "ethtool -G @ rx-mini 64",
    "ethtool -G @ rx-jumbo 64",
    "ethtool -G @ tx-push off",
    "ethtool -L @ combined 0",
    "ethtool -L @ combined 65",
    "ethtool -L @ combined 4294967295",
    "ethtool -L @ rx 1",
    "ethtool -L @ other 1",
    "ethtool -X @ weight 1 1 1 1 1 1 1 1 1",
    "ethtool -X @ equal 1000",
    "ethtool -X @ hkey 00:01",
    "ethtool -X @ hfunc xor",
    "ethtool -X @ hfunc crc32",
    "ethtool -X @ context new equal 1",
    "ethtool -K @ lro on",
    "ethtool -K @ ntuple on",
    "ethtool -K @ rxvlan on",
    "ethtool -K @ loopback on",
    "ethtool -K @ rx-all on",
    "ethtool -K @ rx-fcs on",
    "ethtool -C @ rx-frames 5",
    "ethtool -C @ adaptive-tx on",
    "ethtool -C @ stats-block-usecs 1",
    "ethtool -s @ port fibre",
    "ethtool -s @ wol g",
    "ethtool -A @ rx on tx on autoneg on",
    "ethtool --set-priv-flags @ nosuch on",
    "ethtool -N @ flow-type tcp4 src-ip 192.0.2.3 action 0",
    "ethtool -N @ delete 0",
    "ethtool -t @ offline",
    "ethtool -p @ 1",
    "ethtool -e @",
    "ethtool -d @",
    "ethtool -m @",
    "ethtool -r @",
    "ethtool --set-eee @ eee on",
    "ethtool --set-fec @ encoding rs",
    "ethtool --set-tunable @ rx-copybreak 4294967295",
    "ethtool --reset @ all",
    "ethtool -W @ 1",
    "ip link set @ mtu 0",
    "ip link set @ mtu 67",
    "ip link set @ mtu 9001",
    "ip link set @ mtu 65536",
    "ip link set @ address 00:00:00:00:00:00",
    "ip link set @ address 01:00:5e:00:00:01",
    "ip link set @ address ff:ff:ff:ff:ff:ff",
];

/// What one driver takes, or makes something else of, and the other refuses.
const TAKEN_BY_SOME: &[&str] = &[
    "ethtool -G @ rx 0",
    "ethtool -G @ tx 0",
    "ethtool -G @ rx 1 tx 1",
    "ethtool -G @ rx 300 tx 300",
    "ethtool -K @ rx-gro-hw off",
    "ethtool -C @ rx-usecs 4294967295 tx-usecs 4294967295",
    "ethtool -C @ rx-usecs 0 tx-usecs 0",
    "ethtool -s @ speed 10 duplex half autoneg off",
    "ethtool -s @ msglvl 0",
    "ethtool -N @ rx-flow-hash tcp4 v",
    "ethtool -N @ rx-flow-hash tcp4 f",
    "ethtool -N @ rx-flow-hash tcp4 r",
    "ethtool -N @ rx-flow-hash tcp4 sdfn",
    "ethtool -S @",
    "ip link set @ promisc on",
    "ip link set @ promisc off",
];

/// Lines in one go: more than a terminal's line has room for only one of these.
const AT_ONCE: usize = 20;

struct Walk {
    // Dropped in this order: the guest goes before its network.
    shell: Shell,
    running: Running,
    socket: PathBuf,
    taps: [Tap; 2],
    network: Network,
}

fn walk(release: Release) -> Result<()> {
    // Memory that ends at the hole and beyond it, and the two ways Linux can go on a request's behalf.
    let (mib, queues, request, code) = match release {
        Release::Guest6_1 => (3072, 32, 'b', 3),
        _ => (3074, 64, 'o', 0),
    };
    let mut walk = Walk::boot(release, mib, queues)?;
    walk.has(mib, queues)?;
    walk.is_reached().context("at the beginning")?;
    for card in ["eth0", "eth1"] {
        walk.refuses(card)?;
        walk.is_reached().with_context(|| format!("after wrong settings of {card}"))?;
    }
    for nth in 0..2 {
        walk.gets_odd_frames(nth)?;
        walk.sends_odd_frames(nth)?;
    }
    walk.is_reached().context("after odd frames")?;
    walk.scales()?;
    walk.changes_its_address()?;
    walk.tells_the_time()?;
    walk.hears_interrupts_that_cannot_be_masked()?;
    is_healthy(&mut walk.shell)?;
    walk.shell.send(&format!("echo {request} >/proc/sysrq-trigger"))?;
    walk.running.expect_exit(code, OFF)
}

impl Walk {
    fn boot(release: Release, mib: u32, queues: u16) -> Result<Self> {
        let mut network = Network::new()?;
        let taps = [network.tap(queues, 1500)?, network.tap(queues, 1500)?];
        let machine = machine(release)?
            .cpus(CPUS)
            .memory(mib)
            .card_of(Model::Virtio, &taps[0])
            .card_of(Model::Ena, &taps[1]);
        let (running, socket) = machine.start_by_api(Some(&network))?;
        let shell = running.shell(BOOT)?;
        Ok(Self { shell, running, socket, taps, network })
    }

    /// CPUs, memory and queues are as they were asked for.
    fn has(&mut self, mib: u32, queues: u16) -> Result<()> {
        let cpus = self.shell.sh("nproc")?;
        ensure!(cpus == CPUS.to_string(), "{cpus} CPUs");
        let map = self.shell.sh("dmesg | grep 'BIOS-e820.*usable'")?;
        let above = map.contains("[mem 0x0000000100000000-0x00000001001fffff]");
        let below = map.contains("-0x00000000bfffffff]");
        ensure!(below && above == (mib > 3072), "of {mib} MiB the guest sees:\n{map}");
        // All but what the kernel itself takes.
        let total = self.shell.sh("awk '/MemTotal/ { print $2 }' /proc/meminfo")?;
        ensure!(total.parse::<u32>()? / 1024 > mib - 200, "of {mib} MiB there are {total} KiB");
        let most = self.shell.sh("ethtool -l eth0 | grep -m 1 Combined")?;
        ensure!(most.ends_with(&queues.to_string()), "of {queues} queue pairs there are {most}");
        let used = self.shell.sh("ethtool -l eth1 | tail -n 2 | grep Combined")?;
        ensure!(used.ends_with(&CPUS.to_string()), "{used} queue pairs for {CPUS} CPUs");
        // All there are, for a while.
        self.shell.sh(&format!("ethtool -L eth0 combined {queues}"))?;
        self.is_reached().with_context(|| format!("on {queues} queue pairs"))?;
        self.shell.sh(&format!("ethtool -L eth0 combined {CPUS}"))?;
        Ok(())
    }

    /// Each card carries pings of both versions of IP.
    fn is_reached(&mut self) -> Result<()> {
        for tap in self.taps.clone() {
            for (address, _) in tap.addresses() {
                let line = format!("ping -A -c 2 -W 10 {address}");
                eventually(&line, ANSWER, || Ok(self.shell.run(&line, ANSWER)?.status == 0))?;
            }
        }
        Ok(())
    }

    fn refuses(&mut self, card: &str) -> Result<()> {
        let taken = self.try_all(card, REFUSED)?;
        ensure!(taken.is_empty(), "{card} takes {taken:?}");
        self.try_all(card, TAKEN_BY_SOME)?;
        Ok(())
    }

    /// Runs lines; gives those that succeeded.
    fn try_all(&mut self, card: &str, lines: &[&str]) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        for lines in lines.chunks(AT_ONCE) {
            let tries = lines.iter().map(|line| {
                let line = line.replace('@', card);
                format!("{line} >/dev/null 2>&1 && echo '{line}'")
            });
            let line = tries.collect::<Vec<_>>().join("; ");
            taken.extend(self.shell.run(&line, ANSWER)?.output.lines().map(str::to_owned));
        }
        Ok(taken)
    }

    /// The host sends, and each arrives as it was.
    fn gets_odd_frames(&mut self, nth: usize) -> Result<()> {
        let (card, tap) = (format!("eth{nth}"), self.taps[nth].clone());
        let from = "060000000001";
        let frames = odd_frames(&tap.mac, from)?;
        let count = frames.len();
        self.shell.sh(&format!(
            "traffic hear {card} --from {from} --count {count} --seconds 60 >/tmp/heard 2>&1 & while [ $(wc -l </proc/net/packet) -lt 2 ]; do sleep 0.1; done"
        ))?;
        on_host(&self.network, || {
            let link = Link::open(&tap.name)?;
            Ok(frames.iter().try_for_each(|(_, frame)| link.send(frame))?)
        })?;
        let heard = self.shell.sh_within("wait; cat /tmp/heard", ANSWER)?;
        let heard = heard.lines().map(bytes).collect::<std::io::Result<Vec<_>>>();
        arrived(&frames, &heard.context("the guest heard no frames")?)
            .with_context(|| format!("from the host to {card}"))
    }

    /// The guest sends, and each arrives as it was.
    fn sends_odd_frames(&mut self, nth: usize) -> Result<()> {
        let (card, tap) = (format!("eth{nth}"), self.taps[nth].clone());
        let from = "060000000002";
        let frames = odd_frames("060000000001", from)?;
        let (network, shell, count) = (&self.network, &mut self.shell, frames.len());
        let heard = std::thread::scope(|scope| {
            let (ready, listens) = std::sync::mpsc::channel();
            let host = scope.spawn(move || {
                network.enter()?;
                let link = Link::open(&tap.name)?;
                ready.send(()).context("nobody waits")?;
                anyhow::Ok(link.hear(&bytes(from)?, count, ANSWER)?)
            });
            listens.recv().context("nobody listens on the host")?;
            let texts: Vec<_> = frames.iter().map(|(_, frame)| digits(frame)).collect();
            for text in texts.chunk_by(|a, b| a.len() + b.len() < 400) {
                for some in text.chunks(8) {
                    shell.sh(&format!("traffic frames {card} {}", some.join(" ")))?;
                }
            }
            host.join().unwrap_or_else(|_| bail!("the host's listener died"))
        })?;
        arrived(&frames, &heard).with_context(|| format!("from {card} to the host"))
    }

    /// Flows arrive at the virtio card's guest on the queue that table, key and fields make.
    fn scales(&mut self) -> Result<()> {
        let changes = [
            "-X eth0 default",
            "-X eth0 weight 1 0 2",
            "-X eth0 equal 2",
            &format!("-X eth0 hkey {MICROSOFT_KEY}"),
            "-N eth0 rx-flow-hash udp4 sd",
            "-N eth0 rx-flow-hash udp4 sdfn",
        ];
        // Without it the driver keeps a choice of fields to itself.
        self.shell.sh("ethtool -K eth0 rxhash on")?;
        for change in changes {
            self.shell.sh(&format!("ethtool {change}"))?;
            self.flows_arrive(!change.ends_with(" sd")).with_context(|| change.to_owned())?;
        }
        self.shell.sh("ethtool -X eth0 default")?;
        Ok(())
    }

    fn flows_arrive(&mut self, with_ports: bool) -> Result<()> {
        let scaling = Scaling::parse(&self.shell.sh("ethtool -x eth0 | tr -s ' '")?)?;
        let tap = self.taps[0].clone();
        let (from, to) = (tap.host_ipv4.parse()?, tap.guest_ipv4.parse()?);
        for from_port in 20_000..20_006 {
            let flow = Flow { from, from_port, to, to_port: 9 };
            let queue = usize::from(scaling.queue_by_plain_key(&flow, with_ports)?);
            let before = self.received()?;
            let to = socket(&tap.guest_ipv4, 9);
            let send = ["send-from", &to, &format!("20:{from_port}")];
            let mut command = self.network.command(tests::guest::our_tool("traffic")?);
            tests::process::quiet(command.args(send))?;
            let mut arrived = Vec::new();
            eventually("datagrams", ANSWER, || {
                arrived =
                    self.received()?.iter().zip(&before).map(|(now, old)| now - old).collect();
                Ok(arrived.iter().sum::<u64>() >= 20)
            })?;
            ensure!(
                arrived.get(queue).is_some_and(|&count| count >= 20),
                "the flow from port {from_port} arrived on {arrived:?}, not on queue {queue}"
            );
        }
        Ok(())
    }

    /// Frames that each queue pair of the virtio card gave to its guest.
    fn received(&mut self) -> Result<Vec<u64>> {
        // Anew each time: an idle connection is closed.
        frames(&mut Api::wait(&self.socket, BOOT)?, "rx_frames")
    }

    /// A virtio card gets another address; that of an ENA card is its own for ever.
    fn changes_its_address(&mut self) -> Result<()> {
        let other = "02:00:00:00:00:77";
        self.shell.sh(&format!("ip link set eth0 address {other}"))?;
        let refused = self.shell.run(&format!("ip link set eth1 address {other}"), ANSWER)?;
        ensure!(refused.status != 0, "an ENA card takes another address");
        let tap = &self.taps[0];
        self.network.ip(&["neighbour", "flush", "dev", &tap.name])?;
        self.is_reached().context("under another address")?;
        let known = self.network.ip(&["neighbour", "show", "dev", &self.taps[0].name])?;
        ensure!(known.contains(other), "the host knows the guest as:\n{known}");
        Ok(())
    }

    /// An NMI from each CPU to the others, by which Linux has them show where they are.
    fn hears_interrupts_that_cannot_be_masked(&mut self) -> Result<()> {
        self.shell.sh("echo l >/proc/sysrq-trigger")?;
        let wanted = format!("[ $(dmesg | grep -c 'NMI backtrace for cpu') = {CPUS} ]");
        eventually("a backtrace of each CPU", ANSWER, || {
            Ok(self.shell.run(&wanted, ANSWER)?.status == 0)
        })
    }

    /// The clock of the board is the host's, until it is set, and goes on from there.
    fn tells_the_time(&mut self) -> Result<()> {
        let host =
            || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        // In seconds, as the kernel sees the clock.
        let line = "cat /sys/class/rtc/rtc0/since_epoch";
        let ahead = |shell: &mut Shell| -> Result<(i64, u64)> {
            let begun = host()?;
            let told: u64 = shell.sh(line)?.parse()?;
            let ended = host()?;
            Ok((i64::try_from(told)? - i64::try_from(begun)?, ended - begun))
        };
        let (off, took) = ahead(&mut self.shell)?;
        ensure!((-1..=i64::try_from(took)? + 1).contains(&off), "the clock is {off} s ahead");
        self.shell.sh("date -u -s '2031-05-06 07:08:09' && hwclock -u -w")?;
        let (set, _) = ahead(&mut self.shell)?;
        ensure!(set > 86_400, "the clock was not set: {set} s ahead");
        std::thread::sleep(Duration::from_secs(5));
        let (later, took) = ahead(&mut self.shell)?;
        let drift = later - set;
        ensure!(drift.unsigned_abs() <= took + 1, "in 5 s the clock drifts {drift} s");
        Ok(())
    }
}

/// Runs something in a network's namespace.
fn on_host<T: Send>(network: &Network, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            network.enter()?;
            run()
        });
        thread.join().unwrap_or_else(|_| bail!("a thread on the host died"))
    })
}

/// Odd frames by what is odd about them.
type Frames = Vec<(&'static str, Vec<u8>)>;

fn odd_frames(to: &str, from: &str) -> Result<Frames> {
    let addresses = format!("{to}{from}");
    ODD.iter().map(|(what, rest)| Ok((*what, bytes(&format!("{addresses}{rest}"))?))).collect()
}

/// Checks that all frames arrived once and unaltered; Linux takes the first tag off them.
fn arrived(sent: &Frames, heard: &[Vec<u8>]) -> Result<()> {
    let mut heard_times = BTreeMap::new();
    for frame in heard {
        *heard_times.entry(frame.clone()).or_insert(0) += 1;
    }
    let mut lost = Vec::new();
    for (what, frame) in sent {
        let mut frame = frame.clone();
        if matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8])) {
            frame.drain(12..16);
        }
        match heard_times.get_mut(&frame) {
            Some(times) if *times > 0 => *times -= 1,
            _ => lost.push(*what),
        }
    }
    heard_times.retain(|_, times| *times > 0);
    let strange: Vec<_> = heard_times.keys().map(|frame| digits(frame)).collect();
    ensure!(lost.is_empty() && strange.is_empty(), "lost: {lost:?}; strange: {strange:?}");
    Ok(())
}
