//! What of a network card outlives its process: its address, its cable, and what its driver set by commands.

use std::sync::atomic::Ordering;

use device_core::snapshot::{LoadError, Saved, Snapshot, blob};
use net::mac::MacAddr;
use net::neighbour::{MOST, Neighbour};
use net::port::PortControl;
use net::stage::filter::{MAX_TABLE, ReceiveFilter};
use net::stage::limiter::Levels;
use serde::{Deserialize, Serialize};

use super::Net;
use crate::net::control::{Configured, Settings};
use crate::net::{features, hash};

/// A network card without its queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetState {
    /// The address after power-on.
    pub mac: MacAddr,
    /// The owner has pulled the cable.
    pub pulled: bool,
    /// The driver sees a link.
    pub link_up: bool,
    /// A driver has had its queues plugged since the last reset.
    pub used: bool,
    /// The address that the driver set last.
    pub own: MacAddr,
    /// Everything is received.
    pub promiscuous: bool,
    /// All groups are received.
    pub all_multicast: bool,
    /// All unicast addresses are received.
    pub all_unicast: bool,
    /// No group is received.
    pub no_multicast: bool,
    /// No unicast address is received.
    pub no_unicast: bool,
    /// No broadcast is received.
    pub no_broadcast: bool,
    /// Further unicast addresses, up to 64; `None` for more, so that all are received.
    pub unicast: Option<Vec<MacAddr>>,
    /// Wanted groups, the same.
    pub multicast: Option<Vec<MacAddr>>,
    /// Queue pairs that the host may use.
    pub pairs: u16,
    /// The bits of the last GUEST_OFFLOADS_SET, if there was one.
    pub offloads: Option<u64>,
    /// The MQ_RSS_CONFIG in force, as it was read; empty for none.
    #[serde(with = "blob")]
    pub rss: Vec<u8>,
    /// The MQ_HASH_CONFIG in force, as it was read; empty for none.
    #[serde(with = "blob")]
    pub hash: Vec<u8>,
    /// How far the card's limits are used up.
    pub limits: Levels,
    /// The driver has been asked to announce itself, and has not said that it has.
    pub announce: bool,
    /// Addresses of the guest, up to 16, the one seen last first.
    pub neighbours: Vec<Neighbour>,
}

impl Snapshot for Net {
    type State = NetState;
    const KIND: &'static str = "virtio-net";
    const VERSION: u16 = 1;

    fn save(&self) -> NetState {
        let link = self.shared.port.link();
        let settings = self.shared.settings().clone();
        let command = |configured: Option<Configured>| configured.map_or(vec![], |it| it.command);
        let filter = settings.filter;
        let (unicast, multicast) = filter.tables();
        NetState {
            mac: self.address().mac,
            pulled: link.is_pulled(),
            link_up: link.is_up(),
            used: self.life().used,
            unicast: unicast.map(<[_]>::to_vec),
            multicast: multicast.map(<[_]>::to_vec),
            own: filter.own,
            promiscuous: filter.promiscuous,
            all_multicast: filter.all_multicast,
            all_unicast: filter.all_unicast,
            no_multicast: filter.no_multicast,
            no_unicast: filter.no_unicast,
            no_broadcast: filter.no_broadcast,
            pairs: settings.pairs,
            offloads: settings.offloads.map(features::guest_features),
            rss: command(settings.rss),
            hash: command(settings.hash),
            limits: self.shared.port.levels(),
            announce: self.shared.announce.load(Ordering::Relaxed),
            neighbours: self.shared.port.neighbours(),
        }
    }

    fn load(&self, state: NetState) -> Result<(), LoadError> {
        let settings = self.settings_of(&state)?;
        {
            let mut address = self.address();
            if address.is_given && address.mac != state.mac {
                let (found, own) = (state.mac, address.mac);
                let why =
                    format!("it is {found}, and this card's is {own}; give the card that one");
                return refuse("mac", why);
            }
            address.mac = state.mac;
        }
        let port = &self.shared.port;
        port.set_link(!state.pulled);
        port.set_levels(&state.limits);
        // What plugs its queues does the rest.
        *self.shared.settings() = settings;
        port.remember(&state.neighbours);
        port.set_inside(state.own);
        self.life().used = state.used;
        self.shared.announce.store(state.announce, Ordering::Relaxed);
        self.owes_news.store(state.link_up != port.link().is_up(), Ordering::Relaxed);
        Ok(())
    }
}

