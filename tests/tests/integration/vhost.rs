//! A card whose frames the host's kernel moves: the same to its guest, and to who pauses its machine.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::kernel::Release;
use tests::machine::Model;

use crate::api::NIC;
use crate::network::{some, unbind_and_bind};
use crate::scenario::{Scenario, Wired, long};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("vhost::a_guest_lives_on_rings_that_the_kernel_reads", life).unless(|| {
            (!std::path::Path::new("/dev/vhost-net").exists()).then_some("no vhost-net")
        }),
    ]
}

/// Pauses while frames go both ways.
fn pauses() -> u32 {
    if long() { 20 } else { 6 }
}

fn life() -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let socket = folder.path().join("api");
    let mut guest = Wired::boot(Release::Guest6_12, Model::Virtio, 2, 1500, |machine| {
        let machine = machine.cpus(2).card_option("backend=vhost");
        machine.argument("--api-sock").argument(&socket)
    })?;
    let mut api = Api::connect(&socket)?;
    let tap = guest.tap.clone();
    let nic = api.get(NIC)?;
    ensure!(nic["backend"] == format!("vhost-net on tap {}", tap.name), "{nic}");
    ensure!(
        nic["condition"] == "running" && nic["pairs"].as_array().map(Vec::len) == Some(2),
        "{nic}"
    );
    for (host, address) in tap.addresses() {
        guest.ping_guest(address, 5)?;
        guest.ping_host(host, 5)?;
    }
    // Each pair has its turn: flows are spread over both.
    guest.shell.sh("ethtool -L eth0 combined 2")?;
    guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4).context("two pairs")?;
    guest.shell.sh("ethtool -L eth0 combined 1")?;
    guest.streams_each_way(some(), &tap.host_ipv6, &tap.guest_ipv6).context("one pair")?;
    guest.shell.sh("ethtool -L eth0 combined 2")?;
    for (path, body) in [
        (format!("{NIC}/link"), json!({ "up": false })),
        (format!("{NIC}/latency"), json!({ "on": true })),
    ] {
        let answer = api.ask("PUT", &path, &body.to_string())?;
        ensure!(
            answer.status == 400 && answer.body.contains("backend=vhost"),
            "{path}: {answer:?}"
        );
    }
    guest.shell.sh("traffic flood 192.0.2.99:9 --seconds 600 >/dev/null 2>&1 &")?;
    for nth in 0..pauses() {
        for state in ["Paused", "Resumed"] {
            api.done("PATCH", "/vm", &json!({ "state": state }))?;
        }
        if nth % 5 == 0 {
            guest.reaches_guest().with_context(|| format!("after pause {nth}"))?;
        }
    }
    guest.shell.sh("killall traffic; true")?;
    guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4).context("after pauses")?;
    unbind_and_bind(&mut guest).context("while the driver goes and comes")?;
    guest.finish()
}
