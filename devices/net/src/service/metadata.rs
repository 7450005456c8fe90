//! The service's content and manners, which all cards of a machine share.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use device_core::counters;

use super::guard::Guard;
use super::store::Store;
use super::token::Tokens;

/// Where a service is if nobody says otherwise.
pub const IPV4_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where it is too, as in EC2.
pub const IPV6_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// What a client has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Nothing.
    #[default]
    V1,
    /// The token of a session.
    V2,
}

/// How the service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a client has to show.
    pub version: Version,
    /// Where it is, besides [`IPV6_ADDRESS`].
    pub address: Ipv4Addr,
    /// Answers have IMDS's form, whatever a client asks for.
    pub imds_compat: bool,
    /// Routers that answers may pass, and one.
    pub hop_limit: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { version: Version::V1, address: IPV4_ADDRESS, imds_compat: false, hop_limit: 1 }
    }
}

counters! {
    /// What the service has done on one card.
    pub struct ServiceCounters {
        /// Frames for it that it took.
        rx_accepted,
        /// Those of them that were no good.
        rx_accepted_err,
        /// Frames for it that no stack can read.
        rx_bad_eth,
        /// Requests with a token that was not good.
        rx_invalid_token,
        /// Requests without a token.
        rx_no_token,
        /// Requests.
        rx_count,
        /// Bytes of frames to the guest.
        tx_bytes,
        /// Answers.
        tx_count,
        /// Frames to the guest that were lost.
        tx_errors,
        /// Frames to the guest.
        tx_frames,
        /// Connections that began.
        connections_created,
        /// Connections that ended.
        connections_destroyed,
    }
}

/// Content and manners of a machine's service.
pub struct Metadata {
    /// How it answers.
    pub settings: Settings,
    /// What it tells.
    pub store: Arc<Store>,
    /// Its sessions.
    pub tokens: Tokens,
    /// Nobody can foresee it: where sequence numbers begin.
    pub seed: u64,
}

impl Metadata {
    /// Of the machine `instance`, from numbers that nobody can foresee.
    pub fn new(
        settings: Settings,
        store: Arc<Store>,
        instance: &str,
        (key, seed): ([u8; 64], u64),
    ) -> Metadata {
        let tokens = Tokens::new(key, instance, Instant::now());
        Metadata { settings, store, tokens, seed }
    }

    /// Which frames concern it.
    pub fn guard(&self) -> Guard {
        Guard::new(self.settings.address, IPV6_ADDRESS)
    }
}
