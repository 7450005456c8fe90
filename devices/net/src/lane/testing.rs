//! A lane with rings of a test's own on a scripted backend, and the test's own clock.

use std::collections::VecDeque;
use std::time::Duration;

use device_core::kick::borrow;
use device_core::testing::ram;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::backend::Limits;
use crate::backend::script::{Stage, stage};
use crate::frame::{Offloads, RxFrame, TxFrame};
use crate::ring::{Next, PutOff, TxToken};
use device_core::fault::GuestFault;
use device_core::scatter::Scatter;

/// A transmit ring of frames by length; keeps what became of them.
pub struct Frames {
    memory: GuestRam,
    pub lens: VecDeque<usize>,
    /// Whole frames, which go before those by length.
    pub whole: VecDeque<Vec<u8>>,
    next: u16,
    pub completed: Vec<u16>,
    /// How many were completed at each publication.
    pub published: Vec<usize>,
    /// Where frames go: none may be there, unsent, when completions are shown.
    stage: Stage,
    pub fault_at: Option<u16>,
    pub broken: bool,
    /// An interrupt is put off until then.
    pub interrupt_at: Option<Instant>,
    /// The guest kicks for the next frame.
    pub armed: bool,
    kick: EventFd,
}

impl TxRing for Frames {
    fn next(&mut self, frame: &mut TxFrame) -> Result<Next, GuestFault> {
        if self.fault_at == Some(self.next) {
            return Err(GuestFault("as the test wants"));
        }
        frame.clear();
        let by_length = || self.lens.pop_front().map(|len| vec![self.next as u8; len]);
        let Some(bytes) = self.whole.pop_front().or_else(by_length) else { return Ok(Next::Empty) };
        self.armed = false;
        self.memory.write_slice(&bytes, GuestAddress(0)).unwrap();
        frame.body.push(0, bytes.len() as u32).unwrap();
        frame.pull_head();
        let token = TxToken(self.next);
        self.next += 1;
        Ok(Next::Frame(token))
    }
    fn put_back(&mut self, token: TxToken) {
        self.next = token.0;
        self.lens.push_front(60);
    }
    fn complete(&mut self, token: TxToken) -> Result<(), GuestFault> {
        self.completed.push(token.0);
        Ok(())
    }
    fn publish(&mut self) -> Result<bool, GuestFault> {
        assert!(self.stage.scene().kept.is_empty(), "a buffer is given back before it was read");
        let fresh = self.published.last().is_none_or(|last| *last < self.completed.len());
        if fresh && !self.completed.is_empty() {
            self.published.push(self.completed.len());
        }
        Ok(fresh)
    }
    fn put_off(&mut self, now: Instant) -> PutOff {
        let due = self.interrupt_at.take_if(|then| *then <= now);
        PutOff { fired: due.is_some(), until: self.interrupt_at }
    }
    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.armed = self.lens.is_empty() && self.whole.is_empty();
        Ok(self.armed)
    }
    fn stay_quiet(&mut self) {
        self.armed = false;
    }
    fn broken(&mut self, _: GuestFault) {
        self.broken = true;
    }
    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.kick)
    }
}

/// A receive ring of buffers by length, of a card that wants frames finished or not.
pub struct Buffers<const FINISHED: bool> {
    room: Scatter,
    pub posted: VecDeque<u32>,
    pub delivered: Vec<usize>,
    /// The same, byte by byte.
    pub bytes: Vec<Vec<u8>>,
    kick: EventFd,
}

impl<const FINISHED: bool> RxRing for Buffers<FINISHED> {
    const FINISHED: bool = FINISHED;

    fn headroom(&self) -> usize {
        4
    }
    fn reserve(&mut self, want: usize) -> Result<&mut Scatter, GuestFault> {
        while self.room.len() < want {
            let Some(len) = self.posted.pop_front() else { break };
            self.room.push(0x1000, len).unwrap();
        }
        Ok(&mut self.room)
    }
    fn can_grow(&self) -> bool {
        true
    }
    fn deliver(&mut self, frame: &RxFrame) -> Result<(), GuestFault> {
        self.delivered.push(frame.len);
        let mut bytes = vec![0; frame.len];
        assert!(self.room.read_at(self.headroom(), &mut bytes), "it is not all there");
        self.bytes.push(bytes);
        self.room.clear();
        Ok(())
    }
    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(false)
    }
    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        Ok(self.posted.is_empty())
    }
    fn broken(&mut self, _: GuestFault) {}
    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.kick)
    }
}

pub struct Fixture<const FINISHED: bool = false> {
    pub lane: Lane<Frames, Buffers<FINISHED>>,
    pub stage: Stage,
    start: Instant,
}

impl Fixture {
    pub fn with_frames(frames: usize) -> Fixture {
        Fixture::of(frames)
    }
}

impl<const FINISHED: bool> Fixture<FINISHED> {
    /// A lane with `frames` frames to send and no receive buffers.
    pub fn of(frames: usize) -> Fixture<FINISHED> {
        let memory = ram(0x2_0000);
        let limits = Limits { tx: Offloads::empty(), rx: Offloads::empty(), mtu: None };
        let (_, mut queues, stages) = stage(1, limits).unwrap();
        let queue = Box::new(queues.remove(0));
        let link = Arc::new(Link::new("script", Arc::default()));
        let mut lane = Lane::new(0, queue, memory.clone(), link, Arc::default());
        let kick = || EventFd::new(0).unwrap();
        lane.tx_ring.ring = Some(Frames {
            memory: memory.clone(),
            lens: vec![60; frames].into(),
            whole: VecDeque::new(),
            next: 0,
            completed: Vec::new(),
            published: Vec::new(),
            stage: stages[0].clone(),
            fault_at: None,
            broken: false,
            interrupt_at: None,
            armed: true,
            kick: kick(),
        });
        lane.rx_ring.ring = Some(Buffers {
            room: Scatter::new(memory),
            posted: VecDeque::new(),
            delivered: Vec::new(),
            bytes: Vec::new(),
            kick: kick(),
        });
        Fixture { lane, stage: stages.into_iter().next().unwrap(), start: Instant::now() }
    }

    pub fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    pub fn tx(&mut self) -> &mut Frames {
        self.lane.tx_ring.ring.as_mut().unwrap()
    }

    pub fn rx(&mut self) -> &mut Buffers<FINISHED> {
        self.lane.rx_ring.ring.as_mut().unwrap()
    }

    pub fn count(&self, name: &str) -> u64 {
        let mut values = self.lane.path.pipeline.counters.values();
        values.find(|(known, _)| *known == name).unwrap().1
    }
}
