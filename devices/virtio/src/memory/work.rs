//! Blocks that come or go, a few at a time: the thread has others to serve.

use device_core::guest_log::LogLimit;
use device_core::guest_warn;

use super::requests::{ACK, Answer, Request, Span};
use super::state::State;

/// Most bytes of one step: what the host takes back, or fills with zeroes, in a few milliseconds. Of larger blocks it
/// is one.
const PIECE: u64 = 64 << 20;

/// Which way blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plug,
    Unplug,
    /// All that there are, from the first on.
    UnplugAll,
}

/// A request in work.
#[derive(Debug)]
pub(super) struct Work {
    way: Way,
    span: Span,
    /// Blocks that are done, of plug and unplug.
    done: u64,
}

impl Work {
    /// Begins what a driver asks for, or answers it at once.
    pub fn begin(request: Request, state: &State) -> Result<Work, Answer> {
        let blocks = state.region.blocks();
        let (way, range) = match request {
            Request::Plug(range) => (Way::Plug, range),
            Request::Unplug(range) => (Way::Unplug, range),
            Request::UnplugAll => {
                let span = Span { first: 0, count: blocks.count() };
                return Ok(Work { way: Way::UnplugAll, span, done: 0 });
            }
            Request::State(range) => return Err(range.state(state)),
        };
        let Some(span) = range.span(state) else { return Err(Answer::Error) };
        match way {
            Way::Plug => {
                let len = span.count.saturating_mul(blocks.block_bytes());
                let after = state.plugged().saturating_add(len);
                if after > state.requested() {
                    return Err(Answer::Nack);
                }
                if !blocks.are_missing(span.first, span.count) {
                    return Err(Answer::Error);
                }
            }
            Way::Unplug if !blocks.are_plugged(span.first, span.count) => {
                return Err(Answer::Error);
            }
            Way::Unplug | Way::UnplugAll => {}
        }
        Ok(Work { way, span, done: 0 })
    }

    /// Does a step; the answer, if that was the last.
    pub fn step(&mut self, state: &State, log: &LogLimit) -> Option<Answer> {
        let blocks = state.region.blocks();
        let most = PIECE.checked_div(blocks.block_bytes()).unwrap_or(0).max(1);
        let next = match self.way {
            Way::UnplugAll => blocks.runs().next().map(|(first, count)| (first, count.min(most))),
            Way::Plug | Way::Unplug => {
                let count = self.span.count.saturating_sub(self.done).min(most);
                (count > 0).then_some((self.span.first.saturating_add(self.done), count))
            }
        };
        let Some((first, count)) = next else { return Some(self.end(state)) };
        let result = match self.way {
            Way::Plug => state.region.plug(first, count),
            Way::Unplug | Way::UnplugAll => state.region.unplug(first, count),
        };
        if let Err(error) = result {
            state.counters.host_failures.add(1);
            guest_warn!(log, "memory: {count} blocks from number {first} on: {error}");
            if self.way == Way::Plug {
                self.undo(state, log);
                state.counters.plug_failures.add(1);
                return Some(Answer::Busy);
            }
        }
        self.done = self.done.saturating_add(count);
        let is_last = self.way != Way::UnplugAll && self.done >= self.span.count;
        is_last.then(|| self.end(state))
    }

    fn end(&self, state: &State) -> Answer {
        let counters = &state.counters;
        let bytes = self.done.saturating_mul(state.region.blocks().block_bytes());
        match self.way {
            Way::Plug => {
                counters.plugs.add(1);
                counters.plugged_bytes.add(bytes);
            }
            Way::Unplug => {
                counters.unplugs.add(1);
                counters.unplugged_bytes.add(bytes);
            }
            Way::UnplugAll => {
                counters.unplug_alls.add(1);
                counters.unplugged_bytes.add(bytes);
            }
        }
        state.changed();
        ACK
    }

    /// Takes away again what came before the host had no more.
    fn undo(&self, state: &State, log: &LogLimit) {
        if self.done > 0
            && let Err(error) = state.region.unplug(self.span.first, self.done)
        {
            guest_warn!(log, "memory: {error}");
        }
    }
}
