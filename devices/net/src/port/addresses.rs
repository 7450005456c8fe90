//! The guest's addresses: those that its frames have shown, and what the wire sees in their place.

use std::net::{IpAddr, Ipv4Addr};

use super::NetPort;
use crate::announce;
use crate::mac::MacAddr;
use crate::neighbour::{Neighbour, Neighbours};
use crate::ring::{RxRing, TxRing};
use crate::stage::rewrite::{Rewrite, Sides};

impl<T: TxRing, R: RxRing> NetPort<T, R> {
    /// The guest's own Ethernet address is `mac` from now on: the wire sees another in its place, if it is to. What is to
    /// be in the place of the guest's IPv4 address is, once that is known.
    pub fn set_inside(&self, mac: MacAddr) {
        let Some(mut outside) = self.control().outside else { return };
        let ipv4 = outside.ip.and_then(|ip| {
            let inside = outside.guest_ip.or_else(|| self.shown_ip(mac))?;
            Some(Sides { inside, outside: ip })
        });
        // Whatever its frames will show.
        outside.guest_ip = ipv4.map(|ip| ip.inside);
        self.control().outside = Some(outside);
        let rewrite = Rewrite::new(Sides { inside: mac, outside: outside.mac }, ipv4);
        for lane in &self.lanes {
            lane.ask(move |lane, _| lane.path.rewrite = Some(rewrite));
        }
    }

    /// The IPv4 address of the card itself that its guest's frames have shown last.
    fn shown_ip(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.neighbours().into_iter().find_map(|one| match one.ip {
            IpAddr::V4(ip) if one.mac == mac => Some(ip),
            _ => None,
        })
    }

    /// The guest's addresses that its frames have shown, at most [`crate::neighbour::MOST`].
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let of_lanes =
            self.lanes.iter().map(|lane| lane.ask(|lane, _| lane.path.neighbours.clone()));
        let all = of_lanes.fold(Vec::new(), |mut all: Vec<Neighbour>, of_lane| {
            for one in of_lane.iter() {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            all
        });
        Neighbours::of(all).iter().collect()
    }

    /// The guest's addresses are these, of which the first was seen last; what frames have shown before is forgotten.
    pub fn remember(&self, neighbours: &[Neighbour]) {
        let of_first = Neighbours::of(neighbours.iter().copied());
        for (index, lane) in self.lanes.iter().enumerate() {
            let neighbours = if index == 0 { of_first.clone() } else { Neighbours::default() };
            lane.ask(move |lane, _| lane.path.neighbours = neighbours);
        }
    }

    /// Tells the network where the guest's addresses are, as those the wire sees.
    pub fn announce(&self) {
        let frames: Vec<_> = self.neighbours().iter().map(announce::frame).collect();
        if let Some(first) = self.lanes.first() {
            first.ask(move |lane, _| lane.announce(&frames));
        }
    }
}
