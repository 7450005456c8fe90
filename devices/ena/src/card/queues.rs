//! The I/O queues that a driver has made.

use crate::ring::{CqConfig, Rx, Tx};

/// A completion queue.
#[derive(Clone, Debug)]
pub struct Cq {
    /// Where its ring is.
    pub config: CqConfig,
    /// `None`: the driver polls.
    pub vector: Option<u16>,
    /// A submission queue completes to it.
    pub attached: bool,
}

/// A submission queue; its ring is on a lane, or here while the card may do no DMA.
pub struct Sq<R> {
    /// Index of its completion queue.
    pub cq: u16,
    /// Entries.
    pub depth: u16,
    /// Whether it is a low-latency queue.
    pub llq: bool,
    /// Guest-physical address of its entries; of no meaning for a low-latency queue.
    pub base: u64,
    /// The ring, while it is on no lane.
    pub home: Option<R>,
}

/// All I/O queues, by index. Transmit and receive queues count separately.
pub struct Queues {
    /// Completion queues.
    pub cqs: Vec<Option<Cq>>,
    /// Transmit queues.
    pub tx: Vec<Option<Sq<Tx>>>,
    /// Receive queues.
    pub rx: Vec<Option<Sq<Rx>>>,
}

impl Queues {
    /// Room for `pairs` queues of each direction, and their completion queues.
    pub fn new(pairs: u16) -> Queues {
        let pairs = usize::from(pairs);
        Queues {
            cqs: (0..pairs.saturating_mul(2)).map(|_| None).collect(),
            tx: (0..pairs).map(|_| None).collect(),
            rx: (0..pairs).map(|_| None).collect(),
        }
    }

    /// Whether a transmit queue is in the card's memory.
    pub fn has_llq(&self) -> bool {
        self.tx.iter().flatten().any(|sq| sq.llq)
    }

    /// Receive queues by index, up to the last that exists.
    pub fn receivers(&self) -> u16 {
        self.rx.iter().rposition(Option::is_some).map_or(0, |last| (last as u16).saturating_add(1))
    }

    /// The completion queue `index`, if there is one.
    pub fn cq(&mut self, index: u16) -> Option<&mut Cq> {
        self.cqs.get_mut(usize::from(index))?.as_mut()
    }

    /// The completion queue `cq` serves a submission queue.
    pub fn attach(&mut self, cq: u16) {
        if let Some(cq) = self.cq(cq) {
            cq.attached = true;
        }
    }

    /// The completion queue `cq` may serve another submission queue.
    pub fn detach(&mut self, cq: u16) {
        if let Some(cq) = self.cq(cq) {
            cq.attached = false;
        }
    }
}