impl Net {
    /// [`Snapshot::load_saved`], for a driver that negotiated `features`.
    pub(super) fn become_saved(&self, features: u64, saved: &Saved) -> Result<(), LoadError> {
        let state = Net::read(saved)?;
        let has = |feature| features & feature != 0;
        if state.offloads.is_some_and(|bits| bits & !(features & features::guest_bits()) != 0) {
            return refuse("offloads", "the driver has not negotiated all of them".to_owned());
        }
        if state.pairs > 1 && !has(features::MQ | features::RSS) {
            return refuse("pairs", "the driver has negotiated one pair".to_owned());
        }
        if !state.rss.is_empty() && !has(features::RSS) {
            return refuse("rss", "the driver has not negotiated it".to_owned());
        }
        if !state.hash.is_empty() && !has(features::HASH_REPORT) {
            return refuse("hash", "the driver has not negotiated it".to_owned());
        }
        if state.announce && !has(features::GUEST_ANNOUNCE) {
            return refuse("announce", "the driver has not negotiated it".to_owned());
        }
        self.load(state)?;
        // It may be at another place now.
        let announces = self.life().used && has(features::GUEST_ANNOUNCE);
        self.arrives.store(announces, Ordering::Relaxed);
        Ok(())
    }

    /// What a driver set, by the checks of the commands that set it.
    fn settings_of(&self, state: &NetState) -> Result<Settings, LoadError> {
        let lanes = self.shared.port.lanes();
        for (field, mac) in [("mac", state.mac), ("own", state.own)] {
            if !mac.is_valid_for_a_card() {
                return refuse(field, format!("no card has the address {mac}"));
            }
        }
        for (field, table) in [("unicast", &state.unicast), ("multicast", &state.multicast)] {
            if table.as_ref().is_some_and(|table| table.len() > MAX_TABLE) {
                return refuse(field, format!("it has more than {MAX_TABLE} addresses"));
            }
        }
        if state.neighbours.len() > MOST || !state.neighbours.iter().all(Neighbour::is_possible) {
            return refuse("neighbours", format!("no card knows these, or more than {MOST}"));
        }
        if !(1..=lanes).contains(&state.pairs) {
            return refuse("pairs", format!("{}; this card has 1 to {lanes}", state.pairs));
        }
        let mut filter = ReceiveFilter::promiscuous(state.own);
        filter.promiscuous = state.promiscuous;
        filter.all_multicast = state.all_multicast;
        filter.all_unicast = state.all_unicast;
        filter.no_multicast = state.no_multicast;
        filter.no_unicast = state.no_unicast;
        filter.no_broadcast = state.no_broadcast;
        filter.set_tables(state.unicast.clone(), state.multicast.clone());
        let mut settings = Settings {
            filter,
            pairs: state.pairs,
            offloads: state.offloads.map(features::guest_offloads),
            ..Settings::new(state.own)
        };
        if !state.rss.is_empty() {
            let (rss, pairs) = hash::rss_config(&state.rss, lanes)
                .or_else(|refused| refuse("rss", refused.0.to_owned()))?;
            if pairs != state.pairs {
                return refuse("pairs", format!("{}; the table is for {pairs}", state.pairs));
            }
            settings.rss = Some(Configured { rss, command: state.rss.clone() });
        }
        if !state.hash.is_empty() {
            let rss = hash::hash_config(&state.hash)
                .or_else(|refused| refuse("hash", refused.0.to_owned()))?;
            settings.hash = Some(Configured { rss, command: state.hash.clone() });
        }
        Ok(settings)
    }
}

fn refuse<T>(field: &'static str, why: String) -> Result<T, LoadError> {
    Err(LoadError::field(Net::KIND, field, why))
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;
