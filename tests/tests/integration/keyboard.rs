//! Ctrl-Alt-Del: each press that is answered with success reaches the guest.

use anyhow::Result;
use tests::api::Api;
use tests::kernel::Release;
use tests::machine::BOOT;

use crate::scenario::{OFF, Scenario, eventually, finish, machine};

/// Counts the signals that Linux makes of Ctrl-Alt-Del when told not to restart by itself.
const COUNT: &str = r#"echo 0 >/proc/sys/kernel/ctrl-alt-del; echo 0 >/tmp/n; sh -c 'n=0; trap "n=\$((n+1)); echo \$n >/tmp/n" INT; sleep 100000 & while :; do wait; done' & echo $! >/proc/sys/kernel/cad_pid"#;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Scenario::for_each_kernel("keyboard::a_hundred_presses_arrive", presses);
    all.extend(Scenario::for_each_kernel("keyboard::a_press_before_the_driver_is_kept", early));
    all
}

/// The kernel restarts of it as soon as it has a keyboard.
fn early(release: Release) -> Result<()> {
    let (mut running, socket) = machine(release)?.start_by_api(None)?;
    Api::wait(&socket, BOOT)?.act("SendCtrlAltDel")?;
    running.expect_exit(3, BOOT)
}

fn presses(release: Release) -> Result<()> {
    let (mut running, socket) = machine(release)?.start_by_api(None)?;
    let mut shell = running.shell(BOOT)?;
    shell.sh(COUNT)?;
    for press in 1..=100 {
        Api::wait(&socket, BOOT)?.act("SendCtrlAltDel")?;
        eventually(&format!("press {press} reaches the guest"), OFF, || {
            Ok(shell.sh("cat /tmp/n")? == press.to_string())
        })?;
    }
    finish(&mut running, &mut shell)
}
