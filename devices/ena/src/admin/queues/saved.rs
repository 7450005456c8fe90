//! What of the I/O queues outlives its process. They are made anew as by their commands, and then put where
//! they were.

use std::time::Instant;

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{Wanted, attachable, put};
use crate::card::queues::{Cq, Sq};
use crate::card::{Card, Control};
use crate::ring::{CqConfig, RxState, TxState};
use crate::saved::bad;

/// A completion queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqState {
    /// Where its ring is.
    pub ring: CqConfig,
    /// `None`: the driver polls.
    pub vector: Option<u16>,
}

/// A submission queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqState<R> {
    /// Index of its completion queue.
    pub cq: u16,
    /// Entries.
    pub depth: u16,
    /// Whether it is a low-latency queue.
    pub llq: bool,
    /// Guest-physical address of its entries.
    pub base: u64,
    /// How far it is; `None` if the host lost it, and the card failed.
    pub ring: Option<R>,
}

/// All I/O queues, by index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuesState {
    /// Completion queues.
    pub cqs: Vec<Option<CqState>>,
    /// Transmit queues.
    pub tx: Vec<Option<SqState<TxState>>>,
    /// Receive queues.
    pub rx: Vec<Option<SqState<RxState>>>,
}

impl QueuesState {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cqs.iter().all(Option::is_none)
            && self.tx.iter().all(Option::is_none)
            && self.rx.iter().all(Option::is_none)
    }
}

fn completions(cq: &Cq) -> CqState {
    CqState { ring: cq.config, vector: cq.vector }
}

impl<R> Sq<R> {
    fn save<S>(&self, ring: impl FnOnce(&R) -> S) -> SqState<S> {
        let Sq { cq, depth, llq, base, ref home } = *self;
        SqState { cq, depth, llq, base, ring: home.as_ref().map(ring) }
    }
}

impl<R> SqState<R> {
    fn wanted(&self) -> Wanted {
        let SqState { cq, depth, llq, base, .. } = *self;
        Wanted { cq, depth, llq, base }
    }
}

impl Card {
    /// The state, when it is `now`; all rings are home.
    pub(crate) fn save_queues(&self, control: &Control, now: Instant) -> QueuesState {
        let queues = &control.queues;
        let tx = queues.tx.iter().map(|sq| Some(sq.as_ref()?.save(|ring| ring.save(now))));
        let rx = queues.rx.iter().map(|sq| Some(sq.as_ref()?.save(|ring| ring.save(now))));
        QueuesState {
            cqs: queues.cqs.iter().map(|cq| cq.as_ref().map(completions)).collect(),
            tx: tx.collect(),
            rx: rx.collect(),
        }
    }

    /// Makes the queues anew in a card that has none. Fails if no driver can have made them so.
    pub(crate) fn load_queues(
        &self,
        control: &mut Control,
        state: &QueuesState,
    ) -> Result<(), LoadError> {
        let pairs = usize::from(self.pairs);
        for (field, found, places) in [
            ("queues.cqs", state.cqs.len(), pairs.saturating_mul(2)),
            ("queues.tx", state.tx.len(), pairs),
            ("queues.rx", state.rx.len(), pairs),
        ] {
            if found != places {
                return Err(bad(field, format!("there are {found} places, not {places}")));
            }
        }
        for (index, cq) in numbered(&state.cqs) {
            let made = self.completion_queue(cq.ring, cq.vector.map(u32::from));
            let made = made.map_err(|_| refused("queues.cqs", index, cq))?;
            put(&mut control.queues.cqs, index, made);
        }
        for (index, sq) in numbered(&state.tx) {
            let refused = |_| refused("queues.tx", index, sq);
            let cq = attachable(control, sq.cq).map_err(refused)?;
            let mut ring = self.tx_ring(control, index, &cq, &sq.wanted()).map_err(refused)?;
            let home = sq.ring.as_ref().map(|state| ring.load(state)).transpose()?.map(|()| ring);
            self.put_tx(control, index, &sq.wanted(), home);
        }
        for (index, sq) in numbered(&state.rx) {
            let refused = |_| refused("queues.rx", index, sq);
            let cq = attachable(control, sq.cq).map_err(refused)?;
            let mut ring = self.rx_ring(index, &cq, &sq.wanted()).map_err(refused)?;
            let home = sq.ring.as_ref().map(|state| ring.load(state)).transpose()?.map(|()| ring);
            self.put_rx(control, index, &sq.wanted(), home);
        }
        Ok(())
    }
}

/// Those that there are, with their indices; no more than there are places.
fn numbered<T>(queues: &[Option<T>]) -> impl Iterator<Item = (u16, &T)> {
    (0..).zip(queues).filter_map(|(index, queue)| Some((index, queue.as_ref()?)))
}

fn refused(field: &'static str, index: u16, queue: &impl std::fmt::Debug) -> LoadError {
    bad(field, format!("no driver can make queue {index} so: {queue:x?}"))
}
