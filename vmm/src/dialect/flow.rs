//! What is asked of a card that works: flows, captures, faults, its cable.

use std::net::IpAddr;
use std::path::PathBuf;

use devices::net::control::Fault;
use devices::net::control::capture::CaptureSpec;
use devices::net::rss::FlowKey;
use devices::net::stage::limiter::Way;
use serde::Deserialize;

/// A flow of packets to the guest.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Address of the sender, of either version of IP.
    #[cfg_attr(test, schema(value_type = String, examples("192.0.2.1", "fd00::1")))]
    pub source: IpAddr,
    /// Address in the guest, of the same version.
    #[cfg_attr(test, schema(value_type = String, examples("192.0.2.2", "fd00::2")))]
    pub destination: IpAddr,
    pub protocol: FlowProtocol,
    /// Of no matter unless the protocol is TCP or UDP.
    #[serde(default)]
    pub source_port: u16,
    #[serde(default)]
    pub destination_port: u16,
}

/// `tcp`, `udp`, or a number of IP.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "\"tcp\", \"udp\" or a number up to 255 is expected")]
pub enum FlowProtocol {
    Name(ProtocolName),
    Number(u8),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    Tcp,
    Udp,
}

impl From<Flow> for FlowKey {
    fn from(flow: Flow) -> FlowKey {
        FlowKey {
            source: flow.source,
            destination: flow.destination,
            protocol: match flow.protocol {
                FlowProtocol::Name(ProtocolName::Tcp) => 6,
                FlowProtocol::Name(ProtocolName::Udp) => 17,
                FlowProtocol::Number(number) => number,
            },
            source_port: flow.source_port,
            destination_port: flow.destination_port,
        }
    }
}

/// A capture of a card's frames.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The pcapng file, which must not exist yet.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: PathBuf,
    /// Frames of this queue pair only.
    #[serde(default)]
    pub queue: Option<u16>,
    /// Frames of this direction only, as the guest sees it.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Option<Direction>))]
    pub direction: Option<Way>,
    /// Bytes kept of each frame; the headers if not given.
    #[cfg_attr(test, schema(minimum = 14, maximum = 262_144))]
    #[serde(default)]
    pub snap_len: Option<u32>,
    /// Bytes of the file; 64 MiB if not given, and at most 256 MiB for a `ring`.
    #[cfg_attr(test, schema(minimum = 65_536, maximum = 1_099_511_627_776_u64))]
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Seconds after which the capture ends; 300 if not given.
    #[cfg_attr(test, schema(minimum = 1, maximum = 604_800))]
    #[serde(default)]
    pub max_seconds: Option<u32>,
    /// Whether the newest frames are kept, and written at the end, instead of the first.
    #[serde(default)]
    pub ring: bool,
}

/// Where frames go, as the guest sees it.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes Way, which another crate reads")]
pub enum Direction {
    In,
    Out,
}

impl Capture {
    pub fn into_spec(self) -> (PathBuf, CaptureSpec) {
        let usual = CaptureSpec::default();
        let spec = CaptureSpec {
            queue: self.queue,
            direction: self.direction,
            snap_len: self.snap_len.unwrap_or(usual.snap_len),
            max_bytes: self.max_bytes.unwrap_or(usual.max_bytes),
            max_seconds: self.max_seconds.unwrap_or(usual.max_seconds),
            ring: self.ring,
        };
        (self.path, spec)
    }
}

/// Something to go wrong until the driver's next reset.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FaultBody {
    #[cfg_attr(test, schema(value_type = FaultSchema))]
    pub fault: Fault,
}

/// What an ENA card does wrong.
#[cfg(test)]
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = NicFault, rename_all = "kebab-case")]
pub enum FaultSchema {
    /// No more keep-alives.
    StopKeepAlive,
    /// No answer to the next admin command.
    NoAnswer,
    /// So many transmitted frames are never completed; 256 if the word stands alone.
    SwallowTx(#[allow(dead_code, reason = "only its type is looked at")] u32),
    /// A completion names a frame that there is not.
    WrongTxId,
    /// The card asks to be reset.
    RequestReset,
    /// The fatal state: all queues stop, and so do keep-alives.
    Fatal,
}

/// The card's cable.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub up: bool,
}

/// Whether a card's latencies are measured, which costs a little.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Measuring {
    pub on: bool,
}
