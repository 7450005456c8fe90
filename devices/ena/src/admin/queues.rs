//! CREATE and DESTROY of completion and submission queues, and their way to lanes and back
//! (specification 5).

pub mod saved;

use std::sync::Arc;
use std::time::Instant;

use device_core::fields::PutLe;
use net::control::NicEvent;

use crate::abi::{self, Command, Payload, Refusal};
use crate::admin::features::{RX_DEPTH, TX_DEPTH};
use crate::admin::llq;
use crate::card::queues::{Cq, Queues, Sq};
use crate::card::{Card, Control};
use crate::registers::{Place, SINK};
use crate::ring::{CqConfig, Direction, Placement, Rx, RxConfig, Tx, TxConfig, Vector};

/// The MSI-X vector of a completion queue that is polled.
const NO_VECTOR: u32 = u32::MAX;
const INTERRUPT_MODE: u8 = 1 << 5;
const CONTIGUOUS: u8 = 1 << 0;
/// Placements of a submission queue.
const HOST: u8 = 1;
const DEVICE: u8 = 3;

/// The lowest free place.
fn free<T>(places: &[Option<T>]) -> Result<u16, Refusal> {
    let index = places.iter().position(Option::is_none).ok_or(Refusal::NoResources)?;
    u16::try_from(index).map_err(|_| Refusal::NoResources)
}

fn put<T>(places: &mut [Option<T>], index: u16, value: T) {
    if let Some(place) = places.get_mut(usize::from(index)) {
        *place = Some(value);
    }
}

fn take<T>(places: &mut [Option<T>], index: u16) -> Option<T> {
    places.get_mut(usize::from(index))?.take()
}

/// A completion queue that no submission queue completes to.
fn attachable(control: &mut Control, cq: u16) -> Result<Cq, Refusal> {
    let cq = control.queues.cq(cq).filter(|cq| !cq.attached);
    cq.cloned().ok_or(Refusal::IllegalParameter)
}

/// A submission queue as it is asked for.
struct Wanted {
    cq: u16,
    depth: u16,
    llq: bool,
    base: u64,
}

impl Wanted {
    fn queue<R>(&self, home: Option<R>) -> Sq<R> {
        let Wanted { cq, depth, llq, base } = *self;
        Sq { cq, depth, llq, base, home }
    }
}

impl Card {
    /// CREATE_CQ (5.1).
    pub(super) fn create_cq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Payload, Refusal> {
        let config = CqConfig {
            base: command.address(12),
            depth: command.half(6),
            entry_words: command.byte(5) & 0x1f,
        };
        let vector = match command.word(8) {
            _ if command.byte(4) & INTERRUPT_MODE == 0 => None,
            NO_VECTOR => None,
            number => Some(number),
        };
        let cq = self.completion_queue(config, vector)?;
        let (depth, vector) = (config.depth, cq.vector);
        let index = free(&control.queues.cqs)?;
        if let Some(number) = vector {
            let mut others = control.queues.cqs.iter().flatten();
            let shared = others.any(|cq| cq.vector == vector);
            if let Some(vector) = self.vector(number).filter(|_| !shared) {
                vector.reset();
            }
        }
        put(&mut control.queues.cqs, index, cq);
        let mut answer = Payload::default();
        answer.put_half(0, index);
        answer.put_half(2, depth);
        // No NUMA register and no head doorbell: each would cost the guest an exit.
        let unmask = vector.map_or(SINK, |number| Place::Unmask(number).offset());
        answer.put_words(4, &[0, 0, unmask]);
        Ok(answer)
    }

    /// A completion queue, if there can be one so.
    fn completion_queue(&self, config: CqConfig, vector: Option<u32>) -> Result<Cq, Refusal> {
        let deepest = TX_DEPTH.max(RX_DEPTH);
        if config.depth > deepest || config.check(&self.memory).is_err() {
            return Err(Refusal::IllegalParameter);
        }
        let number = |number| self.vector_number(number).ok_or(Refusal::IllegalParameter);
        Ok(Cq { config, vector: vector.map(number).transpose()?, attached: false })
    }

