//! virtio-net as a guest uses it: pings, streams, MTU, offloads, the driver going and coming.

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::guest::our_tool;
use tests::host::PATIENCE;
use tests::initramfs::busybox_file;
use tests::kernel::Release;
use tests::machine::Model;
use tests::net::Network;
use tests::process::{Owned, stdout_of};

use crate::scenario::{Scenario, Wired, eventually, long};
use crate::usual;

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(Scenario::for_each_kernel(
        "network::pings_and_streams_arrive_and_the_driver_goes_and_comes_under_traffic",
        life,
    ));
    all.extend(Scenario::for_each_kernel("network::frames_of_9000_bytes_go_whole", jumbo_frames));
    if long() {
        all.push(Scenario::new("network::a_guest_outlives_its_tap", lost_tap));
    }
    all.push(Scenario::new("network::a_bridge_and_a_reset_are_outlived", bridge_and_reset));
    all
}

/// Time a ping may take to get through, however busy the host is.
pub const ANSWER: Duration = PATIENCE;

/// Starts our traffic program in a network of the host's.
pub fn traffic_in(network: &Network, arguments: &[&str]) -> Result<Owned> {
    let mut command = network.command(our_tool("traffic")?);
    Owned::spawn(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()))
}

/// Bytes that go each way where much is to go.
pub fn much() -> u64 {
    if long() { 1 << 30 } else { 2 << 20 }
}

/// Bytes that go each way while something else is looked at.
pub fn some() -> u64 {
    if long() { 4 << 20 } else { 1 << 20 }
}

impl Wired {
    /// Pings the guest from the host, each time as soon as the last was answered; all of `count` must be.
    pub fn ping_guest(&self, address: &str, count: u32) -> Result<()> {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let mut ping = self.network.command(busybox_file()?);
        ping.args(["ping", family, "-A", "-c", &count.to_string(), "-W", "10", address]);
        let said = stdout_of(&mut ping).with_context(|| format!("the host's ping of {address}"))?;
        ensure!(said.contains(" 0% packet loss"), "{said}");
        Ok(())
    }

    /// Whether the guest answers no ping within a second.
    pub fn is_silent(&self) -> Result<bool> {
        let mut ping = self.network.command(busybox_file()?);
        ping.args(["ping", "-4", "-c", "1", "-W", "1", &self.tap.guest_ipv4]);
        Ok(!ping.stdout(Stdio::null()).status()?.success())
    }

    /// Pings the host from the guest, likewise.
    pub fn ping_host(&mut self, address: &str, count: u32) -> Result<()> {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let said = self
            .shell
            .sh_within(&format!("ping {family} -A -c {count} -W 10 {address}"), ANSWER)?;
        ensure!(said.contains(" 0% packet loss"), "{said}");
        Ok(())
    }

    /// Waits until the host's ping is answered.
    pub fn reaches_guest(&self) -> Result<()> {
        eventually("ping", ANSWER, || Ok(self.ping_guest(&self.tap.guest_ipv4, 1).is_ok()))
    }

    /// Starts our traffic program on the host.
    pub fn traffic(&self, arguments: &[&str]) -> Result<Owned> {
        traffic_in(&self.network, arguments)
    }

    /// Sends pseudo-random bytes each way; both sides must see the same hash.
    pub fn streams_each_way(&mut self, bytes: u64, host: &str, guest: &str) -> Result<()> {
        let limit = Duration::from_secs(60 + bytes / 300_000);
        let (host, guest) = (socket(host, 5001), socket(guest, 5002));

        let receiver = self.traffic(&["receive", &host])?;
        let sent = self
            .shell
            .sh_within(&format!("traffic send {host} --bytes {bytes} --seed 1"), limit)?;
        ensure!(printed(receiver, limit)? == sent, "guest to host: another hash");

        self.shell.sh(&format!("traffic receive {guest} >/tmp/received 2>&1 &"))?;
        let sender =
            self.traffic(&["send", &guest, "--bytes", &bytes.to_string(), "--seed", "2"])?;
        let sent = printed(sender, limit)?;
        let received = self.shell.sh_within("wait; cat /tmp/received", limit)?;
        ensure!(received == sent, "host to guest: received {received}, sent {sent}");
        Ok(())
    }

