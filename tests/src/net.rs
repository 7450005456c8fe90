//! The host's side of a guest's network: TAPs in a namespace of their own, so that tests run side by side.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::initramfs::busybox_file;
use crate::process::{quiet, stdout_of};

/// Knocks in a row: enough to come by each of a few queues.
const KNOCKS: usize = 8;

/// A network namespace with TAPs; goes with its owner.
pub struct Network {
    name: String,
    taps: u8,
}

/// A TAP, its addresses, and those its guest is meant to have.
#[derive(Debug, Clone)]
pub struct Tap {
    pub name: String,
    pub queues: u16,
    pub mtu: u16,
    pub mac: String,
    pub host_ipv4: String,
    pub guest_ipv4: String,
    pub host_ipv6: String,
    pub guest_ipv6: String,
}

impl Tap {
    /// The n-th TAP of a namespace.
    fn new(n: u8, queues: u16, mtu: u16) -> Self {
        Self {
            name: format!("tap{n}"),
            queues,
            mtu,
            mac: format!("02:00:00:00:00:{:02x}", n + 1),
            host_ipv4: format!("192.0.{n}.1"),
            guest_ipv4: format!("192.0.{n}.2"),
            host_ipv6: format!("fd00:{n}::1"),
            guest_ipv6: format!("fd00:{n}::2"),
        }
    }

    /// The host's address and the guest's, of both versions of IP.
    pub fn addresses(&self) -> [(&str, &str); 2] {
        [(&self.host_ipv4, &self.guest_ipv4), (&self.host_ipv6, &self.guest_ipv6)]
    }

    /// The same in the words of systemd (`systemd-network-generator(8)`), for a guest with no other card, and of
    /// IPv4.
    pub fn parameter_of_systemd(&self) -> String {
        format!("ip={}::{}:255.255.255.0:::none", self.guest_ipv4, self.host_ipv4)
    }

    /// Kernel parameter that gives the guest's `eth{index}` its addresses.
    pub fn parameter(&self, index: usize) -> String {
        format!("guest.eth{index}={}/24,{}/64", self.guest_ipv4, self.guest_ipv6)
    }
}

impl Network {
    /// Makes an empty namespace.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vmm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        quiet(Command::new("ip").args(["netns", "add", &name]))
            .context("cannot make a network namespace")?;
        let network = Self { name, taps: 0 };
        network.ip(&["link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// Puts a TAP on a bridge, which has its host's address from then on, or another one, and the bridge on a wire that
    /// leads to another namespace: each is a host of its own.
    pub fn bridge(&self, tap: &Tap, wire: &str, address: &str) -> Result<()> {
        self.ip(&["address", "flush", "dev", &tap.name])?;
        self.ip(&["link", "add", "br0", "type", "bridge"])?;
        for end in [&tap.name, wire] {
            self.ip(&["link", "set", end, "master", "br0", "up"])?;
        }
        self.ip(&["address", "add", &format!("{address}/24"), "dev", "br0"])?;
        self.ip(&["link", "set", "br0", "up"])?;
        Ok(())
    }

    /// Lays a wire to another namespace, by this name in both.
    pub fn wire(&self, name: &str, to: &Network) -> Result<()> {
        let pair = ["link", "add", name, "type", "veth", "peer", "name", name, "netns", &to.name];
        self.ip(&pair).map(drop)
    }

    /// Changes a kernel setting of the namespace, in sysctl's words: `net.ipv4.ip_forward=1`.
    pub fn set(&self, setting: &str) -> Result<()> {
        quiet(self.command(busybox_file()?).args(["sysctl", "-w", setting])).map(drop)
    }

    /// Moves this thread into the namespace; threads and programs it starts are there too.
    pub fn enter(&self) -> Result<()> {
        let file = File::open(Path::new("/run/netns").join(&self.name))
            .context("cannot open the network namespace")?;
        setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")
    }

    /// Addresses for a TAP that somebody else makes, under a name of its own.
    pub fn tap_to_be(&mut self, name: &str) -> Tap {
        let tap = Tap { name: name.to_owned(), ..Tap::new(self.taps, 1, 1500) };
        self.taps += 1;
        tap
    }

    /// Gives a TAP its addresses and brings it up.
    pub fn bring_up(&self, tap: &Tap) -> Result<()> {
        self.ip(&["link", "set", &tap.name, "mtu", &tap.mtu.to_string(), "up"])?;
        self.ip(&["address", "add", &format!("{}/24", tap.host_ipv4), "dev", &tap.name])?;
        self.ip(&["address", "add", &format!("{}/64", tap.host_ipv6), "dev", &tap.name, "nodad"])?;
        Ok(())
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        stdout_of(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Makes a TAP with addresses of its own; more than one queue makes it multi-queue.
    pub fn tap(&mut self, queues: u16, mtu: u16) -> Result<Tap> {
        let n = self.taps;
        self.taps += 1;
        let tap = Tap::new(n, queues, mtu);
        let mut add = vec!["tuntap", "add", "dev", &tap.name, "mode", "tap", "vnet_hdr"];
        if queues > 1 {
            add.push("multi_queue");
        }
        self.ip(&add)?;
        self.bring_up(&tap)?;
        Ok(tap)
    }

    /// A command that will run in the namespace; its process id is the program's own.
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.into());
        command
    }

    /// Knocks at closed ports of the guest until `done`, and so makes it send on all its queues.
    ///
    /// After a change of rings Linux's `ena` starts its queues, but does not look for packets that
    /// wait for them (`netif_tx_start_all_queues`); they go with the next one. On a wire that is
    /// otherwise silent there is none.
    pub fn knock(&self, tap: &Tap, done: &AtomicBool) {
        let Ok(guest) = format!("{}:9", tap.guest_ipv4).parse() else { return };
        if self.enter().is_err() {
            return;
        }
        while !done.load(Ordering::Relaxed) {
            for _ in 0..KNOCKS {
                // Refused, as it shall be; each comes from another port.
                let _ = TcpStream::connect_timeout(&guest, Duration::from_millis(100));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Bytes or packets that the host counted on a TAP, such as `rx_packets`.
    pub fn statistic(&self, tap: &Tap, name: &str) -> Result<u64> {
        let file = format!("/sys/class/net/{}/statistics/{name}", tap.name);
        Ok(stdout_of(self.command("cat").arg(file))?.trim().parse()?)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Processes in it keep it alive; there is nobody to tell.
        let _ = quiet(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}
