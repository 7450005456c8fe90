//! The ENA card under way: settings change, and its driver goes and comes, with traffic in flight.

use anyhow::{Context, Result, ensure};
use tests::kernel::Release;

use crate::network::some;
use crate::scenario::{Scenario, long};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(Scenario::for_each_kernel("ena::settings_change_under_traffic", changes));
    all.extend(Scenario::for_each_kernel("ena::the_driver_goes_and_comes_under_traffic", lives));
    all
}

/// What `ethtool` and `ip` change while streams flow, and how the change shows.
const CHANGES: &[(&str, &str)] = &[
    ("ethtool -L eth0 combined 1", "ethtool -l eth0 | tail -n 2 | grep -w 1"),
    ("ethtool -L eth0 combined 2", "ethtool -l eth0 | tail -n 2 | grep -w 2"),
    ("ethtool -G eth0 rx 256 tx 256", "[ $(ethtool -g eth0 | grep -cE '^[RT]X:.*\\b256$') = 2 ]"),
    ("ethtool -G eth0 rx 8192 tx 1024", "[ $(ethtool -g eth0 | grep -cE '^RX:.*\\b8192$') = 2 ]"),
    ("ethtool -X eth0 weight 3 1", "ethtool -x eth0 | grep -E '^ *120:( +1){8}'"),
    ("ethtool -X eth0 default", "ethtool -x eth0 | grep -E '^ *120:( +0 +1){4}'"),
    ("ip link set eth0 mtu 9000", "grep -x 9000 /sys/class/net/eth0/mtu"),
    ("ip link set eth0 mtu 1400", "grep -x 1400 /sys/class/net/eth0/mtu"),
    ("ip link set eth0 mtu 1500", "grep -x 1500 /sys/class/net/eth0/mtu"),
    (
        "ethtool -K eth0 tso off sg off tx off rx off",
        "ethtool -k eth0 | grep -x 'rx-checksumming: off'",
    ),
    ("ethtool -K eth0 tso on sg on tx on rx on", "ethtool -k eth0 | grep -x 'rx-checksumming: on'"),
];

fn changes(release: Release) -> Result<()> {
    let mut guest = usual::ena(release)?;
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    let least = ["route", "replace", &tap.guest_ipv4, "dev", &tap.name, "mtu", "1400"];
    guest.network.ip(&least)?;
    for (change, proof) in CHANGES {
        guest.streams_during(some(), change)?;
        guest.shell.sh(proof).with_context(|| format!("after `{change}`"))?;
    }
    let refused = guest.shell.run("ip link set eth0 mtu 9001", crate::network::ANSWER)?;
    ensure!(refused.status != 0, "an MTU above the card's was taken");
    guest.ping_guest(&tap.guest_ipv6, 3)?;
    guest.finish_in_peace(1)
}

fn lives(release: Release) -> Result<()> {
    let mut guest = usual::ena(release)?;
    guest.reaches_guest()?;
    let driver = "/sys/bus/pci/drivers/ena";
    let device = guest.shell.sh(&format!("basename $(readlink -f {driver}/0000:*)"))?;
    let lives = if long() { 100 } else { 2 };
    for life in 0..lives {
        if life % 2 == 0 {
            let (off, on) = (
                format!("echo {device} >{driver}/unbind"),
                format!("echo {device} >{driver}/bind"),
            );
            guest.lose_and_find_driver(&off, &on)?;
        } else {
            guest.lose_and_find_driver("rmmod ena", "insmod /lib/modules/ena.ko")?;
        }
    }
    let tap = guest.tap.clone();
    for (host, address) in tap.addresses() {
        guest.streams_each_way(some(), host, address)?;
    }
    guest.finish_in_peace(1 + lives)
}