    /// Takes the driver away by one line of shell and brings it back by another, under traffic.
    pub fn lose_and_find_driver(&mut self, off: &str, on: &str) -> Result<()> {
        let tap = self.tap.clone();
        let flood = self.traffic(&["flood", &socket(&tap.guest_ipv4, 9), "--seconds", "2"])?;
        self.shell
            .sh(&format!("traffic flood {}:9 --seconds 30 >/dev/null 2>&1 &", tap.host_ipv4))?;
        let before = self.network.statistic(&tap, "rx_packets")?;
        eventually("traffic", ANSWER, || {
            Ok(self.network.statistic(&tap, "rx_packets")? > before + 100)
        })?;
        self.shell.sh(off)?;
        self.shell.sh("[ ! -e /sys/class/net/eth0 ]")?;
        self.shell.sh(&format!("killall traffic; {on}"))?;
        self.shell.sh(&format!(
            "ip link set eth0 up && ip address add {}/24 dev eth0 && ip address add {}/64 dev eth0",
            tap.guest_ipv4, tap.guest_ipv6
        ))?;
        printed(flood, ANSWER)?;
        self.reaches_guest()
    }

    /// Sends streams both ways at once, over both versions of IP, and runs a line of shell when they flow.
    pub fn streams_during(&mut self, bytes: u64, line: &str) -> Result<()> {
        let limit = PATIENCE + Duration::from_secs(bytes / 100_000);
        let tap = self.tap.clone();
        let (host, guest) = (socket(&tap.host_ipv6, 5001), socket(&tap.guest_ipv4, 5002));
        let count = bytes.to_string();

        let before = self.network.statistic(&tap, "rx_packets")?;
        let receiver = self.traffic(&["receive", &host])?;
        let sender = self.traffic(&["send", &guest, "--bytes", &count, "--seed", "2"])?;
        self.shell.sh(&format!("traffic receive {guest} >/tmp/received 2>&1 & in=$!"))?;
        self.shell.sh(&format!(
            "traffic send {host} --bytes {bytes} --seed 1 >/tmp/sent 2>&1 & out=$!"
        ))?;
        eventually("traffic", ANSWER, || {
            Ok(self.network.statistic(&tap, "rx_packets")? > before + 20)
        })?;
        self.shell.sh(line)?;
        let done = AtomicBool::new(false);
        let sums = std::thread::scope(|scope| {
            scope.spawn(|| self.network.knock(&tap, &done));
            let sums = self.shell.sh_within("wait $in $out; cat /tmp/sent /tmp/received", limit);
            done.store(true, Ordering::Relaxed);
            sums.with_context(|| format!("streams during `{line}`"))
        })?;
        let on_host = [printed(receiver, limit)?, printed(sender, limit)?];
        ensure!(
            sums.lines().eq(&on_host),
            "streams during `{line}`: {sums}, on the host {on_host:?}"
        );
        Ok(())
    }
}

pub fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// What a program printed, when it is done.
pub fn printed(mut program: Owned, limit: Duration) -> Result<String> {
    let status = program.wait(limit)?.context("the program on the host is not done in time")?;
    let mut text = String::new();
    program.child().stdout.take().context("no output")?.read_to_string(&mut text)?;
    ensure!(status.success(), "the program on the host ended with {status}: {text}");
    Ok(text.trim().to_owned())
}

fn life(release: Release) -> Result<()> {
    let mut guest = Wired::boot(release, Model::Virtio, 1, 1500, |machine| machine.cpus(2))?;
    let tap = guest.tap.clone();
    for (host, address) in tap.addresses() {
        guest.ping_guest(address, 5)?;
        guest.ping_host(host, 5)?;
    }
    guest.streams_each_way(much(), &tap.host_ipv4, &tap.guest_ipv4)?;
    guest.streams_each_way(much(), &tap.host_ipv6, &tap.guest_ipv6)?;
    unbind_and_bind(&mut guest).context("while the driver goes and comes")?;
    guest.finish()
}

/// Cards of either kind with an MTU of 9000 bytes.
fn jumbo_frames(release: Release) -> Result<()> {
    let (mut guest, taps) = usual::of_all(release)?;
    // Its driver begins with 1500, whatever the card can do.
    guest.shell.sh("ip link set eth1 mtu 9000")?;
    for ((card, tap), bytes) in taps.into_iter().enumerate().zip([much().min(8 << 20), much()]) {
        guest.tap = tap;
        guest.carries_jumbo_frames(card, bytes).with_context(|| format!("eth{card}"))?;
    }
    guest.finish()
}

