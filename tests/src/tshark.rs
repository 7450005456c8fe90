//! Captures as Wireshark's `tshark` reads them.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::libraries::Program;
use crate::process::stdout_of;

/// What is asked of each frame. Where a frame has a packet inside, the outer one's are told.
const FIELDS: [&str; 12] = [
    "frame.interface_name",
    "frame.interface_queue",
    "frame.packet_flags_direction",
    "frame.len",
    "frame.cap_len",
    "frame.comment",
    "ip.proto",
    "ip.src",
    "ip.dst",
    "udp.srcport",
    "udp.dstport",
    "_ws.malformed",
];

/// The words of a packet's direction flag.
const INBOUND: &str = "0x00000001";
const OUTBOUND: &str = "0x00000002";
const UDP: &str = "17";

/// A frame in a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub interface: String,
    pub queue: u64,
    /// To the guest.
    pub inbound: bool,
    pub len: u64,
    pub kept: u64,
    pub comment: String,
    /// Of a datagram over IPv4 that is no part of another packet.
    pub udp: Option<Flow>,
    pub malformed: bool,
}

/// Addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub source: String,
    pub destination: String,
    pub source_port: u16,
    pub destination_port: u16,
}

/// The program, fetched if the cache lacks it.
pub fn open() -> Result<Program> {
    Program::open("tshark", "tshark")
}

/// All frames of a capture.
pub fn read(capture: &Path) -> Result<Vec<Frame>> {
    let mut tshark = open()?.command()?;
    // Names are looked up nowhere.
    tshark.arg("-n").arg("-r").arg(capture);
    tshark.args(["-T", "fields", "-E", "occurrence=f"]);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let text = stdout_of(&mut tshark)?;
    text.lines().map(|line| parse(line).with_context(|| format!("tshark says {line:?}"))).collect()
}

fn parse(line: &str) -> Result<Frame> {
    let fields: Vec<_> = line.split('\t').collect();
    let &[interface, queue, way, len, kept, comment, protocol, source, destination, from, to, bad] =
        fields.as_slice()
    else {
        anyhow::bail!("{} fields instead of {}", fields.len(), FIELDS.len());
    };
    ensure!([INBOUND, OUTBOUND].contains(&way), "the direction is {way:?}");
    let flow = || -> Result<Flow> {
        Ok(Flow {
            source: source.to_owned(),
            destination: destination.to_owned(),
            source_port: from.parse()?,
            destination_port: to.parse()?,
        })
    };
    Ok(Frame {
        interface: interface.to_owned(),
        queue: queue.parse().context("no queue")?,
        inbound: way == INBOUND,
        len: len.parse()?,
        kept: kept.parse()?,
        comment: comment.to_owned(),
        udp: (protocol == UDP).then(flow).transpose()?,
        malformed: !bad.is_empty(),
    })
}

#[cfg(test)]
#[path = "tshark_test.rs"]
mod tests;
