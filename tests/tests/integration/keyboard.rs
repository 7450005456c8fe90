//! Ctrl-Alt-Del: a press that is answered with success reaches the guest, however early it comes.

use anyhow::Result;
use tests::api::Api;
use tests::kernel::Release;
use tests::machine::BOOT;

use crate::scenario::{Scenario, machine};

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_kernel("keyboard::a_press_before_the_driver_is_kept", early)
}

/// The kernel restarts of it as soon as it has a keyboard.
fn early(release: Release) -> Result<()> {
    let (mut running, socket) = machine(release)?.start_by_api(None)?;
    Api::wait(&socket, BOOT)?.act("SendCtrlAltDel")?;
    running.expect_exit(3, BOOT)
}
