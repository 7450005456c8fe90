//! The serial console on pipes, under Linux. What needs none is in `tests/outputs/consoles.rs`.

use anyhow::{Result, ensure};
use tests::guest::Shell;
use tests::machine::BOOT;

use crate::scenario::{Scenario, finish, long};
use crate::usual;

/// Of the long round; the quick one has it in `bare`.
pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        return Vec::new();
    }
    Scenario::for_each_kernel("console::long_lines_and_much_output_arrive_whole", |release| {
        let (mut running, mut shell) = usual::bare(release)?;
        much_both_ways(&mut shell)?;
        finish(&mut running, &mut shell)
    })
}

pub fn much_both_ways(shell: &mut Shell) -> Result<()> {
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
    Ok(())
}
