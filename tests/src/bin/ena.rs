//! `ena`: a tour of the ENA card in a stock guest, as its driver's own tools show it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::guest::{Shell, Tool, our_tool};
use tests::kernel::Release;
use tests::machine::{Hypervisor, Machine, Model};
use tests::net::{Network, Tap};
use tests::testbed::Testbed;
use tests::{host, initramfs, process};

/// Boot stock kernels with an ENA card, use it with its driver's tools, and print what they say.
///
/// Fails if the driver resets the card by itself, counts an error, or a frame does not arrive.
#[derive(Parser)]
#[command(name = "ena")]
struct Arguments {
    /// The vmm binary to use
    #[arg(long, value_name = "FILE")]
    vmm: PathBuf,
    /// Queue pairs, and CPUs of the guest
    #[arg(long, default_value_t = 2)]
    queues: u8,
    /// The kernel, 6.1 or 6.12; both if not given
    #[arg(long)]
    kernel: Option<String>,
    /// Bytes sent each way, in MiB
    #[arg(long, default_value_t = 16)]
    mib: u64,
}

/// What the guest's tools are asked for, in order.
const QUESTIONS: &[&str] = &[
    "ethtool -i eth0",
    "ethtool eth0",
    "ethtool -l eth0",
    "ethtool -g eth0",
    "ethtool -k eth0 | grep -E 'rx-checksum|tx-checksum-ipv|scatter-gather:|tcp-seg|receive-hash'",
    "ethtool -c eth0 | grep -E 'Adaptive|usecs:'",
    "ethtool -x eth0 | head -40",
    "ethtool -n eth0 rx-flow-hash tcp4",
    "ip link show eth0",
];

/// What the guest is made to change under way; pings follow each.
const CHANGES: &[&str] = &[
    "ethtool -L eth0 combined 1",
    "ethtool -L eth0 combined 2",
    "ethtool -G eth0 rx 2048 tx 512",
    "ethtool -X eth0 equal 2",
    "ethtool -X eth0 hkey 6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa",
    "ip link set eth0 mtu 9000",
    "ip link set eth0 mtu 1500",
    "ip link set eth0 down; ip link set eth0 up; ip address add $(sed 's/.*guest.eth0=[^,]*,\\([^ ]*\\).*/\\1/' /proc/cmdline) dev eth0",
];

