//! The lines of all that are measured, and who sends on them: in a network namespace of its own, with nobody
//! else on them.

use std::cell::Cell;
use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, MsgFlags, MultiHeaders, sendmmsg};

use crate::api::Api;
use crate::frames::Link;
use crate::host;
use crate::native::guest::Load;
use crate::native::line::{Line, TAP};
use crate::native::peer::MAC;
use crate::net::Network;
use crate::process::quiet;

/// Addresses that nobody has, and an EtherType for experiments (IEEE 802).
const SENDER: [u8; 6] = [2, 9, 9, 9, 9, 9];
const NONSENSE: [u8; 2] = [0x88, 0xb5];
/// Frames of one system call of the sender.
const BATCH: usize = 64;
/// Flows of what is sent, where there are several queues.
const FLOWS: u16 = 64;
/// The bridge of [`Line::Bridge`], and the end that it has of the pair.
const BRIDGE: &str = "br1";
const PORT: &str = "port1";

/// Frames that have gone over a line, as the hypervisor sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// From the guest.
    pub out: u64,
    /// To the guest.
    pub into: u64,
    /// To the guest, but there was no room.
    pub lost: u64,
}

impl Passed {
    /// Frames since `before` of the ways that a load has.
    pub fn since(&self, before: &Passed, load: Load) -> u64 {
        let (out, into) = (self.out - before.out, self.into - before.into);
        match load {
            Load::Send => out,
            Load::Receive | Load::Answer => into,
            Load::Both => out + into,
        }
    }
}

/// The lines.
pub struct Wire {
    network: Network,
    queues: Cell<u16>,
    /// Whether there are lines besides the TAP.
    has_pairs: Cell<bool>,
}

impl Wire {
    /// Makes the TAP, and moves this thread to where it is.
    pub fn new() -> Result<Self> {
        let network = Network::new().context("a TAP is needed; run this as root")?;
        network.enter()?;
        // Nobody shall send on it by himself; a kernel without IPv6 does not.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let wire = Self { network, queues: Cell::new(1), has_pairs: Cell::new(false) };
        wire.make()?;
        Ok(wire)
    }

    /// Makes the lines besides the TAP: a pair, and a TAP that a bridge joins with another pair.
    pub fn add_pairs(&self) -> Result<()> {
        for (near, line) in [(Line::Veth.near(), Line::Veth), (PORT, Line::Bridge)] {
            self.ip(&format!("link add {near} type veth peer name {}", line.far()))?;
            self.ip(&format!("link set {near} up"))?;
            self.ip(&format!("link set {} up", line.far()))?;
        }
        self.ip(&format!("link add {BRIDGE} type bridge"))?;
        self.ip(&format!("link set {BRIDGE} up"))?;
        self.ip(&format!("link set {PORT} master {BRIDGE}"))?;
        self.has_pairs.set(true);
        self.make_bridged()
    }

    /// Has ip(8) do what `line` says, in the network of the lines. Fails if it does.
    pub fn ip(&self, line: &str) -> Result<()> {
        self.network.ip(&line.split(' ').collect::<Vec<_>>()).map(drop)
    }

    fn make_tap(&self, name: &str) -> Result<()> {
        let multi = if self.queues.get() > 1 { " multi_queue" } else { "" };
        self.ip(&format!("tuntap add dev {name} mode tap vnet_hdr{multi}"))
    }

    fn make_bridged(&self) -> Result<()> {
        let name = Line::Bridge.near();
        self.make_tap(name)?;
        self.ip(&format!("link set {name} up master {BRIDGE}"))
    }

    fn make(&self) -> Result<()> {
        self.make_tap(TAP)?;
        self.ip(&format!("link set {TAP} mtu 65521 up"))?;
        // Frames go to the TAP's queue as they are sent, and are lost if it is full.
        let mut tc = self.network.command(host::find("tc").context("no tc in the path")?);
        quiet(tc.args(["qdisc", "replace", "dev", TAP, "root", "noqueue"]))?;
        Ok(())
    }

    /// Makes TAPs anew if they are not for so many queues. With more than one, what is sent is of many flows.
    /// Nobody may have a TAP.
    pub fn take_queues(&self, queues: u16) -> Result<()> {
        let is_multi = self.queues.replace(queues) > 1;
        if is_multi != (queues > 1) {
            self.ip(&format!("link delete {TAP}"))?;
            self.make()?;
            if self.has_pairs.get() {
                self.ip(&format!("link delete {}", Line::Bridge.near()))?;
                self.make_bridged()?;
            }
        }
        Ok(())
    }

    /// What to send to the guest: frames of `len` bytes, one flow or many, in turn.
    pub fn frames(&self, len: usize) -> Vec<Vec<u8>> {
        match self.queues.get() {
            0 | 1 => vec![frame(len)],
            _ => (0..FLOWS).map(|flow| frame_of_flow(len, flow)).collect(),
        }
    }

