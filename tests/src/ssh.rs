//! Commands in a guest by ssh, with dropbear's client, which asks nobody.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::libraries::Program;
use crate::net::{Network, Tap};
use crate::process::stdout_of;

/// The client, fetched if the cache lacks it.
pub fn client() -> Result<Program> {
    Program::open("dropbear-bin", "dbclient")
}

/// A guest by its address, with what its root lets in.
pub struct Host<'a> {
    pub network: &'a Network,
    pub tap: &'a Tap,
    pub key: PathBuf,
}

impl Host<'_> {
    /// What a command in the guest prints; fails if it fails.
    pub fn run(&self, command: &str) -> Result<String> {
        stdout_of(&mut self.command(command)?)
    }

    /// The same, again and again until the guest lets us in.
    pub fn run_within(&self, command: &str, limit: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            match self.run(command) {
                Ok(said) => return Ok(said),
                Err(error) if start.elapsed() > limit => {
                    bail!("not within {} s: {error:#}", limit.as_secs())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn command(&self, line: &str) -> Result<Command> {
        let client = client()?.command()?;
        let mut command = self.network.command(client.get_program());
        command.args(client.get_args());
        // Twice: its key is as good as any, and nobody is asked.
        command.args(["-y", "-y", "-T", "-i"]).arg(&self.key);
        command.arg(format!("root@{}", self.tap.guest_ipv4)).arg(line).stdin(Stdio::null());
        Ok(command)
    }
}