/// What a healthy driver never says.
const COMPLAINTS: &[&str] = &[
    "Trigger reset",
    "Keep alive watchdog",
    "Potential MSIX",
    "Reset indication",
    "isn't ready",
    "Cannot init",
    "Unknown event",
    "Failed to set MTU",
    "not in running state",
    "wasn't completed",
    "hasn't completed",
    "didn't receive a MSI-X",
    "LLQ is not supported",
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("ena: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !host::in_testbed() && host::no_hardware_kvm().is_some() {
        tests::guest::fetch()?;
        let testbed = Testbed { timeout: Duration::from_secs(900), ..Testbed::default() };
        let mut command: Vec<OsString> = vec![std::env::current_exe()?.into()];
        command.extend(std::env::args_os().skip(1));
        let status = testbed.run(&command)?;
        return Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)));
    }
    let mut status = ExitCode::SUCCESS;
    for release in Release::GUESTS {
        if arguments.kernel.as_ref().is_none_or(|name| name == release.name())
            && let Err(error) = tour(release, arguments)
        {
            eprintln!("ena: error: guest with kernel {}: {error:#}", release.name());
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

fn tour(release: Release, arguments: &Arguments) -> Result<()> {
    println!("== kernel {}", release.name());
    let mut network = Network::new().context("the tour makes a TAP; run it as root")?;
    let tap = network.tap(arguments.queues.into(), 9000)?;
    let machine = Machine::new(Hypervisor::Vmm(arguments.vmm.clone()), release)
        .cpus(arguments.queues)
        .memory(512)
        .card_of(Model::Ena, &tap)
        .argument("--log-level")
        .argument("info")
        .tools(&[Tool::Ethtool, Tool::Iproute2, Tool::Traffic]);
    let (running, mut shell) = machine.boot(Some(&network))?;
    let seen = look(&mut shell, &network, &tap, arguments.mib);
    println!("-- vmm\n{}", running.errors.text());
    println!("-- dmesg\n{}", shell.sh("dmesg | grep -E ' ena |eth0'").unwrap_or_default());
    seen?;
    let said = shell.sh("dmesg")?;
    for complaint in COMPLAINTS {
        if let Some(at) = said.find(complaint) {
            let before = said[..at].rmatch_indices('\n').nth(12).map_or(0, |(at, _)| at);
            let after = said[at..].match_indices('\n').nth(30).map_or(said.len(), |(n, _)| at + n);
            bail!("the kernel complains of {complaint}:\n{}", &said[before..after]);
        }
    }
    Ok(())
}

fn look(shell: &mut Shell, network: &Network, tap: &Tap, mib: u64) -> Result<()> {
    let ask = |shell: &mut Shell, line: &str| -> Result<()> {
        let ran = shell.run(line, Duration::from_secs(60))?;
        println!("# {line}\n{}", ran.output);
        if ran.status != 0 {
            println!("status {}", ran.status);
        }
        Ok(())
    };
    ping(network, tap)?;
    for question in QUESTIONS {
        ask(shell, question)?;
    }
    send(shell, network, tap, mib)?;
    for change in CHANGES {
        ask(shell, change)?;
        ping(network, tap).with_context(|| format!("after `{change}`"))?;
    }
    send(shell, network, tap, mib)?;
    ask(shell, "ethtool -S eth0 | grep -v ': 0$'")?;
    ask(shell, "grep -E 'ena|eth0' /proc/interrupts")?;
    ask(shell, "rmmod ena; insmod /lib/modules/ena.ko; sleep 1; ip link show eth0")?;
    Ok(())
}

fn ping(network: &Network, tap: &Tap) -> Result<()> {
    let busybox = initramfs::busybox_file()?;
    for (option, address) in [("-4", &tap.guest_ipv4), ("-6", &tap.guest_ipv6)] {
        // The first answer may have to wait for the link.
        let line = ["ping", option, "-c", "3", "-w", "10", address];
        let said = process::stdout_of(network.command(&busybox).args(line))
            .with_context(|| format!("no answer to ping {address}"))?;
        println!("{}", said.lines().last().unwrap_or_default());
    }
    Ok(())
}

/// Sends hashed data each way, over both versions of IP.
fn send(shell: &mut Shell, network: &Network, tap: &Tap, mib: u64) -> Result<()> {
    let tool = our_tool("traffic")?;
    let limit = Duration::from_secs(240);
    let bytes = (mib << 20).to_string();
    for (guest, host) in [(&tap.guest_ipv4, &tap.host_ipv4), (&tap.guest_ipv6, &tap.host_ipv6)] {
        let at = |address: &str, port: u16| {
            if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            }
        };
        shell.sh(&format!("(traffic receive {} >/tmp/got 2>&1 &); sleep 1", at(guest, 5001)))?;
        let send = ["send", &at(guest, 5001), "--bytes", &bytes];
        let sent = process::stdout_of(network.command(&tool).args(send))?;
        let got = shell.sh_within("sleep 1; cat /tmp/got", limit)?;
        println!("to the guest: {} / {}", sent.trim(), got);
        let mut receiver: Command = network.command(&tool);
        receiver.args(["receive", &at(host, 5002)]).stdout(std::process::Stdio::piped());
        let receiver = receiver.spawn()?;
        let line = format!("sleep 1; traffic send {} --bytes {bytes}", at(host, 5002));
        let sent = shell.sh_within(&line, limit)?;
        let got = String::from_utf8_lossy(&receiver.wait_with_output()?.stdout).into_owned();
        println!("from the guest: {sent} / {}", got.trim());
    }
    Ok(())
}