    /// Where the lines are.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What has passed over the TAP so far. From this thread only, or one that it started.
    pub fn passed(&self) -> Result<Passed> {
        passed(&interfaces()?, TAP).with_context(|| format!("{TAP} is gone"))
    }

    /// What has passed over a line so far; `api` is that of a vmm on one end of a pair, as none else knows
    /// what it took.
    pub fn passed_on(&self, line: Line, api: &Path) -> Result<Passed> {
        let on = |name| passed(&interfaces()?, name).with_context(|| format!("{name} is gone"));
        match line {
            Line::Tap => on(line.near()),
            Line::Bridge => Ok(Passed { out: on(line.far())?.out, ..on(line.near())? }),
            Line::Veth => {
                let card = Api::connect(api)?.get("/network-interfaces/eth0")?;
                let into = card["totals"]["rx_frames"].as_u64().context("no rx_frames")?;
                // Read after what came of it.
                let far = on(line.far())?;
                ensure!(far.into >= into, "{into} frames came to the guest, {far:?}");
                Ok(Passed { out: far.out, into, lost: far.into - into })
            }
        }
    }

    /// Sends frames of `len` bytes to the guest as fast as they go, until what is returned is dropped.
    pub fn flood(&self, len: usize) -> Result<Flood> {
        self.flood_on(Line::Tap, len)
    }

    /// The same on any line.
    pub fn flood_on(&self, line: Line, len: usize) -> Result<Flood> {
        self.flood_with_pauses(line, len, Duration::ZERO)
    }

    /// The same on the TAP, with a pause of a millisecond after some.
    pub fn trickle(&self, len: usize) -> Result<Flood> {
        self.flood_with_pauses(Line::Tap, len, Duration::from_millis(1))
    }

    fn flood_with_pauses(&self, line: Line, len: usize, pause: Duration) -> Result<Flood> {
        let (link, frames) = (Link::open(line.far())?, self.frames(len));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || flood(&link, &frames, pause, &stopped))?;
        Ok(Flood { stop, thread: Some(thread) })
    }
}

/// All interfaces' numbers.
fn interfaces() -> Result<String> {
    fs::read_to_string("/proc/thread-self/net/dev").context("no interfaces")
}

/// The numbers of an interface in `/proc/net/dev`: a TAP receives what its owner, the VMM, sends.
fn passed(text: &str, name: &str) -> Option<Passed> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    let field = |n: usize| line.split_whitespace().nth(n)?.parse().ok();
    Some(Passed { out: field(1)?, into: field(9)?, lost: field(11)? })
}

/// A frame to the guest.
pub fn frame(len: usize) -> Vec<u8> {
    let mut frame = [MAC.as_slice(), &SENDER, &NONSENSE].concat();
    frame.resize(len, 0);
    frame
}

/// Such a frame of UDP over IPv4, if it is long enough, with a port of its own for each flow: from 198.18.0.2 to
/// 198.18.0.1, the network of benchmarks (RFC 2544).
fn frame_of_flow(len: usize, flow: u16) -> Vec<u8> {
    const HEADERS: usize = 42;
    if len < HEADERS {
        return frame(len);
    }
    let mut frame = [MAC.as_slice(), &SENDER, &[8, 0]].concat();
    let half = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    frame.extend([0x45, 0]);
    frame.extend(half(len - 14));
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 2, 198, 18, 0, 1]);
    let sum: u32 =
        frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!folded as u16).to_be_bytes());
    // Source, destination (discard), length, and no checksum.
    frame.extend((10_000 + flow).to_be_bytes());
    frame.extend([0, 9]);
    frame.extend(half(len - 34));
    frame.extend([0, 0]);
    frame.resize(len, 0);
    frame
}

/// Somebody who sends without pause.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

impl Flood {
    /// Ends it: says how many nanoseconds of CPU time a frame took, whether or not there was room for it.
    pub fn end(mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(f64::NAN)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn flood(link: &Link, frames: &[Vec<u8>], pause: Duration, stop: &AtomicBool) -> f64 {
    let (begun, mut tried) = (cpu_time(), 0.0);
    let pieces: Vec<_> = frames.iter().cycle().take(BATCH).map(|f| [IoSlice::new(f)]).collect();
    let to: Vec<Option<LinkAddr>> = vec![None; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    while !stop.load(Ordering::Relaxed) {
        let fd = link.as_fd().as_raw_fd();
        match sendmmsg(fd, &mut headers, &pieces, &to, [], MsgFlags::empty()) {
            Ok(results) => tried += results.count() as f64,
            // There was no room for one.
            Err(Errno::ENOBUFS) => tried += 1.0,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The TAP went down with its VMM.
            Err(_) => thread::yield_now(),
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    (cpu_time() - begun) / tried
}

/// Nanoseconds on a CPU of this thread.
fn cpu_time() -> f64 {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let time = times.split_whitespace().next().and_then(|time| time.parse().ok());
    time.unwrap_or(f64::NAN)
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
