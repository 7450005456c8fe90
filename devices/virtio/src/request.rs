//! Requests of a fixed length that get one answer: a chain of readable bytes, and then one buffer to write.

use std::ops::RangeInclusive;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::scatter::Scatter;
use vm_memory::{Bytes, GuestAddress};

use crate::ring::{Buffer, SplitRing};

const OUTSIDE_RAM: GuestFault = GuestFault("a request is not in guest memory");

/// What is next on a ring of requests of `N` bytes.
pub(crate) enum Next<const N: usize> {
    /// There is none.
    Nothing,
    /// A private copy of a request, and where its answer goes.
    Request([u8; N], ReplyTo),
    /// A chain that is no request. It cannot be told what is wrong, but has its buffers back.
    Refused(GuestFault),
}

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    head: u16,
    /// Guest-physical.
    addr: u64,
}

/// Takes requests of `N` bytes off a ring, and answers them.
pub(crate) struct RequestReader<const N: usize> {
    request: Scatter,
    /// Bytes that the buffer of an answer may have.
    answer_len: RangeInclusive<u32>,
    malformed: GuestFault,
}

impl<const N: usize> RequestReader<N> {
    /// Of requests in `memory` whose answers have room for `answer_len` bytes; others are `malformed`.
    pub fn new(
        memory: GuestRam,
        answer_len: RangeInclusive<u32>,
        malformed: GuestFault,
    ) -> RequestReader<N> {
        RequestReader { request: Scatter::growing(memory), answer_len, malformed }
    }

    /// Takes the next chain off `ring`. Fails as [`SplitRing::pop_any`] does.
    pub fn next(&mut self, ring: &mut SplitRing) -> Result<Next<N>, GuestFault> {
        let (request, malformed) = (&mut self.request, self.malformed);
        let mut answer = None::<Buffer>;
        request.clear();
        let popped = ring.pop_any(|buffer| {
            match (buffer.writable, answer) {
                (true, None) => answer = Some(buffer),
                (false, None) => {
                    request.push(buffer.addr, buffer.len).map_err(|_| OUTSIDE_RAM)?;
                }
                _ => return Err(malformed),
            }
            Ok(())
        })?;
        let Some(popped) = popped else { return Ok(Next::Nothing) };
        let mut bytes = [0; N];
        let is_whole = request.len() == N && request.pull(&mut bytes);
        match answer.filter(|answer| self.answer_len.contains(&answer.len)) {
            Some(answer) if is_whole && popped.fault.is_none() => {
                Ok(Next::Request(bytes, ReplyTo { head: popped.head, addr: answer.addr }))
            }
            _ => {
                ring.push(popped.head, 0)?;
                Ok(Next::Refused(popped.fault.unwrap_or(malformed)))
            }
        }
    }

    /// Answers a request with `bytes`, no more than its answer has room for; with none if that is not in memory.
    /// Fails as [`SplitRing::push`] does.
    pub fn answer(
        &self,
        ring: &mut SplitRing,
        to: ReplyTo,
        bytes: &[u8],
    ) -> Result<(), GuestFault> {
        let written = self.request.memory().write_slice(bytes, GuestAddress(to.addr));
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        ring.push(to.head, written.map_or(0, |()| len))
    }
}
