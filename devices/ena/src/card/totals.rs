//! What the packet path has counted, added up as drivers are told it (specification 9).

use net::port::NetPort;
use net::ring::{RxRing, TxRing};
use net::stage::limiter;
use net::stage::tracking::MAX_CONNECTIONS;
use serde::{Deserialize, Serialize};

use crate::admin::events::Drops;

/// Frames and bytes of all lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Bytes from the driver.
    pub tx_bytes: u64,
    /// Frames from the driver.
    pub tx_packets: u64,
    /// Bytes to the driver.
    pub rx_bytes: u64,
    /// Frames to the driver.
    pub rx_packets: u64,
    /// Frames that did not reach the driver.
    pub rx_drops: u64,
    /// Frames that did not leave it.
    pub tx_drops: u64,
}

impl Totals {
    /// Since the machine was built.
    pub fn of<T: TxRing, R: RxRing>(port: &NetPort<T, R>) -> Totals {
        let sorted = Totals { rx_drops: port.sort_overflow(), ..Totals::default() };
        port.counters().iter().fold(sorted, |sum, lane| Totals {
            tx_bytes: sum.tx_bytes.wrapping_add(lane.tx_bytes.get()),
            tx_packets: sum.tx_packets.wrapping_add(lane.tx_frames.get()),
            rx_bytes: sum.rx_bytes.wrapping_add(lane.rx_bytes.get()),
            rx_packets: sum.rx_packets.wrapping_add(lane.rx_frames.get()),
            rx_drops: sum
                .rx_drops
                .wrapping_add(lane.rx_too_large.get())
                .wrapping_add(lane.rx_refused.get())
                .wrapping_add(lane.rx_no_ring.get())
                .wrapping_add(lane.rx_overflow.get())
                .wrapping_add(lane.rx_untracked.get()),
            tx_drops: sum
                .tx_drops
                .wrapping_add(lane.tx_malformed.get())
                .wrapping_add(lane.tx_refused.get())
                .wrapping_add(lane.tx_blocked.get())
                .wrapping_add(lane.tx_throttled.get())
                .wrapping_add(lane.tx_untracked.get()),
        })
    }

    /// What was added since `base`.
    pub fn since(&self, base: &Totals) -> Totals {
        Totals {
            tx_bytes: self.tx_bytes.wrapping_sub(base.tx_bytes),
            tx_packets: self.tx_packets.wrapping_sub(base.tx_packets),
            rx_bytes: self.rx_bytes.wrapping_sub(base.rx_bytes),
            rx_packets: self.rx_packets.wrapping_sub(base.rx_packets),
            rx_drops: self.rx_drops.wrapping_sub(base.rx_drops),
            tx_drops: self.tx_drops.wrapping_sub(base.tx_drops),
        }
    }

    /// The drops of both ways.
    pub fn drops(&self) -> Drops {
        Drops { rx: self.rx_drops, tx: self.tx_drops }
    }
}

/// How often traffic went over what the card is allowed, since the machine was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Packets to the guest that were too many bits per second.
    pub bandwidth_in: u64,
    /// Packets from the guest that were.
    pub bandwidth_out: u64,
    /// Packets too many per second.
    pub packets: u64,
    /// Packets of connections too many.
    pub connections: u64,
    /// Packets to link-local services too many per second.
    pub link_local: u64,
    /// Connections that could still be opened. EC2 always has a limit and monitors compute with
    /// this number, so a card without one tells the largest that it could have.
    pub connections_left: u64,
}

impl From<limiter::Allowances> for Allowances {
    fn from(counts: limiter::Allowances) -> Allowances {
        Allowances {
            bandwidth_in: counts.bw_in_exceeded,
            bandwidth_out: counts.bw_out_exceeded,
            packets: counts.pps_exceeded,
            connections: counts.conntrack_exceeded,
            link_local: 0,
            connections_left: counts.conntrack_available.unwrap_or(MAX_CONNECTIONS.into()),
        }
    }
}

impl Allowances {
    /// With `before` added to the five that can be exceeded.
    pub fn plus(self, before: [u64; 5]) -> Allowances {
        let [bandwidth_in, bandwidth_out, packets, connections, link_local] = before;
        Allowances {
            bandwidth_in: self.bandwidth_in.wrapping_add(bandwidth_in),
            bandwidth_out: self.bandwidth_out.wrapping_add(bandwidth_out),
            packets: self.packets.wrapping_add(packets),
            connections: self.connections.wrapping_add(connections),
            link_local: self.link_local.wrapping_add(link_local),
            connections_left: self.connections_left,
        }
    }

    /// The five that can be exceeded, in the order of GET_STATS.
    pub fn exceeded(&self) -> [u64; 5] {
        [self.bandwidth_in, self.bandwidth_out, self.packets, self.connections, self.link_local]
    }
}
