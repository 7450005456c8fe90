//! The serial line in a file. Sockets are in `tests/outputs/consoles.rs`, as no Linux is needed for them; machines without
//! a console are all those of `tests/native.rs`.

use std::fs;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::guest::USER_SPACE_REACHED;
use tests::kernel::{Format, Release};
use tests::machine::BOOT;

use crate::scenario::{OFF, Scenario, eventually, talkative};

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("serial::a_file_takes_the_console_and_sigint_presses_the_button", file)]
}

fn file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("console.log");
    let mut running = talkative(Release::Guest6_12)?
        .format(Format::Vmlinux)
        .argument("--serial")
        .argument(format!("file={}", path.display()))
        .start(None)?;
    eventually("user space in the file", BOOT, || {
        Ok(fs::read_to_string(&path).unwrap_or_default().contains(USER_SPACE_REACHED))
    })?;
    ensure!(fs::read_to_string(&path)?.contains("Linux version"), "the beginning is missing");
    running.signal(Signal::SIGINT)?;
    running.expect_exit(0, OFF)
}
