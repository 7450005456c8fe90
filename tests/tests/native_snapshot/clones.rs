//! Machines from one snapshot on one bridge, two or a hundred: with the addresses that the guest had, and others on the wire.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::peer::MAC;

use crate::{LIMIT, Scene, Test};

/// One of each for each card.
pub const TESTS: [(&str, Test); 1] =
    [("machines_of_one_snapshot_are_as_many_hosts_on_one_bridge", hosts)];

/// How many machines there are.
fn count() -> u8 {
    if std::env::var_os("VMM_LONG").is_some() { 100 } else { 2 }
}

/// Who asks, and how.
const ASKER: [u8; 6] = [2, 9, 9, 9, 9, 8];
const ASKER_IP: [u8; 4] = [10, 77, 0, 250];
const BROADCAST: [u8; 6] = [0xff; 6];
const BRIDGE: &str = "br7";
/// The asker's end of a pair, and the bridge's.
const NEAR: &str = "asker7";
const FAR: &str = "port7";
/// The guest's own address.
pub(super) const INSIDE: [u8; 4] = [10, 77, 0, 1];
/// How long nothing is to be heard.
const SILENCE: Duration = Duration::from_millis(300);

/// A machine as the wire sees it.
struct Outside {
    /// Of its TAP and of its API's socket.
    name: String,
    mac: [u8; 6],
    ip: [u8; 4],
}

impl Outside {
    /// The `nth` machine, from 1 to 100.
    fn new(nth: u8) -> Self {
        Self { name: format!("clone{nth}"), mac: [2, 0, 0, 0, 7, nth], ip: [10, 77, 0, 100 + nth] }
    }

    /// As `vmm restore` has it.
    fn option(&self) -> String {
        let mac: Vec<_> = self.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b, c, d] = self.ip;
        format!("eth0={},identity=rewrite,mac={},ip={a}.{b}.{c}.{d}", self.name, mac.join(":"))
    }
}

fn make_bridge(scene: &Scene, outsides: &[Outside]) -> Result<Link> {
    let ip = |line: &str| scene.wire.ip(line);
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    ip(&format!("link add {FAR} type veth peer name {NEAR}"))?;
    ip(&format!("link set {NEAR} up"))?;
    ip(&format!("link set {FAR} up master {BRIDGE}"))?;
    for outside in outsides {
        ip(&format!("tuntap add dev {} mode tap vnet_hdr", outside.name))?;
        ip(&format!("link set {} up master {BRIDGE}", outside.name))?;
    }
    Link::open(NEAR).context("no end of a pair")
}

fn hosts(scene: &Scene) -> Result<()> {
    let mut parent = scene.start_with("load=host", &[])?;
    let at_home = Link::open(TAP)?;
    // It tells its address at its start, when nobody may listen yet; who asks is told too.
    let asked = question(INSIDE);
    let heard = exchange(&at_home, &asked, &MAC)?;
    ensure!(heard[28..32] == INSIDE, "{heard:02x?}");
    let first_id = heard[42..58].to_vec();
    parent.pause()?;
    let folder = scene.path("snapshot");
    parent.save(&folder)?;
    drop(parent);

    let outsides: Vec<_> = (1..=count()).map(Outside::new).collect();
    let link = make_bridge(scene, &outsides)?;
    let mut machines = Vec::new();
    for outside in &outsides {
        machines.push(scene.restore_as(&outside.name, &folder, &["--net", &outside.option()])?);
        let told = link.hear_first(&outside.mac, LIMIT)?.context("it does not tell where it is")?;
        ensure!(told[..6] == BROADCAST && told[20..22] == [0, 1], "{told:02x?}");
        ensure!(told[28..32] == outside.ip && told[38..42] == outside.ip, "{told:02x?}");
    }
    let mut ids = vec![first_id];
    // Each is asked when all are there.
    for outside in &outsides {
        let answer = exchange(&link, &question(outside.ip), &outside.mac)?;
        ensure!(answer[20..22] == [0, 2] && answer[22..28] == outside.mac, "{answer:02x?}");
        ensure!(answer[28..32] == outside.ip && answer[38..42] == ASKER_IP, "{answer:02x?}");
        let id = answer[42..58].to_vec();
        ensure!(id != [0; 16] && !ids.contains(&id), "{id:02x?} is not its own, of {ids:02x?}");
        ids.push(id);

        let echo = echo(outside);
        let answer = exchange(&link, &echo, &outside.mac)?;
        ensure!(answer[..6] == ASKER && answer[26..30] == outside.ip, "{answer:02x?}");
        ensure!(answer[30..34] == ASKER_IP && answer[34] == 0, "{answer:02x?}");
        ensure!(sum(&answer[14..34]) == 0 && sum(&answer[34..]) == 0, "sums: {answer:02x?}");
        ensure!(answer[38..] == echo[38..], "{answer:02x?} to {echo:02x?}");
    }
    // Nothing of inside comes out.
    ensure!(link.hear_first(&MAC, SILENCE)?.is_none());
    for machine in &mut machines {
        ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    }
    Ok(())
}

/// Sends a frame until one of that station comes back.
pub(super) fn exchange(link: &Link, frame: &[u8], of: &[u8; 6]) -> Result<Vec<u8>> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        // The link may not be up yet.
        let sent = link.send(frame);
        if let Some(answer) = link.hear_first(of, SILENCE)? {
            let asks = answer[12..14] == [8, 6] && answer[20..22] == [0, 1];
            if !asks && answer[12..14] == frame[12..14] {
                return Ok(answer);
            }
        }
        drop(sent);
    }
    anyhow::bail!("no answer of {of:02x?}")
}

/// A question for an address.
pub(super) fn question(ip: [u8; 4]) -> Vec<u8> {
    let mut frame = [&BROADCAST[..], &ASKER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([&ASKER[..], &ASKER_IP, &[0; 6], &ip].concat());
    frame.resize(60, 0);
    frame
}

/// An echo of ICMP for IPv4.
fn echo(to: &Outside) -> Vec<u8> {
    let mut header = [0x45, 0, 0, 68, 0, 1, 0, 0, 64, 1, 0, 0].to_vec();
    header.extend([ASKER_IP, to.ip].concat());
    let header_sum = sum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&header_sum);
    let mut message = [8, 0, 0, 0, 0x12, 0x34, 0, 1].to_vec();
    message.extend((0..40).map(|at| at * 3 + to.mac[5]));
    let message_sum = sum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&message_sum);
    [&to.mac[..], &ASKER, &[8, 0], &header, &message].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes; 0 of those that have theirs.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
