//! What a driver sets by features (specification 6).

use net::spec::ENA_MTU_RANGE;

use crate::admin::rss;
use crate::host_info::HostInfo;
use crate::ring::LlqPolicy;

/// Largest MTU, unless the user said less, and the smallest that drivers use.
pub const MAX_MTU: u16 = *ENA_MTU_RANGE.end();
pub const MIN_MTU: u16 = *ENA_MTU_RANGE.start();

/// What a driver set, until the next reset.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mtu: u16,
    pub llq: Option<LlqPolicy>,
    pub rss: rss::Settings,
    pub host: Option<HostInfo>,
}

impl Settings {
    /// As after a reset.
    pub fn new(max_mtu: u16) -> Settings {
        Settings { mtu: max_mtu, llq: None, rss: rss::Settings::default(), host: None }
    }
}
