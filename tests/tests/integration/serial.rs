//! The serial line elsewhere: in a file, on a socket, nowhere.

use std::fs;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::console::Console;
use tests::guest::{Shell, USER_SPACE_REACHED};
use tests::kernel::Release;
use tests::machine::{BOOT, Running};
use tests::net::Network;

use crate::scenario::{OFF, Scenario, eventually, finish, machine, talkative};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("serial::a_file_takes_the_console", file),
        Scenario::new("serial::a_socket_is_a_console_that_can_be_left_and_taken_again", socket),
        Scenario::new("serial::none_is_no_hindrance", none),
    ]
}

fn off(mut running: Running) -> Result<()> {
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(0, OFF)
}

fn file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("console.log");
    let running = talkative(Release::Guest6_12)?
        .argument("--serial")
        .argument(format!("file={}", path.display()))
        .start(None)?;
    eventually("user space in the file", BOOT, || {
        Ok(fs::read_to_string(&path).unwrap_or_default().contains(USER_SPACE_REACHED))
    })?;
    ensure!(fs::read_to_string(&path)?.contains("Linux version"), "the beginning is missing");
    off(running)
}

fn socket() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("console.sock");
    let mut running = machine(Release::Guest6_1)?
        .argument("--serial")
        .argument(format!("socket={}", path.display()))
        .start(None)?;
    eventually("the socket", BOOT, || Ok(path.exists()))?;

    let first = UnixStream::connect(&path).context("cannot connect")?;
    let mut shell = Shell::start(
        Console::collect("the socket", first.try_clone()?),
        Box::new(first.try_clone()?),
        BOOT,
    )?;
    ensure!(shell.sh("echo first")? == "first", "no echo");
    first.shutdown(std::net::Shutdown::Both)?;
    drop((first, shell));

    let second = UnixStream::connect(&path).context("cannot connect again")?;
    let console = Console::collect("the socket", second.try_clone()?);
    let mut shell = Shell::resume(console, Box::new(second), OFF)?;
    ensure!(shell.sh("echo second")? == "second", "no echo");
    finish(&mut running, &mut shell)
}

fn none() -> Result<()> {
    let mut network = Network::new()?;
    let tap = network.tap(1, 1500)?;
    let running = machine(Release::Guest6_12)?
        .card(&tap)
        .argument("--serial")
        .argument("none")
        .start(Some(&network))?;
    let ping = tests::initramfs::busybox_file()?;
    eventually("an answer to ping", BOOT, || {
        let status = network
            .command(&ping)
            .args(["ping", "-c", "1", "-W", "1", &tap.guest_ipv4])
            .output()?
            .status;
        Ok(status.success())
    })?;
    ensure!(
        running.console.bytes().is_empty(),
        "something was printed: {:?}",
        running.console.text()
    );
    off(running)
}
