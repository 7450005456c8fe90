//! The ENA card's queues: each is used, and each flow arrives where its hash sends it.

use anyhow::{Context, Result, ensure};
use tests::kernel::Release;
use tests::rss::{Flow, MICROSOFT_KEY, Scaling};

use crate::ena::boot;
use crate::network::{ANSWER, printed, socket};
use crate::scenario::{Scenario, Wired, eventually, long};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Scenario::for_each_kernel(
        "ena::every_flow_arrives_on_the_queue_its_hash_selects",
        flows_arrive_where_predicted,
    );
    // In the quick round the card that has faults is such a one.
    if long() {
        all.push(Scenario::new("ena::one_pair_of_queues_is_enough", || {
            let mut guest = boot(Release::Guest6_1, 1, 1500, |machine| machine)?;
            guest.flows_arrive_where_predicted(1)?;
            guest.finish_in_peace(1)
        }));
    }
    all
}

/// Ports that a flow to the guest may come from, many more than are needed.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Datagrams of each flow to a queue: for the next one as many more, so that flows which change places
/// are missed at one of their queues.
const EACH: u64 = 10;
/// Nobody listens there.
const PORT: u16 = 9;

/// Flows tried for each queue.
fn flows() -> usize {
    if long() { 8 } else { 2 }
}

/// Queue pairs that the card is driven with, one number after the other; with the last of them its table and key change too.
fn pairs() -> &'static [u8] {
    if long() { &[8, 1, 2, 4] } else { &[1, 4] }
}

impl Wired {
    /// Packets that each queue of the driver received, or sent.
    fn packets(&mut self, direction: &str, pairs: u16) -> Result<Vec<u64>> {
        let counters = self.counters(&format!("queue_[0-9]+_{direction}_cnt"))?;
        let of = |pair| counters.get(&format!("queue_{pair}_{direction}_cnt")).copied();
        (0..pairs).map(|pair| of(pair).with_context(|| format!("no queue {pair}"))).collect()
    }

    /// Sends flows to the guest for each of its queues, as table and key predict, and looks where they arrive.
    fn flows_arrive_where_predicted(&mut self, pairs: u16) -> Result<()> {
        let scaling = Scaling::parse(&self.shell.sh("ethtool -x eth0 | tr -s ' '")?)?;
        ensure!(scaling.table.len() == 128 && scaling.key.len() == 40, "{scaling:?}");
        let tap = self.tap.clone();
        for (host, guest) in tap.addresses() {
            let flow = |port| -> Result<_> {
                Ok(Flow { from: host.parse()?, from_port: port, to: guest.parse()?, to_port: PORT })
            };
            let mut ports = vec![Vec::new(); pairs.into()];
            // A table may leave a queue out.
            let mut missing = scaling.queues().len() * flows();
            for port in PORTS {
                if missing == 0 {
                    break;
                }
                let queue = scaling.queue(&flow(port)?)?;
                let ports = ports.get_mut(usize::from(queue)).context("a queue that is gone")?;
                if ports.len() < flows() {
                    ports.push(port.to_string());
                    missing -= 1;
                }
            }
            ensure!(missing == 0, "no flows are found for all queues of {scaling:?}");
            self.arrive(guest, &ports)?;
        }
        Ok(())
    }

    /// Sends from the ports of each queue, and waits until all is counted where it belongs.
    fn arrive(&mut self, to: &str, ports: &[Vec<String>]) -> Result<()> {
        let pairs = u16::try_from(ports.len())?;
        let before = self.packets("rx", pairs)?;
        let to = socket(to, PORT);
        let (mut sent, mut send) = (Vec::new(), vec!["send-from".to_owned(), to.clone()]);
        for (ports, each) in ports.iter().zip((1..).map(|nth: u64| nth * EACH)) {
            if !ports.is_empty() {
                send.push(format!("{each}:{}", ports.join(",")));
            }
            sent.push(each * ports.len() as u64);
        }
        printed(self.traffic(&send.iter().map(String::as_str).collect::<Vec<_>>())?, ANSWER)?;
        let mut arrived = Vec::new();
        let all = eventually("datagrams", ANSWER, || {
            let now = self.packets("rx", pairs)?;
            let gained = now.iter().zip(&before).map(|(now, before)| now.checked_sub(*before));
            let gained: Option<_> = gained.collect();
            let went_back = || format!("the driver counted {before:?}, and then {now:?}");
            arrived = gained.with_context(went_back)?;
            Ok(arrived.iter().zip(&sent).all(|(arrived, sent)| arrived >= sent))
        });
        let told =
            || format!("to {to} from {ports:?} went {sent:?}, and there arrived {arrived:?}");
        if let Err(error) = all {
            // Who lost them says so somewhere.
            let driver = self.shell.sh("ethtool -S eth0 | grep -v ': 0$'")?;
            let host = |name: &str| self.network.statistic(&self.tap, name);
            let (sent, lost) = (host("tx_packets")?, host("tx_dropped")?);
            let host = format!("the TAP has sent {sent} and dropped {lost}");
            return Err(error.context(format!("{}; {host}; {driver}", told())));
        }
        // Besides there may be a few packets that nobody asked for, but not all of one flow.
        let strays = arrived.iter().sum::<u64>() - sent.iter().sum::<u64>();
        ensure!(strays < EACH, "{}", told());
        Ok(())
    }
}

fn flows_arrive_where_predicted(release: Release) -> Result<()> {
    let most = pairs().iter().copied().max().unwrap_or(1);
    let mut guest = boot(release, most, 1500, |machine| machine)?;
    if let Err(error) = flows_of_all_settings(&mut guest) {
        // A driver that resets its card meanwhile counts anew.
        let kernel = guest.shell.sh("dmesg | grep -i ena | tail -n 20");
        return Err(error.context(format!("resets {:?}, {kernel:?}", guest.resets())));
    }
    guest.finish_in_peace(1)
}

fn flows_of_all_settings(guest: &mut Wired) -> Result<()> {
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    for pairs in pairs().iter().copied().map(u16::from) {
        guest.shell.sh(&format!(
            "ethtool -l eth0 | tail -n 2 | grep -qw {pairs} || ethtool -L eth0 combined {pairs}"
        ))?;
        guest.reaches_guest()?;
        guest.flows_arrive_where_predicted(pairs)?;

        let before = guest.packets("tx", pairs)?;
        let to = socket(&tap.host_ipv4, PORT);
        guest.shell.sh(&format!("traffic flood {to} --flows 64 --size 100"))?;
        let after = guest.packets("tx", pairs)?;
        ensure!(
            before.iter().zip(&after).all(|(before, after)| after > before),
            "not all of {pairs} queues sent: {before:?}, {after:?}"
        );
    }
    for change in ["weight 1 0 2 1", "equal 3", &format!("hkey {MICROSOFT_KEY}"), "default"] {
        guest.shell.sh(&format!("ethtool -X eth0 {change}"))?;
        guest.flows_arrive_where_predicted(4).with_context(|| format!("after -X {change}"))?;
    }
    Ok(())
}
