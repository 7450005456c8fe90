//! TAPs that are not there yet, that go, and that were a killed machine's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::frames::Link;
use tests::host::eventually;
use tests::native::guest::Load;
use tests::native::line::TAP;
use tests::native::peer::MAC;

use crate::{Guest, LIMIT, Test, report};

/// One of each for each card.
pub const TESTS: [(&str, Test); 3] = [
    ("a_tap_that_does_not_exist_is_made", made),
    ("a_machine_outlives_its_tap_and_says_that_it_is_lost", lost),
    ("a_killed_machine_leaves_its_tap_usable", killed),
];

fn made(guest: &Guest) -> Result<()> {
    let network = guest.wire.network();
    let mut vmm = guest.start_on("fresh0", Load::Send, 60, "count=1000")?;
    eventually("the TAP that was asked for", LIMIT, || {
        ensure!(vmm.wait(Duration::ZERO)?.is_none(), "vmm ended");
        Ok(network.ip(&["link", "set", "fresh0", "up"]).is_ok())
    })?;
    let report = report(&mut vmm, &Link::open("fresh0")?, LIMIT)?;
    ensure!(report.sent >= 1000, "{report:?}");
    drop(vmm);
    ensure!(network.ip(&["link", "show", "fresh0"]).is_err(), "it is still there");
    Ok(())
}

fn lost(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let mut vmm = guest.start(Load::Send, 60, "")?;
    link.hear_first(&MAC, LIMIT)?.context("no frame")?;
    guest.wire.network().ip(&["link", "delete", TAP])?;
    eventually("a word on the lost TAP", LIMIT, || Ok(guest.said().contains(TAP)))?;
    ensure!(vmm.wait(Duration::from_millis(300))?.is_none(), "vmm ended");
    Ok(())
}

fn killed(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let vmm = guest.start(Load::Send, 60, "")?;
    link.hear_first(&MAC, LIMIT)?.context("no frame")?;
    // By SIGKILL, in the middle of it.
    drop(vmm);
    let mut vmm = guest.start(Load::Send, 60, "count=1000")?;
    let report = report(&mut vmm, &link, LIMIT)?;
    ensure!(report.sent >= 1000, "{report:?}");
    Ok(())
}
