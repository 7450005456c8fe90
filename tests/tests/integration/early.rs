//! What happens to a kernel that still boots: no device can disturb it.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::api::Api;
use tests::guest::INIT_RUNS;
use tests::kernel::Release;
use tests::machine::BOOT;

use crate::scenario::{OFF, Scenario, stock};

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_version("early::every_line_at_every_moment_of_a_boot_harms_nothing", flood)
}

/// Input on the serial port and the power button, keyboard included, from before the kernel's first
/// instruction until the guest heeds the button.
fn flood(release: Release) -> Result<()> {
    /// Many in each stage of a boot, and few enough for a guest to get on.
    const PAUSE: Duration = Duration::from_millis(50);

    let (mut running, socket) = stock(release)?.start_by_api(None)?;
    let over = AtomicBool::new(false);
    let mut input = running.input()?;
    let mut api = Api::wait(&socket, BOOT)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the machine is gone, and with it who reads.
            while !over.load(Ordering::Relaxed) && input.write_all(b"x").is_ok() {
                std::thread::sleep(PAUSE);
            }
        });
        let mut presses = 0;
        while running.begun.elapsed() < BOOT && api.act("PowerButton").is_ok() {
            presses += 1;
            std::thread::sleep(PAUSE);
        }
        let ended = running.expect_exit(0, OFF);
        over.store(true, Ordering::Relaxed);
        ended?;
        ensure!(presses > 50, "only {presses} presses: the boot was not covered");
        Ok(())
    })?;
    ensure!(running.console.text().contains(INIT_RUNS), "it was off before user space");
    Ok(())
}
