//! What the manual shows of guests: the front page's first machine, typed as it stands there, and the ENA card's tools.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tests::console::Console;
use tests::guest::Tool;
use tests::kernel::{Format, Release};
use tests::machine::{BOOT, Hypervisor, Machine, Model};
use tests::manual::{self, session};
use tests::net::Network;
use tests::process::{Owned, quiet};
use tests::{cargo, host};

use crate::scenario::Scenario;

/// What the guest's shell says before it is typed to.
const PROMPT: &str = "/ # ";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("manual::the_first_machine_of_the_front_page_answers", first_machine),
        Scenario::new("manual::an_ena_cards_tools_say_what_its_page_says", ena_page),
    ]
}

/// The commands of `cargo demo --model ena`, in such a guest.
fn ena_page() -> Result<()> {
    let pages = manual::pages(&cargo::workspace())?;
    let page = pages.iter().find(|page| page.path.ends_with("/ena.md")).context("no such page")?;
    let blocks = page.blocks();
    let block = blocks.iter().find(|block| block.kind == "console testbed");
    let steps = session::steps(block.context("the page shows no guest")?)?;

    let mut network = Network::new()?;
    let tap = network.tap(2, 1500)?;
    let machine = Machine::new(Hypervisor::ours()?, Release::Guest6_12);
    let machine = machine.format(Format::Vmlinux).parameter("loglevel=5");
    let machine = machine.cpus(2).tools(&[Tool::Ethtool]).card_of(Model::Ena, &tap);
    let (_running, mut shell) = machine.boot(Some(&network))?;
    for step in &steps {
        let printed = shell.sh(&step.command)?;
        let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
        let place = page.at(step.line);
        ensure!(session::matches(&step.expected, &lines), "{place}: it printed:\n{printed}");
    }
    Ok(())
}

fn first_machine() -> Result<()> {
    let pages = manual::pages(&cargo::workspace())?;
    let blocks = pages[0].blocks();
    let block = blocks.iter().find(|block| block.kind == "console testbed");
    let steps = session::steps(block.context("the front page has no first machine")?)?;
    let [network_up, boot] = steps.as_slice() else {
        anyhow::bail!("the first machine takes {} commands", steps.len())
    };

    // What the commands before are for.
    let folder = tempfile::tempdir()?;
    let ours = Hypervisor::ours()?;
    Machine::new(ours.clone(), Release::Guest6_12)
        .format(Format::Vmlinux)
        .write_files(&folder.path().join("first"))?;
    let Hypervisor::Vmm(vmm) = ours else { anyhow::bail!("ours is no QEMU") };
    fs::create_dir_all(folder.path().join("target/release"))?;
    symlink(vmm, folder.path().join("target/release/vmm"))?;

    let network = Network::new()?;
    quiet(network.command("sh").arg("-c").arg(&network_up.command))?;
    let mut shell = network.command("sh");
    shell.arg("-c").arg(format!("exec {}", boot.command)).current_dir(folder.path());
    let mut vmm = Owned::spawn(shell.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let child = vmm.child();
    let mut input = child.stdin.take().context("the input is missing")?;
    let output = child.stdout.take().context("the output is missing")?;
    let console = Console::collect("the first machine", output);

    let mut heard = 0;
    for typed in boot.expected.iter().filter_map(|line| line.strip_prefix(PROMPT)) {
        heard = console.wait_for(heard, PROMPT, BOOT)?;
        writeln!(input, "{typed}")?;
    }
    let status = vmm.wait(host::PATIENCE)?.context("the machine did not power off")?;
    ensure!(status.success(), "vmm ended with {status}");
    // Busybox asks the terminal where its cursor is.
    let text = console.wait_for_end(host::PATIENCE)?.replace("\x1b[6n", "");
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    ensure!(session::matches(&boot.expected, &lines), "it went otherwise:\n{text}");
    Ok(())
}
