//! What a driver sets by features (specification 6).

use net::spec::ENA_MTU_RANGE;

use crate::admin::rss;
use crate::host_info::HostInfo;
use crate::ring::LlqPolicy;

/// Largest MTU, unless the user said less, in bytes without the Ethernet header.
pub const MAX_MTU: u16 = *ENA_MTU_RANGE.end();
/// Smallest MTU that drivers use.
pub const MIN_MTU: u16 = *ENA_MTU_RANGE.start();

/// What a driver set, until the next reset.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In bytes, without the Ethernet header.
    pub mtu: u16,
    /// How low-latency queues are to be, if the driver has said so.
    pub llq: Option<LlqPolicy>,
    /// Receive hash and table.
    pub rss: rss::Settings,
    /// What the driver has said of itself.
    pub host: Option<HostInfo>,
}

impl Settings {
    /// As after a reset.
    pub fn new(max_mtu: u16) -> Settings {
        Settings { mtu: max_mtu, llq: None, rss: rss::Settings::default(), host: None }
    }
}
