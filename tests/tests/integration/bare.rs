//! One life of a guest without a device, in which the quick round looks at what has lives of its own in the long one.

use anyhow::{Context, Result};
use tests::kernel::Release;

use crate::scenario::{Scenario, long};
use crate::{console, keyboard, sleep, usual};

pub fn scenarios() -> Vec<Scenario> {
    if long() {
        return Vec::new();
    }
    let name = "bare::a_guest_tells_much_feels_each_press_sleeps_and_is_turned_off";
    Scenario::for_each_kernel(name, life)
}

fn life(release: Release) -> Result<()> {
    let (mut running, mut shell) = usual::bare_with(release, &sleep::MANNER)?;
    console::much_both_ways(&mut shell).context("its console")?;
    keyboard::each_press(&running, &mut shell).context("its keyboard")?;
    sleep::sleeps(&mut running, &mut shell).context("its sleep")
}
