//! Metadata as a guest reads it, by cards of either kind and both versions of IP.

use anyhow::{Context, Result, ensure};
use tests::cargo;
use tests::kernel::Release;
use tests::manual::{self, session};

use crate::network::ANSWER;
use crate::scenario::{Scenario, Wired, long};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_kernel("metadata::both_kinds_of_card_bring_it_and_nobody_else_hears", reads)
}

/// Where it is, and the link by which the guest is to ask there.
const ADDRESSES: [(&str, &str, &str); 2] = [
    ("169.254.169.254", "169.254.169.254:80", "ip route replace"),
    ("fd00:ec2::254", "[fd00:ec2::254]:80", "ip -6 route replace"),
];

fn reads(release: Release) -> Result<()> {
    let (mut guest, taps) = usual::of_all(release)?;
    page(&mut guest)?;
    for (card, tap) in taps.iter().enumerate() {
        guest.tap = tap.clone();
        for (address, at, route) in ADDRESSES {
            guest.reads_by(card, address, at, route).with_context(|| format!("eth{card}: {at}"))?;
        }
    }
    guest.finish()
}

/// What the manual's page shows of a guest.
fn page(guest: &mut Wired) -> Result<()> {
    let pages = manual::pages(&cargo::workspace())?;
    let page = pages.iter().find(|page| page.path.ends_with("/metadata.md"));
    let page = page.context("there is no such page")?;
    let blocks = page.blocks();
    let block = blocks.iter().find(|block| block.kind == "console testbed");
    for step in session::steps(block.context("the page shows no guest")?)? {
        let printed = guest.shell.sh_within(&step.command, ANSWER)?;
        let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
        let place = page.at(step.line);
        ensure!(session::matches(&step.expected, &lines), "{place}: it printed:\n{printed}");
    }
    Ok(())
}

impl Wired {
    /// The host has the same address on the card's link, and would refuse connections to it.
    fn reads_by(&mut self, card: usize, address: &str, at: &str, route: &str) -> Result<()> {
        self.network.ip(&["address", "replace", address, "dev", &self.tap.name])?;
        self.shell.sh(&format!("{route} {address} dev eth{card}"))?;
        let path = "/latest/meta-data/network/interfaces/macs/";
        let ask = format!("traffic ask {at} {path} --token");
        let said = self.shell.sh_within(&ask, ANSWER)?;
        ensure!(said.starts_with("200 ") && said.contains(&self.tap.mac), "{said}");
        let count = if long() { 10_000 } else { 20 };
        let ask = format!("traffic ask {at} /latest/meta-data/instance-id --token --count {count}");
        for how in ["", " --fresh"] {
            let said = self.shell.sh_within(&format!("{ask}{how}"), 4 * ANSWER)?;
            ensure!(said.starts_with("200 i-web\n"), "{said}");
        }
        // The guest still reaches the host, by the same card.
        let host = self.tap.host_ipv4.clone();
        self.ping_host(&host, 2)?;
        self.network.ip(&["address", "delete", address, "dev", &self.tap.name])?;
        Ok(())
    }
}
