//! Where a flow goes and why, as a pure function of what the guest set.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::classify::{Flow, Protocol, TCP, UDP};
use super::{Hasher, Rss};
use crate::frame::FlowHash;

/// A flow as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowKey {
    /// The address that sends.
    pub source: IpAddr,
    /// The address that receives, of the same version of IP.
    pub destination: IpAddr,
    /// The IP protocol: 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// Of no matter unless the protocol is TCP or UDP.
    #[serde(default)]
    pub source_port: u16,
    /// As `source_port`.
    #[serde(default)]
    pub destination_port: u16,
}

/// Why the two addresses of a [`FlowKey`] do not make a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_address} and {destination} are of different versions of IP")]
pub struct MixedVersions {
    source_address: IpAddr,
    destination: IpAddr,
}

/// The way of a flow's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The kind of frame it is.
    pub protocol: Protocol,
    /// The true hash, or `None` if the guest wants none for the protocol.
    pub hash: Option<u32>,
    /// The kind of frame it is hashed as: that of the packet if ports are left out.
    pub hash_type: Option<Protocol>,
    /// The entry of the table; `None` without a hash.
    pub bucket: Option<usize>,
    /// The lane is the queue pair of the same number.
    #[serde(rename = "queue")]
    pub lane: u16,
    /// The interrupt vector of the lane's receive ring, if it has one.
    pub vector: Option<u16>,
}

/// What becomes of frames of `flow`. `vector` says which vector a lane's receive ring has. Fails if the
/// two addresses are of different versions of IP.
pub fn explain(
    rss: &Rss,
    flow: &FlowKey,
    vector: impl FnOnce(u16) -> Option<u16>,
) -> Result<Explained, MixedVersions> {
    let hasher = Hasher::new(rss.clone());
    let hash = match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let protocol = match flow.protocol {
                TCP => Protocol::Tcp4,
                UDP => Protocol::Udp4,
                _ => Protocol::Ip4,
            };
            (protocol, hash(&hasher, flow, protocol, &source.octets(), &destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let protocol = match flow.protocol {
                TCP => Protocol::Tcp6,
                UDP => Protocol::Udp6,
                _ => Protocol::Ip6,
            };
            (protocol, hash(&hasher, flow, protocol, &source.octets(), &destination.octets()))
        }
        (source_address, destination) => {
            return Err(MixedVersions { source_address, destination });
        }
    };
    let (protocol, hash) = hash;
    let lane = hasher.lane(hash);
    let hash_type = hash.map(|hash| hash.protocol);
    let hash = hash.map(|hash| hash.value);
    let bucket = hash.map(|hash| rss.table.bucket(hash));
    Ok(Explained { protocol, hash, hash_type, bucket, lane, vector: vector(lane) })
}

fn hash(
    hasher: &Hasher,
    flow: &FlowKey,
    protocol: Protocol,
    source: &[u8],
    destination: &[u8],
) -> Option<FlowHash> {
    let [s0, s1] = flow.source_port.to_be_bytes();
    let [d0, d1] = flow.destination_port.to_be_bytes();
    hasher.hash_flow(&Flow { protocol, source, destination, ports: [s0, s1, d0, d1] })
}

#[cfg(test)]
#[path = "explain_test.rs"]
mod tests;
