//! What of the I/O queues outlives its process. They are made anew as by their commands, and then put where they
//! were.

use std::sync::Arc;

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{HEAD, check_size, slot};
use crate::abi::{CQE, SQE, Status};
use crate::card::queues::{Place, Sq};
use crate::card::{Card, Control};
use crate::completion::saved::CqState;
use crate::completion::{CompletionQueue, CqConfig};
use crate::ring::saved::RingState;
use crate::saved::bad;

/// A submission queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqState {
    /// Number of its completion queue.
    pub cq: u16,
    /// Guest-physical address of its first entry.
    pub base: u64,
    /// Entries.
    pub size: u16,
    /// How far it is; `None` if the host lost it, and the controller failed.
    pub ring: Option<RingState>,
}

/// All I/O queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuesState {
    /// Completion queues, by number from 1 on.
    pub completion: Vec<Option<CqState>>,
    /// Submission queues, by number from 1 on.
    pub submission: Vec<Option<SqState>>,
    /// Pages of doorbells and of what goes with them, guest-physical.
    pub doorbell_pages: Option<[u64; 2]>,
}

impl QueuesState {
    /// Whether the host has made nothing.
    pub fn is_empty(&self) -> bool {
        self.completion.iter().all(Option::is_none)
            && self.submission.iter().all(Option::is_none)
            && self.doorbell_pages.is_none()
    }

    /// Whether the host lost the ring of one.
    pub fn lacks_a_ring(&self) -> bool {
        self.submission.iter().flatten().any(|sq| sq.ring.is_none())
    }
}

impl Card {
    /// The state; all rings are home.
    pub(crate) fn save_queues(&self, control: &mut Control) -> QueuesState {
        let io = self.completions.iter().skip(1);
        let submission = (1..=self.queue_count()).map(|id| {
            let sq = control.queues.get(id)?;
            let cq = sq.cq;
            Some(match &sq.place {
                Place::Home(ring) => {
                    let (base, size) = ring.place();
                    SqState { cq, base, size, ring: Some(ring.save()) }
                }
                _ => SqState { cq, base: 0, size: 0, ring: None },
            })
        });
        QueuesState {
            submission: submission.collect(),
            completion: io.map(|queue| queue.save()).collect(),
            doorbell_pages: control.doorbell_pages,
        }
    }

    /// Makes the queues anew in a controller that has none. Fails if no host can have made them so.
    pub(crate) fn load_queues(
        &self,
        control: &mut Control,
        state: QueuesState,
    ) -> Result<(), LoadError> {
        let count = usize::from(self.queue_count());
        for (field, found) in [
            ("queues.completion", state.completion.len()),
            ("queues.submission", state.submission.len()),
        ] {
            if found != count {
                return Err(bad(field, format!("there are {found} places, not {count}")));
            }
        }
        for (id, cq) in (1..).zip(&state.completion) {
            let Some(cq) = cq else { continue };
            let queue = self.reopen_cq(id, cq);
            let queue = queue.map_err(|status| refused("queues.completion", id, status))?;
            queue.load(cq)?;
        }
        for (id, sq) in (1..).zip(state.submission) {
            let Some(sq) = sq else { continue };
            self.reopen_sq(control, id, sq)?;
        }
        self.keep_doorbells(control, state.doorbell_pages)
    }

    fn reopen_cq(&self, id: u16, state: &CqState) -> Result<&Arc<CompletionQueue>, Status> {
        let queue = self.closed_cq(id)?;
        let size = check_size(state.size)?;
        let vector = state.vector.map(|number| self.vector_of(number)).transpose()?;
        self.check_base(state.base, size, CQE)?;
        queue.open(CqConfig { base: state.base, size, vector });
        Ok(queue)
    }

    fn reopen_sq(&self, control: &mut Control, id: u16, state: SqState) -> Result<(), LoadError> {
        let refused = |status| refused("queues.submission", id, status);
        let SqState { cq, base, size, ring } = state;
        let parts = self.parts(control, id, cq).map_err(refused)?;
        let place = match ring {
            Some(ring) => {
                let size = check_size(size).map_err(refused)?;
                self.check_base(base, size, SQE).map_err(refused)?;
                let mut made = self.new_ring(id, base, size, &parts);
                made.load(ring)?;
                Place::Home(made)
            }
            None => {
                parts.completions.attach(parts.bell.clone());
                Place::Lost
            }
        };
        if let Some(free) = control.queues.place(id) {
            *free = Some(Sq { cq, place, deletion: None, binding: None });
        }
        Ok(())
    }

    /// Doorbells stay in memory, if they are there.
    fn keep_doorbells(
        &self,
        control: &mut Control,
        pages: Option<[u64; 2]>,
    ) -> Result<(), LoadError> {
        let Some(pages) = pages else { return Ok(()) };
        let checked = self.check_doorbell_pages(pages);
        checked.map_err(|status| refused("queues.doorbell_pages", 0, status))?;
        control.doorbell_pages = Some(pages);
        let at = |slot: u64| pages.map(|page| page.wrapping_add(slot));
        for (id, _) in control.queues.iter() {
            if let Some(bell) = self.bells.get(id) {
                let [index, event] = at(slot(id, 0));
                bell.shadow.stay(index, event);
            }
        }
        let open = (0..).zip(&self.completions).skip(1).filter(|(_, queue)| queue.is_open());
        for (id, queue) in open {
            let [index, event] = at(slot(id, HEAD));
            queue.shadow.stay(index, event);
        }
        self.bind_kicks(control);
        Ok(())
    }
}

fn refused(field: &'static str, queue: u16, status: Status) -> LoadError {
    let code = status.code();
    bad(field, format!("the command for queue {queue} would have been refused with {code:#x}"))
}