    /// DESTROY_CQ (5.5).
    pub(super) fn destroy_cq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Payload, Refusal> {
        let index = command.half(4);
        let cq = control.queues.cq(index).ok_or(Refusal::IllegalParameter)?;
        if cq.attached {
            return Err(Refusal::Busy);
        }
        take(&mut control.queues.cqs, index);
        Ok(Payload::default())
    }

    /// CREATE_SQ (5.2).
    pub(super) fn create_sq(
        &self,
        control: &mut Control,
        command: &Command,
        now: Instant,
    ) -> Result<Payload, Refusal> {
        let direction = abi::direction(command.byte(4)).ok_or(Refusal::IllegalParameter)?;
        let (placement, policy) = (command.byte(6) & 0xf, command.byte(6) >> 4 & 7);
        let device_memory = match (placement, direction) {
            (HOST, _) => false,
            (DEVICE, Direction::Tx) => true,
            _ => return Err(Refusal::IllegalParameter),
        };
        if policy != 0 || command.byte(7) & CONTIGUOUS == 0 {
            return Err(Refusal::Unsupported);
        }
        let (cq, depth, base) = (command.half(8), command.half(10), command.address(12));
        let wanted = Wanted { cq, depth, llq: device_memory, base };
        let index = match direction {
            Direction::Tx => {
                let cq = attachable(control, cq)?;
                let index = free(&control.queues.tx)?;
                let ring = self.tx_ring(control, index, &cq, &wanted)?;
                self.put_tx(control, index, &wanted, Some(ring));
                index
            }
            Direction::Rx => {
                let cq = attachable(control, cq)?;
                let is_first = control.queues.receivers() == 0;
                let index = free(&control.queues.rx)?;
                let ring = self.rx_ring(index, &cq, &wanted)?;
                self.put_rx(control, index, &wanted, Some(ring));
                self.activate_lanes(control);
                if is_first {
                    self.port.outlook().tell(NicEvent::DriverReady);
                }
                control.plan.came_up(now);
                index
            }
        };
        self.settle(control);
        let mut answer = Payload::default();
        answer.put_half(0, index);
        let (doorbell, ring) = match direction {
            Direction::Tx if device_memory => (Place::TxDoorbell(index), llq::ring_offset(index)),
            Direction::Tx => (Place::TxDoorbell(index), 0),
            Direction::Rx => (Place::RxDoorbell(index), 0),
        };
        answer.put_words(4, &[doorbell.offset(), ring as u32, 0]);
        Ok(answer)
    }

    /// The ring of transmit queue `index`, if there can be one so; its doorbell is at 0.
    fn tx_ring(
        &self,
        control: &Control,
        index: u16,
        cq: &Cq,
        wanted: &Wanted,
    ) -> Result<Tx, Refusal> {
        let Wanted { depth, base, .. } = *wanted;
        let low_latency = if wanted.llq {
            let both = control.settings.llq.zip(self.window.as_ref());
            Some(both.ok_or(Refusal::IllegalParameter)?)
        } else {
            None
        };
        let deepest = low_latency.as_ref().map_or(TX_DEPTH, |(policy, _)| llq::max_depth(policy));
        if depth > deepest {
            return Err(Refusal::IllegalParameter);
        }
        let placement = match low_latency {
            None => Placement::Host { base },
            Some((policy, window)) => Placement::Llq {
                window: window.memory().clone(),
                offset: llq::ring_offset(index),
                policy,
            },
        };
        let page = self.doorbells.page(index).ok_or(Refusal::NoResources)?.clone();
        page.forget();
        let ring = Tx::new(TxConfig {
            index,
            depth,
            placement,
            completions: cq.config,
            memory: self.memory.clone(),
            doorbell: page.bell.clone(),
            stamp: page.stamp.clone(),
            page: Some(page),
            vector: self.vector_of(cq),
            faults: self.alarm.clone(),
            offloads: self.port.limits().tx,
            max_mtu: self.max_mtu,
        });
        ring.map_err(|_| Refusal::IllegalParameter)
    }

