//! What the card shows to the one who runs the machine, and what it lets him ask.

use std::time::Instant;

use net::control::inspect::{
    Completions, Condition, Driver, Inspection, ManagementRing, Pair, Place, Ring,
};
use net::control::{ExplainError, Fault, NicControl, NoSuchFault, NoSuchRequest};
use net::port::PortControl;
use net::rss::{Explained, FlowKey};
use net::spec::Model;

use crate::abi::group;
use crate::card::queues::Cq;
use crate::card::{Card, Control, reset_of};
use crate::device::Ena;
use crate::ring::Direction;

/// Bytes of a descriptor in RAM, and of a word of a completion.
const DESCRIPTOR: u16 = 16;
const WORD: u16 = 4;
/// The vector of admin queue and events.
const MANAGEMENT: u16 = 0;

impl Card {
    fn inspect(&self) -> Inspection {
        self.with(|control| Inspection {
            id: self.id.clone(),
            model: Model::Ena,
            backend: self.port.backend().to_string(),
            mac: self.mac,
            condition: self.condition(control),
            link_up: self.port.is_link_up(),
            mtu: Some(control.settings.mtu),
            max_mtu: Some(self.max_mtu),
            driver: driver(control),
            management: management(control),
            pairs: self.pairs(control),
            steering: self.port.steering(),
            totals: self.port.total_counters(),
            allowed: self.port.allowed(),
            allowances: self.port.allowances(),
            resets: control.resets,
            last_reset: control.last_reset.map(reset_of),
            faults: self.faults(control),
            capture: self.port.capture(),
            measures_latency: self.port.measures_latency(),
        })
    }

    fn condition(&self, control: &Control) -> Condition {
        match (control.is_resetting(), self.alarm.is_raised(), control.is_up()) {
            (true, _, _) => Condition::Resetting,
            (false, true, _) => Condition::Failed,
            (false, false, true) => Condition::Running,
            (false, false, false) => Condition::Idle,
        }
    }

    fn faults(&self, control: &Control) -> Vec<Fault> {
        self.mischief.in_force(control.events.withholds_keep_alives())
    }

    /// What becomes of frames of `flow`, as the driver set it.
    fn explain(&self, flow: &FlowKey) -> Result<Explained, ExplainError> {
        self.with(|control| {
            let vector = |lane: u16| {
                let sq = control.queues.rx.get(usize::from(lane))?.as_ref()?;
                control.queues.cqs.get(usize::from(sq.cq))?.as_ref()?.vector
            };
            Ok(self.port.explain(flow, vector).ok_or(ExplainError::NoTable)??)
        })
    }

    fn pairs(&self, control: &Control) -> Vec<Pair> {
        let counters = (0..).zip(self.port.lane_counters());
        let pair = |(index, counters)| Pair {
            index,
            tx: self.ring(control, Direction::Tx, index),
            rx: self.ring(control, Direction::Rx, index),
            counters,
        };
        counters.map(pair).collect()
    }

    fn ring(&self, control: &Control, direction: Direction, index: u16) -> Option<Ring> {
        let (queues, at) = (&control.queues, usize::from(index));
        let (cq, entries, low_latency, offered) = match direction {
            Direction::Tx => {
                let sq = queues.tx.get(at)?.as_ref()?;
                (sq.cq, sq.depth, sq.llq, self.doorbells.tx(index)?.tail())
            }
            Direction::Rx => {
                let sq = queues.rx.get(at)?.as_ref()?;
                (sq.cq, sq.depth, sq.llq, self.doorbells.rx(index)?.told())
            }
        };
        let Cq { config, vector, .. } = queues.cqs.get(usize::from(cq))?.as_ref()?;
        let pushed = control.settings.llq.as_ref().filter(|_| low_latency);
        Some(Ring {
            entries,
            entry_bytes: pushed.map_or(DESCRIPTOR, |policy| policy.entry_size),
            place: if low_latency { Place::Card } else { Place::Ram },
            offered: Some(offered as u16), // a counter of 16 bits
            completions: Completions {
                index: cq,
                entries: config.depth,
                entry_bytes: u16::from(config.entry_words).saturating_mul(WORD),
            },
            vector: *vector,
        })
    }
}

fn driver(control: &Control) -> Driver {
    const GROUPS: [(u32, &str); 5] = [
        (group::LINK_CHANGE, "events of link changes"),
        (group::NOTIFICATION, "notifications"),
        (group::KEEP_ALIVE, "keep-alives"),
        (group::CONFIGURATION, "notifications of configuration"),
        (group::DEVICE_REQUESTS_RESET, "resets asked for by the device"),
    ];
    let groups = control.events.groups();
    let chosen = GROUPS.iter().filter(|(bit, _)| groups & bit != 0);
    let llq = control.settings.llq.as_ref();
    let llq = llq.map(|policy| format!("low-latency queues of {} bytes", policy.entry_size));
    Driver {
        about: control.settings.host.as_ref().map(ToString::to_string),
        features: chosen.map(|(_, name)| name.to_string()).chain(llq).collect(),
    }
}

fn management(control: &Control) -> Vec<ManagementRing> {
    let (commands, answers) = control.admin.depths();
    [("commands", commands), ("answers", answers), ("events", control.events.depth())]
        .into_iter()
        .filter_map(|(name, entries)| {
            Some(ManagementRing { name, entries: entries?, vector: Some(MANAGEMENT) })
        })
        .collect()
}

impl NicControl for Ena {
    fn id(&self) -> &str {
        &self.card().id
    }

    fn port(&self) -> &dyn PortControl {
        &self.card().port
    }

    fn inspect(&self) -> Inspection {
        self.card().inspect()
    }

    fn explain(&self, flow: &FlowKey) -> Result<Explained, ExplainError> {
        self.card().explain(flow)
    }

    fn faults(&self) -> Vec<Fault> {
        self.card().with(|control| self.card().faults(control))
    }

    fn inject(&self, fault: Fault) -> Result<(), NoSuchFault> {
        self.card().inject(fault, Instant::now());
        Ok(())
    }

    fn ask_for_reset(&self) -> Result<(), NoSuchRequest> {
        self.card().ask_for_reset(Instant::now());
        Ok(())
    }

    fn clear_faults(&self) {
        self.card().behave(Instant::now());
    }
}

#[cfg(test)]
#[path = "inspect_test.rs"]
mod tests;
