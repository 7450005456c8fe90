//! What a person may want to know of a card: a picture of its state at one moment.

use net::rss::explain::MixedVersions;
use net::rss::{Explained, FlowKey, explain};
use serde::Serialize;

use crate::admin::stats::{Allowances, Totals};
use crate::card::{Card, Control};
use crate::faults::Fault;
use crate::ring::Direction;

/// Where a card is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its driver may work, or there is none.
    Ready,
    /// Between the two halves of the reset handshake.
    Resetting,
    /// Stopped by an error until its driver resets it.
    Fatal,
}

/// A submission queue with its completion queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// "tx" or "rx".
    pub direction: &'static str,
    pub index: u16,
    pub depth: u16,
    /// Whether its entries are in the card's memory.
    pub low_latency: bool,
    /// Index, depth and words of an entry of the completion queue.
    pub completion_queue: u16,
    pub completion_depth: u16,
    pub completion_words: u8,
    /// `None` if the driver polls.
    pub vector: Option<u16>,
    /// The doorbell as written last.
    pub tail: u16,
}

/// Admin queue and event ring: entries of each, `None` while it is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    pub commands: Option<u16>,
    pub answers: Option<u16>,
    pub events: Option<u16>,
    /// Groups of events that the driver asked for, as bits.
    pub event_groups: u32,
}

/// The receive hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rss {
    /// As the driver wrote it, in hex; `None` before it did.
    pub key: Option<String>,
    pub initial: u32,
    /// Receive queue of each bucket.
    pub table: Vec<u16>,
    /// Fields of each protocol, as bits.
    pub fields: Vec<u16>,
}

/// The last reset by the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reset {
    pub reason: u8,
    pub name: &'static str,
}

/// The whole card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub id: String,
    pub mac: String,
    pub condition: Condition,
    pub link_up: bool,
    pub mtu: u16,
    pub max_mtu: u16,
    pub queue_pairs: u16,
    /// Bytes of a low-latency entry, if the driver chose that.
    pub low_latency_entry: Option<u16>,
    /// What the driver says of itself.
    pub driver: Option<String>,
    pub admin: Admin,
    pub queues: Vec<Queue>,
    pub rss: Rss,
    /// Since the last reset.
    pub totals: Totals,
    /// Since the machine was built.
    pub allowances: Allowances,
    pub resets: u64,
    pub last_reset: Option<Reset>,
    pub faults: Vec<Fault>,
}

impl Card {
    pub(crate) fn inspect(&self) -> Inspection {
        self.with(|control| {
            let (commands, answers) = control.admin.depths();
            let (rss, events) = (&control.settings.rss, &control.events);
            let hex = |key: &[u8; 40]| key.iter().map(|byte| format!("{byte:02x}")).collect();
            Inspection {
                id: self.id.clone(),
                mac: self.mac.to_string(),
                condition: self.condition(control),
                link_up: self.port.link().is_up(),
                mtu: control.settings.mtu,
                max_mtu: self.max_mtu,
                queue_pairs: self.pairs,
                low_latency_entry: control.settings.llq.map(|policy| policy.entry_size),
                driver: control.settings.host.as_ref().map(ToString::to_string),
                admin: Admin {
                    commands,
                    answers,
                    events: events.depth(),
                    event_groups: events.groups(),
                },
                queues: self.queues(control),
                rss: Rss {
                    key: rss.key.as_ref().map(hex),
                    initial: rss.initial,
                    table: rss.table.to_vec(),
                    fields: rss.fields.to_vec(),
                },
                totals: self.totals(control),
                allowances: self.allowances(),
                resets: control.resets,
                last_reset: control
                    .last_reset
                    .map(|reason| Reset { reason: reason.0, name: reason.name() }),
                faults: self.mischief.in_force(control.events.withholds_keep_alives()),
            }
        })
    }

    /// What becomes of frames of `flow`, as the driver set it; `None` while there is no key.
    pub(crate) fn explain(&self, flow: &FlowKey) -> Option<Result<Explained, MixedVersions>> {
        self.with(|control| {
            let rss = control.settings.rss.for_lanes(self.pairs)?;
            let vector = |lane: u16| {
                let sq = control.queues.rx.get(usize::from(lane))?.as_ref()?;
                control.queues.cqs.get(usize::from(sq.cq))?.as_ref()?.vector
            };
            Some(explain::explain(&rss, flow, vector))
        })
    }

    fn queues(&self, control: &Control) -> Vec<Queue> {
        let queues = &control.queues;
        let tx = (0..).zip(&queues.tx).filter_map(|(index, sq)| {
            let sq = sq.as_ref()?;
            Some((Direction::Tx, index, sq.cq, sq.depth, sq.llq))
        });
        let rx = (0..).zip(&queues.rx).filter_map(|(index, sq)| {
            let sq = sq.as_ref()?;
            Some((Direction::Rx, index, sq.cq, sq.depth, sq.llq))
        });
        tx.chain(rx)
            .filter_map(|(direction, index, cq, depth, low_latency)| {
                let (name, doorbell) = match direction {
                    Direction::Tx => ("tx", self.doorbells.tx(index)?),
                    Direction::Rx => ("rx", self.doorbells.rx(index)?),
                };
                let completions = queues.cqs.get(usize::from(cq))?.as_ref()?;
                Some(Queue {
                    direction: name,
                    index,
                    depth,
                    low_latency,
                    completion_queue: cq,
                    completion_depth: completions.config.depth,
                    completion_words: completions.config.entry_words,
                    vector: completions.vector,
                    tail: doorbell.tail() as u16,
                })
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "inspect_test.rs"]
mod tests;
