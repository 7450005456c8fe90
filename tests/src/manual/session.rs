//! A page's commands, run one after the other in one shell, and what they printed against what the page says.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::manual::page::{Block, Page};
use crate::process::Owned;

/// Kind of the blocks that are run.
pub const KIND: &str = "console";

/// A command, and what a reader is told that it prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands on its page.
    pub line: usize,
    pub command: String,
    pub expected: Vec<String>,
}

/// What stands before a command; the second is a guest's, which only the testbed has.
const PROMPTS: [&str; 2] = ["$ ", "guest# "];

/// The commands of a block: each after a prompt, its further lines after `> `.
pub fn steps(block: &Block<'_>) -> Result<Vec<Step>> {
    let prompts = if block.kind == KIND { &PROMPTS[..1] } else { &PROMPTS };
    let mut steps: Vec<Step> = Vec::new();
    for (at, text) in block.lines.iter().enumerate() {
        let line = block.line + 1 + at;
        if let Some(command) = prompts.iter().find_map(|prompt| text.strip_prefix(prompt)) {
            steps.push(Step { line, command: command.to_owned(), expected: Vec::new() });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            bail!(
                "line {line} stands before the first command, which begins with `{}`",
                prompts.join("` or `")
            )
        };
        match text.strip_prefix("> ") {
            Some(more) if step.expected.is_empty() => step.command += &format!("\n{more}"),
            _ => step.expected.push(text.clone()),
        }
    }
    Ok(steps)
}

/// All that is to be run of a page, in its order.
pub fn of_page(page: &Page) -> Result<Vec<Step>> {
    let blocks = page.blocks();
    let run = blocks.iter().filter(|block| block.kind == KIND).map(steps);
    Ok(run.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Between what two commands printed; no tool prints it.
const MARK: char = '\u{1e}';

/// A shell script of all steps that tells after each its number and status.
///
/// A person takes a while until the next line; here, what serves an API in the background is waited for.
pub fn script(steps: &[Step]) -> String {
    let mut script = String::from("exec 2>&1\n");
    for (nth, Step { command, .. }) in steps.iter().enumerate() {
        // The next command may ask for the status of this one.
        script += &format!(
            "{command}\nstatus=$?; printf '\\n\\036{nth} %d\\036\\n' $status; (exit $status)\n"
        );
        let words: Vec<_> = command.split_whitespace().collect();
        let socket = words.windows(2).find(|pair| pair[0] == "--api-sock").map(|pair| pair[1]);
        if let (Some(socket), Some(&"&")) = (socket, words.last()) {
            script += &format!(
                "n=0; until vmm ctl {socket} info >/dev/null 2>&1 || [ $n = 200 ]; do n=$((n+1)); sleep 0.05; done\n"
            );
        }
    }
    script
}

/// Runs `script` by `shell`, as it is or inside of another program, with `folder` as its own; returns what was
/// printed. Whatever it leaves running is killed.
pub fn run(mut shell: Command, script: &str, folder: &Path, limit: Duration) -> Result<String> {
    let (said, told) = (folder.join(".script"), folder.join(".output"));
    std::fs::write(&said, script).context("cannot write the script")?;
    let output = File::create(&told).context("cannot make a file for the output")?;
    shell.arg(&said).current_dir(folder).process_group(0);
    shell.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut process = Owned::spawn(&mut shell)?;
    let group = Pid::from_raw(i32::try_from(process.pid())?);
    // What runs longer has printed too little, and is told by that.
    process.wait(limit)?;
    // Nobody may be left.
    let _ = killpg(group, Signal::SIGKILL);
    Ok(String::from_utf8_lossy(&std::fs::read(&told)?).into_owned())
}

/// What is not as the page says, one line or more for each command, with its line of the page.
pub fn judge(steps: &[Step], printed: &str) -> Vec<(usize, String)> {
    let parts: Vec<_> = printed.split(MARK).collect();
    let mut wrong = Vec::new();
    for (nth, step) in steps.iter().enumerate() {
        let command = step.command.lines().next().unwrap_or_default();
        let got = parts.get(2 * nth).copied().unwrap_or_default().trim_matches('\n');
        let status = parts.get(2 * nth + 1).and_then(|mark| {
            let (number, status) = mark.split_once(' ')?;
            (number == nth.to_string()).then_some(status)
        });
        let Some(status) = status else {
            wrong.push((step.line, format!("`{command}` did not end; it printed:\n{got}")));
            return wrong;
        };
        let lines: Vec<_> = got.lines().map(str::trim_end).collect();
        if !matches(&step.expected, &lines) {
            let expected = step.expected.join("\n");
            wrong.push((step.line, format!("`{command}` printed:\n{got}\nand not:\n{expected}")));
        } else if step.expected.is_empty() && status != "0" {
            wrong.push((step.line, format!("`{command}` failed with status {status}")));
        }
    }
    wrong
}

/// Whether lines are as expected, where `...` stands for anything.
pub fn matches(expected: &[String], got: &[&str]) -> bool {
    match expected.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=got.len()).any(|skipped| matches(rest, &got[skipped..]))
        }
        Some((first, rest)) => got
            .split_first()
            .is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more)),
    }
}

fn line_matches(expected: &str, got: &str) -> bool {
    match expected.split_once("...") {
        None => expected.trim_end() == got,
        Some((begin, rest)) => got.strip_prefix(begin).is_some_and(|got| {
            got.char_indices()
                .map(|(at, _)| at)
                .chain([got.len()])
                .any(|skipped| line_matches(rest, &got[skipped..]))
        }),
    }
}
