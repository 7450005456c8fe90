//! Requests that wait for each other: for a flush that is on its way, for a private buffer, or since too many
//! of a kind are with the host.

use std::collections::VecDeque;

use crate::bounce::BouncePool;
use crate::request::Operation;
use crate::task::Task;

/// Discards and the like with the host at once: they take the lock of the whole file, and all of its writes
/// wait meanwhile.
const MOST_RANGES: usize = 2;

/// What waits, and what it waits for.
#[derive(Default)]
pub(super) struct Waiting {
    pub pool: BouncePool,
    for_bounce: VecDeque<Box<Task>>,
    ranges: usize,
    for_ranges: VecDeque<Box<Task>>,
    flushes: bool,
    /// They came before the flush on its way began, and end with it.
    sharing: Vec<Box<Task>>,
    /// They came later: what completed meanwhile may not be in it.
    for_flush: Vec<Box<Task>>,
}

impl Waiting {
    /// A request comes in; back if it may go on at once.
    pub fn admit(&mut self, mut task: Box<Task>) -> Option<Box<Task>> {
        match task.request.operation {
            Operation::Flush if self.flushes => {
                self.for_flush.push(task);
                return None;
            }
            Operation::Flush => self.flushes = true,
            Operation::Discard | Operation::WriteZeroes { .. } if self.ranges >= MOST_RANGES => {
                self.for_ranges.push_back(task);
                return None;
            }
            Operation::Discard | Operation::WriteZeroes { .. } => {
                self.ranges = self.ranges.saturating_add(1);
            }
            _ => {}
        }
        task.admitted = true;
        Some(task)
    }

    /// A request needs a private buffer; back with one, or it waits for one.
    pub fn lend(&mut self, mut task: Box<Task>) -> Option<Box<Task>> {
        match self.pool.take() {
            Some(bounce) => {
                task.lend(bounce);
                Some(task)
            }
            None => {
                self.for_bounce.push_back(task);
                None
            }
        }
    }

    /// The request that `is_it` says it of waits no more.
    pub fn remove(&mut self, is_it: impl Fn(&Task) -> bool) -> Option<Box<Task>> {
        for queue in [&mut self.for_bounce, &mut self.for_ranges] {
            if let Some(at) = queue.iter().position(|task| is_it(task)) {
                return queue.remove(at);
            }
        }
        for list in [&mut self.for_flush, &mut self.sharing] {
            if let Some(at) = list.iter().position(|task| is_it(task)) {
                return Some(list.remove(at));
            }
        }
        None
    }

    /// A request that was admitted has ended. Who may go on now is put to `next`, and who has ended with it to
    /// `with`.
    pub fn ended(
        &mut self,
        task: &mut Task,
        next: &mut VecDeque<Box<Task>>,
        with: &mut Vec<Box<Task>>,
    ) {
        if let Some(bounce) = task.take_bounce() {
            self.pool.put(bounce);
            if let Some(waiting) = self.for_bounce.pop_front()
                && let Some(waiting) = self.lend(waiting)
            {
                next.push_back(waiting);
            }
        }
        match task.request.operation {
            Operation::Flush => {
                with.append(&mut self.sharing);
                self.flushes = false;
                if let Some(mut first) = self.for_flush.pop() {
                    first.admitted = true;
                    self.flushes = true;
                    std::mem::swap(&mut self.sharing, &mut self.for_flush);
                    next.push_back(first);
                }
            }
            Operation::Discard | Operation::WriteZeroes { .. } => {
                self.ranges = self.ranges.saturating_sub(1);
                if let Some(mut waiting) = self.for_ranges.pop_front() {
                    waiting.admitted = true;
                    self.ranges = self.ranges.saturating_add(1);
                    next.push_back(waiting);
                }
            }
            _ => {}
        }
    }
}
