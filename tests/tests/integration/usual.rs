//! The guests that many scenarios have in common. The first scenario boots one, and the others restore it; so it has what
//! any of them needs.

use anyhow::Result;
use tests::guest::{Shell, Tool};
use tests::kernel::Release;
use tests::machine::{Machine, Model, Running};
use tests::net::Tap;

use crate::scenario::{Wired, long, machine, network};

/// Bytes of each disk of a guest [`of_all`], when it comes.
pub const DISK: u64 = 24 << 20;

/// What the metadata of such a guest is made of, as the manual's page has it.
const METADATA: &str = "--imds=tokens=optional,instance-id=i-web,hostname=web1";

/// One CPU and no device.
pub fn bare(release: Release) -> Result<(Running, Shell)> {
    bare_with(release, &[])
}

/// The same, with manners of vmm.
pub fn bare_with(release: Release, manner: &[&str]) -> Result<(Running, Shell)> {
    let machine = machine(release)?.manner(manner).api();
    // The quick round has one of each kernel.
    if long() { machine.ready(None) } else { machine.boot(None) }
}

/// Two CPUs and an ENA card for them that takes 9000 bytes; vmm tells of each reset.
pub fn ena(release: Release) -> Result<Wired> {
    let mut network = network()?;
    let tap = network.tap(2, 9000)?;
    let machine = machine(release)?.cpus(2).memory(512).tools(&[Tool::PushBuffer]);
    let machine = machine.card_of(Model::Ena, &tap).manner(&["--log-level", "info"]);
    let wired = Wired::ready(&machine, network, &tap)?;
    // A card drops what is longer than its guest's MTU, and nobody tells the sender: it must know before.
    let usual = ["route", "add", &tap.guest_ipv4, "dev", &tap.name, "mtu", "1500"];
    wired.network.ip(&usual)?;
    Ok(wired)
}

/// Two CPUs, a virtio card and an ENA card that take 9000 bytes, metadata on both; disks of zeroes, `v` by virtio, `n`
/// by NVMe, and `f`, which is read-only; and a vsock.
pub fn of_all(release: Release) -> Result<(Wired, [Tap; 2])> {
    let mut network = network()?;
    let taps = [network.tap(1, 9000)?, network.tap(1, 9000)?];
    let machine = machine(release)?.cpus(2).memory(512).tools(&[Tool::Disks, Tool::Vsock]);
    let machine = machine.card(&taps[0]).card_of(Model::Ena, &taps[1]).argument(METADATA);
    let wired = Wired::ready(&disks(machine).vsock(3), network, &taps[0])?;
    Ok((wired, taps))
}

fn disks(machine: Machine) -> Machine {
    let machine = machine.disk("v", DISK, "queues=2");
    let machine = machine.disk("n", DISK, "model=nvme,serial=vol0123456789abcdef0");
    machine.disk("f", DISK, "ro=on")
}
