//! The serial console on standard input and output: pipes, terminals, and their modes afterwards.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use tests::console::Console;
use tests::guest::{Shell, USER_SPACE_REACHED};
use tests::kernel::Release;
use tests::machine::BOOT;
use tests::process::Owned;

use crate::scenario::{OFF, Scenario, finish, long, machine};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(Scenario::for_each_kernel(
        "console::long_lines_and_much_output_arrive_whole",
        much_both_ways,
    ));
    all.push(Scenario::new("console::a_closed_input_is_no_end", closed_input));
    all.push(Scenario::new("console::sigterm_restores_the_terminal", terminated));
    all.push(Scenario::new("console::a_powered_off_guest_restores_the_terminal", powered_off));
    all.push(Scenario::new(
        "console::ctrl_a_a_sends_ctrl_a_and_ctrl_a_x_quits_and_restores_the_terminal",
        escaped,
    ));
    all
}

fn much_both_ways(release: Release) -> Result<()> {
    let (mut running, mut shell) = machine(release)?.boot(None)?;
    // Far more at once than the 64 bytes of a serial port's FIFO.
    let line: String =
        (0..3000u32).map(|n| char::from(b'a' + u8::try_from(n * 7 % 26).unwrap_or(0))).collect();
    let (lines, count) = if long() { (3, 5000) } else { (1, 1000) };
    for _ in 0..lines {
        let echoed = shell.sh(&format!("echo {line}"))?;
        ensure!(echoed == line, "{} bytes came back as {}: {echoed}", line.len(), echoed.len());
    }
    let output = shell.sh_within(&format!("seq 1 {count}"), BOOT)?;
    let wanted: Vec<_> = (1..=count).map(|n| n.to_string()).collect();
    ensure!(output.lines().eq(wanted.iter().map(String::as_str)), "numbers are missing");
    finish(&mut running, &mut shell)
}

fn closed_input() -> Result<()> {
    let (mut command, _folder) = machine(Release::Guest6_1)?.command(None)?;
    let mut process = Owned::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = process.child().stdout.take().context("no output")?;
    let console = Console::collect("the guest's console", output);
    console.wait_for(0, USER_SPACE_REACHED, BOOT)?;
    // An end of file that is polled again and again would take a CPU; the guest is idle now.
    let before = cpu_ticks(process.pid())?;
    std::thread::sleep(Duration::from_secs(3));
    let ticks = cpu_ticks(process.pid())? - before;
    ensure!(ticks < 150, "an idle machine took {ticks} of 300 ticks");
    kill(Pid::from_raw(i32::try_from(process.pid())?), Signal::SIGTERM)?;
    let status = process.wait(OFF)?.context("the machine did not end")?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// CPU time of a process in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted after the name.
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// A machine whose console is a terminal.
struct OnTerminal {
    process: Owned,
    console: Console,
    keyboard: File,
    terminal: File,
    before: Termios,
    _folder: tempfile::TempDir,
}

impl OnTerminal {
    fn boot() -> Result<Self> {
        let OpenptyResult { master, slave } = openpty(None, None)?;
        let (master, terminal) = (File::from(master), File::from(slave));
        let before = tcgetattr(&terminal)?;
        ensure!(
            before.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO),
            "an odd terminal"
        );
        let (mut command, folder) = machine(Release::Guest6_1)?.command(None)?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(Stdio::null());
        let process = Owned::spawn(&mut command)?;
        drop(command);
        let console = Console::collect("the terminal", master.try_clone()?);
        let this = Self { process, console, keyboard: master, terminal, before, _folder: folder };
        this.console.wait_for(0, USER_SPACE_REACHED, BOOT)?;
        let during = tcgetattr(&this.terminal)?;
        ensure!(
            !during.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO),
            "the terminal is not raw"
        );
        Ok(this)
    }

    fn ends_with(&mut self, code: i32) -> Result<()> {
        let status = self.process.wait(OFF)?.context("the machine did not end")?;
        ensure!(status.code() == Some(code), "ended with {status}, not {code}");
        let after = tcgetattr(&self.terminal)?;
        ensure!(after == self.before, "terminal modes {after:?}, before {:?}", self.before);
        Ok(())
    }
}

fn terminated() -> Result<()> {
    let mut machine = OnTerminal::boot()?;
    kill(Pid::from_raw(i32::try_from(machine.process.pid())?), Signal::SIGTERM)?;
    machine.ends_with(0)
}

fn powered_off() -> Result<()> {
    let mut machine = OnTerminal::boot()?;
    machine.keyboard.write_all(b"poweroff -f\r")?;
    machine.ends_with(0)
}

fn escaped() -> Result<()> {
    let mut machine = OnTerminal::boot()?;
    let keyboard = machine.keyboard.try_clone()?;
    let mut shell = Shell::start(machine.console.clone(), Box::new(keyboard), BOOT)?;
    // One Ctrl-A for the machine, and a second one that reaches the guest.
    machine.keyboard.write_all(b"IFS= read -r k; printf '%s' \"$k\" | od -An -tx1\n")?;
    machine.keyboard.write_all(b"\x01a\n")?;
    let answer = shell.answer("od", OFF)?;
    ensure!(answer.output.contains("01"), "the guest read {:?}", answer.output);
    machine.keyboard.write_all(b"\x01x")?;
    machine.ends_with(0)
}
