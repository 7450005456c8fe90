//! An end point inside the VMM that a guest reaches by its network card: the metadata service.
//!
//! ```text
//! TxFrame ── takes ──► stack ──► request ──► answer ── store      never to the backend
//! RxFrame ◄─ recv ──── stack ◄── connection ◄──┘
//! ```
//! It is a stage of a lane and runs on the lane's thread. A card has one stack, with its first lane; the others
//! hand frames for it over. A card without a service has none of this.

pub mod answer;
mod cable;
mod connection;
mod guard;
mod inbox;
pub mod metadata;
pub mod request;
mod stack;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
mod token;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::Room;
use crate::frame::{RxFrame, TxFrame};
use guard::{Concern, Guard};
use inbox::Inbox;
use metadata::{Metadata, ServiceCounters};
use stack::{MOST_FRAME, Stack};

/// What one lane has of its card's service.
pub struct Service {
    guard: Guard,
    place: Place,
    /// The frame that is being looked at, whole.
    frame: Vec<u8>,
}

/// Where the card's stack is.
enum Place {
    /// Here; other lanes hand over by the inbox, if there are any.
    Here(Box<Stack>, Option<Arc<Inbox>>),
    /// With the card's first lane.
    There(Arc<Inbox>),
}

/// What each lane of a card has of its service.
pub struct Shares {
    metadata: Arc<Metadata>,
    inbox: Option<Arc<Inbox>>,
    counters: Arc<ServiceCounters>,
}

impl Shares {
    /// Of a card of so many `lanes`. Fails if the host has no eventfd left.
    pub fn new(metadata: &Arc<Metadata>, lanes: usize) -> std::io::Result<Shares> {
        let inbox = if lanes > 1 { Some(Inbox::new()?) } else { None };
        Ok(Shares { metadata: metadata.clone(), inbox, counters: Arc::default() })
    }

    /// The share of the lane `index`; a card of one lane has no other.
    pub fn of(&self, index: usize) -> Option<Service> {
        let place = match index {
            0 => {
                let (metadata, counters) = (self.metadata.clone(), self.counters.clone());
                let stack = Stack::new(metadata, counters, Instant::now());
                Place::Here(Box::new(stack), self.inbox.clone())
            }
            _ => Place::There(self.inbox.clone()?),
        };
        Some(Service { guard: self.metadata.guard(), place, frame: Vec::new() })
    }

    /// What the service does on this card.
    pub fn counters(&self) -> &Arc<ServiceCounters> {
        &self.counters
    }
}

impl Service {
    /// Whether a frame of the guest is the service's; then it has it, and nobody else is to get it.
    #[inline]
    pub fn takes(&mut self, frame: &TxFrame, now: Instant) -> bool {
        match self.guard.sent(frame.head.bytes()) {
            Concern::None => false,
            concern => {
                self.take(frame, concern, now);
                true
            }
        }
    }

    fn take(&mut self, frame: &TxFrame, concern: Concern, now: Instant) {
        self.frame.clear();
        // One too large for any reason is looked at no further than its head.
        self.frame.extend_from_slice(frame.head.bytes());
        let concern = if frame.len() > MOST_FRAME { Concern::Refused } else { concern };
        if concern != Concern::Refused {
            self.frame.resize(frame.len(), 0);
            let body = self.frame.get_mut(frame.head.bytes().len()..).unwrap_or_default();
            frame.body.read_at(0, body);
        }
        match &mut self.place {
            Place::Here(stack, _) => stack.take(&self.frame, concern, now),
            Place::There(inbox) => inbox.put(&self.frame, concern),
        }
    }

    /// Whether a frame from the network pretends to be of the service: the guest must not get it.
    #[inline]
    pub fn is_impostor(&self, frame: &RxFrame) -> bool {
        self.guard.is_impostor(frame.head.bytes())
    }

    /// Does what is due, and what other lanes have left to do.
    pub fn poll(&mut self, now: Instant) {
        if let Place::Here(stack, inbox) = &mut self.place {
            for (frame, concern) in inbox.iter().flat_map(|inbox| inbox.take()) {
                stack.take(&frame, concern, now);
            }
            stack.poll(now);
        }
    }

    /// When it has something to do by itself.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.place {
            Place::Here(stack, _) => stack.deadline(),
            Place::There(_) => None,
        }
    }

    /// Whether frames wait for the guest.
    pub fn has_frames(&self) -> bool {
        matches!(&self.place, Place::Here(stack, _) if stack.has_frames())
    }

    /// The next frame for the guest; `None` if there is none.
    pub fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame, now: Instant) -> Option<()> {
        match &mut self.place {
            Place::Here(stack, _) => stack.recv(room, frame, now),
            Place::There(_) => None,
        }
    }

    /// What tells of frames of other lanes, to be watched edge-triggered.
    pub fn event(&self) -> Option<BorrowedFd<'_>> {
        match &self.place {
            Place::Here(_, inbox) => inbox.as_ref().map(|inbox| inbox.event()),
            Place::There(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "service_test.rs"]
mod tests;
