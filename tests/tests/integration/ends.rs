//! How a machine ends: by the guest, by a signal, by a crash; each with its exit code and its line.
//! Most other tests end by `poweroff`, with exit code 0.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::guest::USER_SPACE_REACHED;
use tests::kernel::Release;
use tests::machine::BOOT;

use crate::scenario::{OFF, Scenario, long, machine, talkative};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    if long() {
        // The quick round has it in `bare`.
        all.extend(Scenario::for_each_kernel("ends::sigterm_presses_the_power_button", button));
        for (how, line, says) in STANDING {
            let scenario = move |release| stands(release, line, says);
            all.extend(Scenario::for_each_kernel(
                &format!("ends::a_guest_that_{how}_is_stopped_after_the_grace"),
                scenario,
            ));
        }
        // The registers themselves are tried without Linux, in tests/outputs/consoles.rs.
        for (how, code) in [("k", 3), ("a", 3), ("p", 3), ("t", 4)] {
            let name = format!("ends::reboot_by_reboot={how}_has_exit_code_{code}");
            all.push(Scenario::new(name, move || reboot(how, code)));
        }
    }
    all.push(Scenario::new("ends::a_signal_before_user_space_stops_after_the_grace", too_early));
    all.extend(Scenario::for_each_kernel("ends::a_panic_is_a_reset", panic));
    all
}

fn button(release: Release) -> Result<()> {
    let (mut running, mut shell) = usual::bare(release)?;
    // The kernel's own word that the button is a device.
    shell.sh("dmesg | grep -q 'Power Button'")?;
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(0, OFF)
}

/// Ways in which a guest stands still for ever: what it does, how, and its kernel's last word.
const STANDING: [(&str, &str, &str); 2] = [
    ("halts", "halt -f", "reboot: System halted"),
    (
        "panics_and_waits",
        "echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger",
        "end Kernel panic",
    ),
];

fn stands(release: Release, line: &str, says: &str) -> Result<()> {
    let (mut running, mut shell) =
        machine(release)?.argument("--grace").argument("2").boot(None)?;
    shell.sh("dmesg -n 7")?;
    let from = running.console.position();
    shell.send(line)?;
    running.console.wait_for(from, says, BOOT)?;
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(143, OFF)
}

fn too_early() -> Result<()> {
    let mut running =
        talkative(Release::Guest6_1)?.argument("--grace").argument("1").start(None)?;
    running.console.wait_for(0, "Linux version", BOOT)?;
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(143, OFF)?;
    ensure!(
        !running.console.text().contains(USER_SPACE_REACHED),
        "the guest was faster than this test"
    );
    Ok(())
}

fn reboot(how: &str, code: i32) -> Result<()> {
    let machine = machine(Release::Guest6_12)?.cpus(2).parameter(&format!("reboot={how}"));
    let (mut running, mut shell) = machine.boot(None)?;
    shell.send("reboot -f")?;
    running.expect_exit(code, OFF)?;
    one_error_line(&running.errors.text())
}

fn panic(release: Release) -> Result<()> {
    let (mut running, mut shell) = usual::bare(release)?;
    shell.send("echo c >/proc/sysrq-trigger")?;
    running.expect_exit(3, OFF)?;
    let console = running.console.text();
    ensure!(console.contains("Kernel panic"), "no panic on the console");
    one_error_line(&running.errors.text())
}

/// An end that is not clean is told in exactly one line.
fn one_error_line(errors: &str) -> Result<()> {
    let lines: Vec<_> = errors.lines().filter(|line| line.starts_with("vmm: ")).collect();
    ensure!(lines.len() == 1, "not one line about the end: {errors:?}");
    Ok(())
}
