//! The serial console on pipes, under Linux. What needs none is in `tests/outputs/consoles.rs`.

use anyhow::{Result, ensure};
use tests::kernel::Release;
use tests::machine::BOOT;

use crate::scenario::{Scenario, finish, long};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_kernel("console::long_lines_and_much_output_arrive_whole", much_both_ways)
}

fn much_both_ways(release: Release) -> Result<()> {
    let (mut running, mut shell) = usual::bare(release)?;
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
