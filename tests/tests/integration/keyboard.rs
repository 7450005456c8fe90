//! Ctrl-Alt-Del: a press that is answered with success reaches the guest, however early it comes and
//! however often.

use anyhow::{Context, Result};
use tests::api::Api;
use tests::guest::Shell;
use tests::kernel::Release;
use tests::machine::{BOOT, Running};

use crate::scenario::{Scenario, finish, long, machine};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Scenario::for_each_kernel("keyboard::a_press_before_the_driver_is_kept", early);
    // The quick round has it in `bare`.
    if long() {
        all.extend(Scenario::for_each_kernel("keyboard::no_press_of_many_is_lost", |release| {
            let (mut running, mut shell) = usual::bare(release)?;
            each_press(&running, &mut shell)?;
            finish(&mut running, &mut shell)
        }));
    }
    all
}

/// The kernel restarts of it as soon as it has a keyboard.
fn early(release: Release) -> Result<()> {
    let (mut running, socket) = machine(release)?.start_by_api(None)?;
    Api::wait(&socket, BOOT)?.act("SendCtrlAltDel")?;
    running.expect_exit(3, BOOT)
}

/// The kernel hands each press on to the process that was named to it, here a `ping` that ends of it.
pub fn each_press(running: &Running, shell: &mut Shell) -> Result<()> {
    let presses = if long() { 100 } else { 5 };
    let mut api = Api::wait(&running.path("api"), BOOT)?;
    shell.sh("echo 0 >/proc/sys/kernel/ctrl-alt-del")?;
    for nth in 1..=presses {
        shell.sh("ping -i 3600 127.0.0.1 >/tmp/ping & echo $! >/proc/sys/kernel/cad_pid; until grep -q seq=0 /tmp/ping; do :; done")?;
        api.act("SendCtrlAltDel")?;
        shell
            .sh("wait $! && grep -q '1 packets transmitted' /tmp/ping")
            .with_context(|| format!("press {nth} of {presses}"))?;
    }
    Ok(())
}