impl Wired {
    fn carries_jumbo_frames(&mut self, card: usize, bytes: u64) -> Result<()> {
        let tap = self.tap.clone();
        let mtu = self.shell.sh(&format!("cat /sys/class/net/eth{card}/mtu"))?;
        ensure!(mtu == "9000", "the guest's card has MTU {mtu}");

        self.reaches_guest()?;
        let before = self.network.statistic(&tap, "rx_packets")?;
        self.shell.sh_within(&format!("ping -A -c 5 -W 10 -s 8972 {}", tap.host_ipv4), ANSWER)?;
        let frames = self.network.statistic(&tap, "rx_packets")? - before;
        // Five requests of 9000 bytes, and perhaps ARP; in pieces of 1500 they would be 35.
        ensure!((5..15).contains(&frames), "five large pings took {frames} frames");

        for (host, guest) in tap.addresses() {
            self.streams_each_way(bytes, host, guest)?;
        }
        Ok(())
    }

    /// The guest asks anew who has the host's address, and gets through.
    ///
    /// By itself Linux goes on with the station that it knows, for half a minute and more.
    fn finds_host(&mut self) -> Result<()> {
        self.shell.sh("ip neigh flush dev eth0")?;
        let host = self.tap.host_ipv4.clone();
        self.ping_host(&host, 2)
    }
}

pub fn unbind_and_bind(guest: &mut Wired) -> Result<()> {
    let driver = "/sys/bus/virtio/drivers/virtio_net";
    let device = guest.shell.sh(&format!("basename $(readlink -f {driver}/virtio*)"))?;
    let rounds = if long() { 50 } else { 1 };
    for _ in 0..rounds {
        let (off, on) =
            (format!("echo {device} >{driver}/unbind"), format!("echo {device} >{driver}/bind"));
        guest.lose_and_find_driver(&off, &on)?;
    }
    let tap = guest.tap.clone();
    guest.ping_guest(&tap.guest_ipv6, 3)?;
    guest.streams_each_way(some(), &tap.host_ipv4, &tap.guest_ipv4)
}

fn lost_tap() -> Result<()> {
    let mut guest = Wired::boot(Release::Guest6_12, Model::Virtio, 1, 1500, |machine| machine)?;
    guest.reaches_guest()?;
    guest.network.ip(&["link", "delete", &guest.tap.name])?;
    // The card is dead, the guest is not, and somebody is told.
    let host = guest.tap.host_ipv4.clone();
    guest.shell.run(&format!("ping -c 3 -W 1 {host}"), ANSWER)?;
    guest.shell.sh("true")?;
    let log = guest.running.errors.text();
    ensure!(log.contains(&guest.tap.name), "nothing was said about the lost TAP: {log:?}");
    guest.finish()
}

/// The TAP comes to a bridge and leaves it again; the function is reset below its driver's feet.
fn bridge_and_reset() -> Result<()> {
    let (mut guest, _) = usual::of_all(Release::Guest6_12)?;
    guest.reaches_guest()?;
    let tap = guest.tap.clone();
    let address = format!("{}/24", tap.host_ipv4);
    let moves_address = |network: &Network, from: &str, to: &str| {
        network.ip(&["address", "delete", &address, "dev", from])?;
        network.ip(&["address", "add", &address, "dev", to])
    };
    let network = &guest.network;
    // With another station's address, as a bridge on a host of many guests has.
    network.ip(&["link", "add", "br0", "address", "02:00:00:00:00:99", "type", "bridge"])?;
    network.ip(&["link", "set", "br0", "up"])?;
    network.ip(&["link", "set", &tap.name, "master", "br0"])?;
    moves_address(network, &tap.name, "br0")?;
    guest.finds_host().context("on the bridge")?;
    guest.network.ip(&["link", "set", &tap.name, "nomaster"])?;
    moves_address(&guest.network, "br0", &tap.name)?;
    guest.finds_host().context("beside the bridge")?;

    let card = "/sys/class/net/eth0/device/..";
    guest.shell.sh(&format!("echo flr >{card}/reset_method; echo 1 >{card}/reset"))?;
    // Linux's driver does not hear of it.
    let driver = "/sys/bus/virtio/drivers/virtio_net";
    guest.shell.sh(&format!(
        "device=$(basename $(readlink -f /sys/class/net/eth0/device)); echo $device >{driver}/unbind; echo $device >{driver}/bind"
    ))?;
    guest
        .shell
        .sh(&format!("ip link set eth0 up; ip address add {}/24 dev eth0", tap.guest_ipv4))?;
    guest.finds_host().context("after a reset")?;
    guest.finish()
}
