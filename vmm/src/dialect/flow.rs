//! What is asked of a card that works: flows, captures, faults, its cable.

use std::net::IpAddr;

use devices::net::control::Fault;
use devices::net::rss::FlowKey;
use serde::Deserialize;

/// A flow of packets to the guest.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Address of the sender.
    #[cfg_attr(test, schema(value_type = String))]
    pub source: IpAddr,
    /// Address in the guest.
    #[cfg_attr(test, schema(value_type = String))]
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

/// Something to go wrong until the driver's next reset.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FaultBody {
    #[cfg_attr(test, schema(value_type = FaultSchema))]
    pub fault: Fault,
}

/// The schema of [`Fault`].
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what another crate reads")]
pub enum FaultSchema {
    StopKeepAlive,
    NoAnswer,
    /// So many transmitted frames are never completed.
    SwallowTxCompletions(u32),
    WrongTxRequestId,
    RequestReset,
    Fatal,
}

/// The card's cable.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub up: bool,
}
