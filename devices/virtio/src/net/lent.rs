//! Queues of frames while somebody else serves them (vhost): what he is told of each, and how it comes home.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::GuestRam;
use device_core::memory::slice;
use net::lent::{Place, Ring, Rings};
use net::port::NetPort;
use virtio_queue::QueueT;
use vm_memory::Bytes;

use super::rx::Rx;
use super::tx::Tx;
use crate::device::{LiveQueue, Notice};

/// Where the index is in a used ring (virtio 1.2, 2.7.8).
const USED_INDEX: u64 = 2;

const NOT_TO_BE_LENT: &str =
    "a part of it is in several regions of memory, or its interrupt takes more than an eventfd";

/// Queues that are lent.
#[derive(Default)]
pub struct Away(Mutex<Vec<LiveQueue>>);

impl Away {
    /// Lends them to the queues of the port's backend, pair by pair. Fails if one cannot be lent, or the host refuses;
    /// what was lent until then comes back by [`Away::take_back`], and all are lost.
    pub fn lend(
        &self,
        port: &NetPort<Tx, Rx>,
        queues: Vec<LiveQueue>,
        memory: &GuestRam,
        features: u64,
        notice: &Arc<dyn Notice>,
    ) -> Result<(), String> {
        let find = |index: u16| queues.iter().find(|queue| queue.index == index);
        for pair in 0..port.lanes() {
            let (rx, tx) = numbers(pair);
            let ring = |index| find(index).map(|queue| ring(queue, memory)).transpose();
            let (rx, tx) = (ring(rx)?, ring(tx)?);
            if rx.is_none() && tx.is_none() {
                continue;
            }
            let notice = notice.clone();
            let broken = Box::new(move || notice.needs_reset());
            let rings = Rings { features, memory: memory.clone(), rx, tx, broken };
            port.lend(pair, rings)
                .map_err(|error| format!("cannot lend the rings of pair {pair}: {error}"))?;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queues;
        Ok(())
    }

    /// Takes all back, as they are now.
    pub fn take_back(&self, port: &NetPort<Tx, Rx>, memory: &GuestRam) -> Vec<LiveQueue> {
        if !port.lends() {
            return Vec::new();
        }
        let mut queues =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for pair in 0..port.lanes() {
            let Some(standing) = port.take_back(pair) else { continue };
            let (rx, tx) = numbers(pair);
            for (index, next) in [(rx, standing.rx), (tx, standing.tx)] {
                if let Some(queue) = queues.iter_mut().find(|queue| queue.index == index) {
                    come_home(queue, next, memory);
                }
            }
        }
        queues
    }
}

/// Of a pair: the queue that receives, and the one that sends (virtio 1.2, 5.1.2).
fn numbers(pair: u16) -> (u16, u16) {
    let rx = pair.wrapping_mul(2);
    (rx, rx.wrapping_add(1))
}

fn ring(queue: &LiveQueue, memory: &GuestRam) -> Result<Ring, String> {
    let index = queue.index;
    let place = Place {
        entries: queue.ring.size(),
        descriptors: queue.ring.desc_table(),
        available: queue.ring.avail_ring(),
        used: queue.ring.used_ring(),
    };
    Ring::new(memory, place, queue.ring.next_avail(), queue.kick.clone(), queue.irq.clone())
        .ok_or_else(|| format!("cannot lend queue {index}: {NOT_TO_BE_LENT}"))
}

/// Whoever had it has given back each buffer that he took, so that the used index is in memory alone; if he does not say
/// where he stands, it is there.
fn come_home(queue: &mut LiveQueue, next: Option<u16>, memory: &GuestRam) {
    let at = queue.ring.used_ring().wrapping_add(USED_INDEX);
    let used = slice(memory, at, size_of::<u16>())
        .and_then(|place| place.load(0, Ordering::Acquire).ok())
        .map_or(queue.ring.next_used(), u16::from_le);
    queue.ring.set_next_used(used);
    queue.ring.set_next_avail(next.unwrap_or(used));
}
