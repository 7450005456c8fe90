//! What vCPUs write for packets: no lock and no allocation on this page.

use std::io;
use std::sync::Arc;

use device_core::interrupt::MsiSet;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::registers::Place;
use crate::ring::{SqDoorbell, Stamp, Vector};

/// A doorbell for each queue that can be, and a gate for each vector; as old as the card. A queue
/// that is created finds its doorbell at 0.
pub struct Doorbells {
    tx: Vec<Arc<SqDoorbell>>,
    /// Of the doorbells of `tx`.
    stamps: Vec<Arc<Stamp>>,
    rx: Vec<Arc<SqDoorbell>>,
    /// Of the vectors from 1 on.
    vectors: Vec<Arc<Vector>>,
}

impl Doorbells {
    /// For `pairs` queues of each direction, whose vectors are behind the first of `msi`.
    pub fn new(pairs: u16, msi: &Arc<dyn MsiSet>) -> io::Result<Doorbells> {
        let doorbell = |_| {
            let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
            Ok(Arc::new(SqDoorbell::new(wake)))
        };
        let vector = |number| msi.vector(number).map(|msi| Arc::new(Vector::new(msi)));
        Ok(Doorbells {
            tx: (0..pairs).map(doorbell).collect::<io::Result<_>>()?,
            stamps: (0..pairs).map(|_| Arc::default()).collect(),
            rx: (0..pairs).map(doorbell).collect::<io::Result<_>>()?,
            vectors: (1..=pairs).filter_map(vector).collect(),
        })
    }

    pub fn tx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.tx.get(usize::from(queue))
    }

    pub fn tx_stamp(&self, queue: u16) -> Option<&Arc<Stamp>> {
        self.stamps.get(usize::from(queue))
    }

    pub fn rx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.rx.get(usize::from(queue))
    }

    /// Vector `number`, if it is one of a queue.
    pub fn vector(&self, number: u16) -> Option<&Arc<Vector>> {
        self.vectors.get(usize::from(number).checked_sub(1)?)
    }

    pub fn vectors(&self) -> &[Arc<Vector>] {
        &self.vectors
    }

    /// A guest's write; what belongs to no queue does nothing.
    pub fn write(&self, place: Place, value: u32) {
        match place {
            Place::TxDoorbell(queue) => {
                if let (Some(doorbell), Some(stamp)) = (self.tx(queue), self.tx_stamp(queue)) {
                    stamp.mark();
                    doorbell.ring(value & 0xffff);
                }
            }
            Place::RxDoorbell(queue) => {
                if let Some(doorbell) = self.rx(queue) {
                    doorbell.ring(value & 0xffff);
                }
            }
            Place::Unmask(number) => {
                if let Some(vector) = self.vector(number) {
                    vector.write(value);
                }
            }
            Place::Fixed(_) => {}
        }
    }
}
