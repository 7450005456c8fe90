//! What an ENA card is allowed: the driver counts when its guest wants more.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::kernel::Release;

use crate::api::NIC;
use crate::ena::boot;
use crate::network::{ANSWER, printed, socket};
use crate::scenario::{Scenario, eventually};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_kernel("ena::allowances_that_are_exceeded_are_counted", allowances)
}

fn allowances(release: Release) -> Result<()> {
    let mut guest = match release {
        // Limits come with the card, or while it is in use.
        Release::Guest6_1 => boot(release, 2, 1500, |machine| {
            machine.card_option("bw-in=500K").card_option("bw-out=500K").card_option("pps=500")
        })?,
        _ => {
            let guest = usual::ena(release)?;
            let limits = json!({ "bw_in": 500_000, "bw_out": 500_000, "pps": 500 });
            let patch = json!({ "iface_id": "eth0", "allowances": limits });
            Api::connect(&guest.running.path("api"))?.done("PATCH", NIC, &patch)?;
            guest
        }
    };
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    let names = "(bw_in|bw_out|pps|conntrack)_allowance_exceeded";
    let quiet = guest.counters(names)?;
    ensure!(quiet.len() == 4 && quiet.values().all(|&n| n == 0), "a ping exceeded {quiet:?}");

    let exceeded = |guest: &mut crate::scenario::Wired, counter: &str| {
        eventually(counter, ANSWER, || {
            Ok(guest.counters(names)?.iter().any(|(name, &n)| name.starts_with(counter) && n > 0))
        })
    };
    // Large ones first: they are few. Emulated guests send some hundred in a second.
    let large = ["flood", &socket(&tap.guest_ipv4, 9), "--size", "1400", "--seconds", "2"];
    printed(guest.traffic(&large)?, ANSWER)?;
    exceeded(&mut guest, "bw_in")?;
    let to = socket(&tap.host_ipv4, 9);
    guest.shell.sh(&format!("traffic flood {to} --size 1400 --seconds 2"))?;
    exceeded(&mut guest, "bw_out")?;
    // A burst has room for the few that a guest sends by itself; the host sends more than that.
    let small = ["flood", &socket(&tap.guest_ipv4, 9), "--size", "16", "--seconds", "2"];
    printed(guest.traffic(&small)?, ANSWER)?;
    exceeded(&mut guest, "pps")?;
    guest.reaches_guest()?;
    guest.finish_in_peace(1)
}