    /// The ring of receive queue `index`, if there can be one so; its doorbell is at 0.
    fn rx_ring(&self, index: u16, cq: &Cq, wanted: &Wanted) -> Result<Rx, Refusal> {
        let Wanted { depth, base, .. } = *wanted;
        if depth > RX_DEPTH {
            return Err(Refusal::IllegalParameter);
        }
        let doorbell = self.doorbells.rx(index).ok_or(Refusal::NoResources)?.clone();
        doorbell.reset();
        let ring = Rx::new(RxConfig {
            index,
            depth,
            base,
            completions: cq.config,
            memory: self.memory.clone(),
            doorbell,
            vector: self.vector_of(cq),
            faults: self.alarm.clone(),
        });
        ring.map_err(|_| Refusal::IllegalParameter)
    }

    fn put_tx(&self, control: &mut Control, index: u16, wanted: &Wanted, home: Option<Tx>) {
        put(&mut control.queues.tx, index, wanted.queue(home));
        control.queues.attach(wanted.cq);
    }

    fn put_rx(&self, control: &mut Control, index: u16, wanted: &Wanted, home: Option<Rx>) {
        put(&mut control.queues.rx, index, wanted.queue(home));
        control.queues.attach(wanted.cq);
    }

    /// DESTROY_SQ (5.4): once it returns, the queue's last DMA is over.
    pub(super) fn destroy_sq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Payload, Refusal> {
        let direction = abi::direction(command.byte(6)).ok_or(Refusal::IllegalParameter)?;
        let index = command.half(4);
        let cq = match direction {
            Direction::Tx => {
                let sq = take(&mut control.queues.tx, index).ok_or(Refusal::IllegalParameter)?;
                drop(self.port.unplug_tx(index));
                sq.cq
            }
            Direction::Rx => {
                let sq = take(&mut control.queues.rx, index).ok_or(Refusal::IllegalParameter)?;
                drop(self.port.unplug_rx(index));
                self.activate_lanes(control);
                sq.cq
            }
        };
        control.queues.detach(cq);
        Ok(Payload::default())
    }

    /// Brings the rings to where they belong: on their lanes while the card may do DMA, home
    /// otherwise.
    pub(crate) fn settle(&self, control: &mut Control) {
        let may_run = self.may_move_frames(control);
        let queues = &mut control.queues;
        for (index, sq) in (0u16..).zip(&mut queues.tx) {
            let Some(sq) = sq else { continue };
            if !may_run {
                sq.home = sq.home.take().or_else(|| self.port.unplug_tx(index));
            } else if let Some(ring) = sq.home.take()
                && let Err(error) = self.port.plug_tx(index, ring)
            {
                self.lost("transmit", index, &error);
            }
        }
        for (index, sq) in (0u16..).zip(&mut queues.rx) {
            let Some(sq) = sq else { continue };
            if !may_run {
                sq.home = sq.home.take().or_else(|| self.port.unplug_rx(index));
            } else if let Some(ring) = sq.home.take()
                && let Err(error) = self.port.plug_rx(index, ring)
            {
                self.lost("receive", index, &error);
            }
        }
    }

    /// Gives all queues up, as a reset does; their last DMA is over when it returns.
    pub(crate) fn drop_queues(&self, control: &mut Control) {
        for index in 0..self.pairs {
            drop(self.port.unplug_tx(index));
            drop(self.port.unplug_rx(index));
        }
        control.queues = Queues::new(self.pairs);
        self.activate_lanes(control);
    }

    /// Lets the host steer frames to receive queues that exist.
    pub(crate) fn activate_lanes(&self, control: &Control) {
        // With a table each lane can be named, and one without a queue drops what comes.
        let steered = control.settings.rss.key.is_some();
        let count = if steered { self.pairs } else { control.queues.receivers() };
        if let Err(error) = self.port.set_active_lanes(count) {
            tracing::error!("network card {}: cannot set its active queues: {error}", self.id);
        }
    }

    fn lost(&self, direction: &str, index: u16, error: &std::io::Error) {
        tracing::error!("network card {}: {direction} queue {index} is lost: {error}", self.id);
        self.alarm.raise();
    }

    fn vector_of(&self, cq: &Cq) -> Option<Arc<Vector>> {
        cq.vector.and_then(|number| self.vector(number)).cloned()
    }
}

#[cfg(test)]
#[path = "queues_test.rs"]
mod tests;
