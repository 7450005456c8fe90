//! A Debian that runs from its disk, with its root logged in.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::root::PASSWORD;
use crate::guest::Shell;
use crate::host::PATIENCE;
use crate::machine::{BOOT, Running};
use crate::net::{Network, Tap};
use crate::ssh;

/// A Debian that runs; dropped, it is killed.
pub struct Guest<'a> {
    pub running: Running,
    /// On the serial console.
    pub shell: Shell,
    pub ssh: ssh::Host<'a>,
}

impl<'a> Guest<'a> {
    /// Logs in on the console of a machine that was started; `key` is what its root lets in by ssh.
    pub fn log_in(
        running: Running,
        network: &'a Network,
        tap: &'a Tap,
        key: PathBuf,
    ) -> Result<Self> {
        let shell = running.log_in(("root", PASSWORD), BOOT)?;
        Ok(Self { running, shell, ssh: ssh::Host { network, tap, key } })
    }

    /// What vmm took from the disk, by its log.
    pub fn boots(&self) -> Result<String> {
        let said = self.running.errors.text();
        let line = said.lines().find_map(|line| line.split_once(" boots "));
        let (_, what) = line.context("the log does not tell what is booted")?;
        Ok(format!("boots {what}"))
    }

    /// Powers it off as its root does.
    pub fn power_off(mut self) -> Result<()> {
        self.shell.send("systemctl poweroff")?;
        self.running.expect_exit(0, PATIENCE)
    }
}
