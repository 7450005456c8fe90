//! A guest that sleeps (suspend to idle) and the button that wakes it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use tests::api::Api;
use tests::guest::Shell;
use tests::machine::{BOOT, Running};

use crate::scenario::{OFF, Scenario, is_healthy, long};
use crate::usual;

/// What the kernel says before it sleeps.
const SLEEPS: &str = "PM: suspend entry (s2idle)";
/// Time to fall asleep in; what wakes a guest earlier only keeps it from that.
const NOD: Duration = Duration::from_secs(3);

/// How vmm is to run such a guest.
pub const MANNER: [&str; 2] = ["--grace", "30"];

/// Of the long round; the quick one has it in `bare`.
pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        return Vec::new();
    }
    let name = "sleep::the_button_wakes_a_guest_and_sigterm_turns_it_off";
    Scenario::for_each_kernel(name, |release| {
        let (mut running, mut shell) = usual::bare_with(release, &MANNER)?;
        sleeps(&mut running, &mut shell)
    })
}

fn to_sleep(running: &Running, shell: &mut Shell, line: &str) -> Result<()> {
    let from = running.console.position();
    shell.send(line)?;
    running.console.wait_for(from, SLEEPS, BOOT)?;
    Ok(())
}

/// Puts it to sleep, wakes it, and turns it off while it sleeps again.
pub fn sleeps(running: &mut Running, shell: &mut Shell) -> Result<()> {
    let socket = running.path("api");
    shell.sh("killall acpid; dmesg -n 7")?;
    ensure!(shell.sh("cat /sys/power/mem_sleep")? == "[s2idle]", "another sleep is offered");
    // Both are the same to such a guest; its last sleep is the other one.
    let states: &[_] = if long() { &["freeze", "mem"] } else { &["mem"] };
    for state in states {
        let line = format!("echo {state} >/sys/power/state");
        to_sleep(running, shell, &line)?;
        let begun = Instant::now();
        let ran = loop {
            // Not answered by itself; and a press that came before it slept may be followed by one more.
            if let Ok(ran) = shell.answer(&line, NOD) {
                break ran;
            }
            if begun.elapsed() > BOOT {
                bail!("the guest sleeps on");
            }
            Api::wait(&socket, BOOT)?.act("PowerButton")?;
        };
        ensure!(ran.status == 0, "it did not sleep: {}", ran.output);
    }
    is_healthy(shell)?;
    // The kernel's own word that the button is a device.
    shell.sh("dmesg | grep -q 'Power Button' && acpid")?;
    to_sleep(running, shell, "echo freeze >/sys/power/state")?;
    std::thread::sleep(NOD);
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(0, OFF)
}
