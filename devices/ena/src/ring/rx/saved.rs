//! What of a receive queue's work outlives its process.

use std::time::Instant;

use device_core::snapshot::LoadError;
use net::ring::RxRing;
use serde::{Deserialize, Serialize};

use super::{Buffer, Rx};
use crate::ring::completion::saved::CompletionState;
use crate::saved::bad;

/// Bytes of the largest buffer.
const LONGEST: u32 = 0x1_0000;

/// How far a ring is that is home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RxState {
    /// What was written to the doorbell last; any 16 bits.
    pub doorbell: u16,
    /// Counter of the next descriptor to read.
    pub head: u16,
    /// The doorbell as last found good.
    pub tail: u16,
    /// Buffers that were read and are not filled yet, in order.
    pub buffers: Vec<Buffer>,
    /// Its completion queue.
    pub completions: CompletionState,
}

impl Rx {
    /// The state, when it is `now`; the ring is on no lane.
    pub(crate) fn save(&self, now: Instant) -> RxState {
        RxState {
            doorbell: self.doorbell.tail() as u16,
            head: self.head,
            tail: self.tail,
            buffers: self.buffers.iter().copied().collect(),
            completions: self.completions.save(now),
        }
    }

    /// Goes on from there, as a new ring. Fails if no driver can have brought it there.
    pub(crate) fn load(&mut self, state: &RxState) -> Result<(), LoadError> {
        if state.tail.wrapping_sub(state.head) > self.depth {
            return Err(bad("rx.tail", "it is further from the head than the ring is long"));
        }
        for buffer in &state.buffers {
            if !self.can_grow() {
                return Err(bad("rx.buffers", "there are more than a frame may take"));
            }
            let fits = (1..=LONGEST).contains(&buffer.len);
            if !fits || self.room.push(buffer.address, buffer.len).is_err() {
                return Err(bad("rx.buffers", format!("one is outside of RAM: {buffer:x?}")));
            }
            self.buffers.push_back(*buffer);
        }
        self.completions.load(&state.completions)?;
        (self.head, self.tail) = (state.head, state.tail);
        self.seen = state.tail.into();
        self.doorbell.note(state.doorbell);
        Ok(())
    }
}
