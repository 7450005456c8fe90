//! The steps of a request: checked once, then one call of the host after the other until it has ended.

use std::io;

use super::outcome::{MOST_TRIES, is_lack, is_transient, outcome};
use crate::bounce::BOUNCE;
use crate::image::{Ability, Image, Medium, Place};
use crate::request::{Operation, Outcome, Range, Request, SECTOR};
use crate::task::{Call, MOST, Task};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The task's call is to be carried out.
    Call,
    /// It needs a private buffer first.
    Bounce,
    /// It waits for another request, of whatever lane.
    Waits,
    /// The request has ended.
    Ended(Outcome),
}

/// The first step of a request, or the next one of a request that has waited for a private buffer.
pub(super) fn begin(task: &mut Task, image: &Image) -> Step {
    if let Err(outcome) = check(&task.request, image) {
        return Step::Ended(outcome);
    }
    match task.request.operation {
        Operation::Read | Operation::Write | Operation::Compare => transfer(task, image),
        Operation::Flush => {
            task.aim(Call::Sync, 0, 0);
            Step::Call
        }
        Operation::Discard | Operation::WriteZeroes { .. } => ranges(task, image),
    }
}

/// Whether the disk can do that at all.
pub(super) fn check(request: &Request, image: &Image) -> Result<(), Outcome> {
    let writes =
        !matches!(request.operation, Operation::Read | Operation::Flush | Operation::Compare);
    if writes && image.mode().read_only {
        return Err(Outcome::ReadOnly);
    }
    let size = image.size();
    let is_within = |range: &Range| {
        (range.offset | range.len) & (SECTOR - 1) == 0
            && range.offset.checked_add(range.len).is_some_and(|end| end <= size)
    };
    let all_within = match request.operation {
        Operation::Read | Operation::Write | Operation::Compare => {
            is_within(&Range { offset: request.offset, len: request.buffers.len() as u64 })
        }
        Operation::Flush => true,
        Operation::Discard | Operation::WriteZeroes { .. } => request.ranges.iter().all(is_within),
    };
    if !all_within {
        return Err(Outcome::OutOfRange);
    }
    let promises = request.operation == Operation::Flush || writes && request.durable;
    if promises && image.is_lost() { Err(Outcome::Medium) } else { Ok(()) }
}

/// The step after a call that came to `result`: bytes, or a negated errno.
pub(super) fn go_on(task: &mut Task, image: &Image, result: i32) -> Step {
    note_read(task);
    let Ok(moved) = u64::try_from(result) else {
        return failed(task, image, result.wrapping_neg());
    };
    task.progress.tries = 0;
    match task.call() {
        Call::Sync => Step::Ended(Outcome::Done),
        Call::Read | Call::Write { .. } if moved == 0 => {
            // Within the disk there is something: the image has become shorter under us.
            Step::Ended(Outcome::Medium)
        }
        Call::Read | Call::Write { .. } => match task.request.operation {
            Operation::Read | Operation::Write | Operation::Compare => {
                arrived(task, image, moved.min(task.len()))
            }
            _ => {
                task.progress.done = task.progress.done.saturating_add(moved.min(task.len()));
                ranges(task, image)
            }
        },
        Call::Punch | Call::Zero | Call::DeviceDiscard | Call::DeviceZero => {
            task.progress.done = task.progress.done.saturating_add(MOST);
            ranges(task, image)
        }
    }
}

/// Notes what the host may have written to the guest's memory.
pub(super) fn note_read(task: &Task) {
    if task.call() == Call::Read && !task.progress.bounced {
        // All that was aimed at: a call that fails, or is cut short, may have brought more than it says.
        let done = usize::try_from(task.progress.done).unwrap_or(usize::MAX);
        let aimed = usize::try_from(task.len()).unwrap_or(usize::MAX);
        task.request.buffers.wrote(done, aimed);
    }
}

/// Bytes have been read or written.
fn arrived(task: &mut Task, image: &Image, moved: u64) -> Step {
    match take_in(task, moved) {
        Ok(()) => transfer(task, image),
        Err(outcome) => Step::Ended(outcome),
    }
}

/// Has the guest get what was read for it, or be compared. Fails with what that ends the request with.
pub(super) fn take_in(task: &mut Task, moved: u64) -> Result<(), Outcome> {
    if task.progress.bounced {
        let len = moved as usize; // at most a private buffer
        let operation = task.request.operation;
        if operation == Operation::Read && !task.empty_bounce(len) {
            return Err(Outcome::BadMemory);
        }
        if operation == Operation::Compare && !task.compare_bounce(len) {
            return Err(Outcome::Differs);
        }
    }
    task.progress.done = task.progress.done.saturating_add(moved);
    Ok(())
}

/// Aims at the buffers that are not done.
fn transfer(task: &mut Task, image: &Image) -> Step {
    let (operation, done) = (task.request.operation, task.progress.done);
    let rest = (task.request.buffers.len() as u64).saturating_sub(done);
    if rest == 0 {
        return Step::Ended(Outcome::Done);
    }
    let at = task.request.offset.saturating_add(done);
    let call = match operation {
        Operation::Write => Call::Write { durable: task.request.durable },
        _ => Call::Read,
    };
    aim(task, image, Target { call, below: 0, at, len: rest })
}

/// A part of a transfer, and by which of the image's files.
pub(super) struct Target {
    pub call: Call,
    /// That of what is so many below it.
    pub below: u8,
    /// Where in that file.
    pub at: u64,
    pub len: u64,
}

/// Aims at so much of the buffers that are not done.
pub(super) fn aim(task: &mut Task, image: &Image, target: Target) -> Step {
    let Target { call, below, at, len: rest } = target;
    let (operation, done) = (task.request.operation, task.progress.done);
    let alignment = image.alignment();
    let cached = goes_cached(task, image, at, rest);
    let skip = usize::try_from(done).unwrap_or(usize::MAX);
    let misaligned = alignment
        .filter(|_| !cached)
        .is_some_and(|wanted| !task.request.buffers.iovecs(skip).all(|piece| wanted.takes(&piece)));
    task.progress.bounced = misaligned || operation == Operation::Compare;
    let place = Place::new(below, cached);
    if !task.progress.bounced {
        task.aim_at_guest(call, place, at, done, rest);
        return Step::Call;
    }
    if !task.has_bounce() {
        return Step::Bounce;
    }
    let len = rest.min(BOUNCE as u64) as usize;
    if operation == Operation::Write && !task.fill_bounce(len) {
        return Step::Ended(Outcome::BadMemory);
    }
    task.aim_at_bounce(call, place, at, len);
    Step::Call
}

/// Whether direct I/O cannot do that.
pub(super) fn goes_cached(task: &Task, image: &Image, at: u64, len: u64) -> bool {
    let alignment = image.alignment();
    alignment.is_some_and(|wanted| task.progress.refused || !wanted.fits(at, len))
}

/// Aims at what is not done of the ranges.
fn ranges(task: &mut Task, image: &Image) -> Step {
    while let Some(range) = task.request.ranges.get(task.progress.range) {
        let rest = range.len.saturating_sub(task.progress.done);
        let offset = range.offset.saturating_add(task.progress.done);
        if rest == 0 {
            next_range(task);
        } else if let Operation::WriteZeroes { unmap } = task.request.operation {
            zero(task, image, Range { offset, len: rest }, unmap);
            return Step::Call;
        } else if discard(task, image, Range { offset, len: rest.min(MOST) }) {
            return Step::Call;
        } else {
            task.progress.done = task.progress.done.saturating_add(MOST);
        }
    }
    let zeroes = task.request.operation != Operation::Discard;
    if zeroes && task.request.durable && !task.request.ranges.is_empty() {
        task.aim(Call::Sync, 0, 0);
        return Step::Call;
    }
    Step::Ended(Outcome::Done)
}

/// Goes on to the next range.
pub(super) fn next_range(task: &mut Task) {
    task.progress.range = task.progress.range.saturating_add(1);
    task.progress.done = 0;
}

/// Aims at a range to discard; false if the host does not care.
pub(super) fn discard(task: &mut Task, image: &Image, range: Range) -> bool {
    match image.medium() {
        Medium::File if !image.lacks(Ability::Punch) => {
            task.aim(Call::Punch, range.offset, range.len);
            true
        }
        Medium::Device { block } if !image.lacks(Ability::Discard) => {
            // What is no whole block stays as it is.
            let block = u64::from(block.max(1));
            let Some(start) = range.offset.checked_next_multiple_of(block) else { return false };
            let end = range.offset.saturating_add(range.len);
            let end = end.saturating_sub(end.checked_rem(block).unwrap_or_default());
            let len = end.saturating_sub(start);
            task.aim(Call::DeviceDiscard, start, len);
            len > 0
        }
        _ => false,
    }
}

/// Aims at a range to zero, by the best means that the host is known to have.
pub(super) fn zero(task: &mut Task, image: &Image, range: Range, unmap: bool) {
    let (offset, len) = (range.offset, range.len.min(MOST));
    let has = |ability| !image.lacks(ability);
    match image.medium() {
        Medium::File if unmap && has(Ability::Punch) => task.aim(Call::Punch, offset, len),
        Medium::File if has(Ability::Zero) => task.aim(Call::Zero, offset, len),
        Medium::Device { block }
            if has(Ability::Zero) && (offset | len) & u64::from(block.wrapping_sub(1)) == 0 =>
        {
            task.aim(Call::DeviceZero, offset, len);
        }
        _ => task.aim_at_zeroes(false, offset, len),
    }
}

/// The step after a call that failed.
fn failed(task: &mut Task, image: &Image, errno: i32) -> Step {
    if is_transient(errno) {
        let more = may_try_again(task);
        return if more { Step::Call } else { Step::Ended(Outcome::Medium) };
    }
    match judge(task, image, errno) {
        Some(outcome) => Step::Ended(outcome),
        None => match task.request.operation {
            Operation::Discard | Operation::WriteZeroes { .. } => ranges(task, image),
            _ => transfer(task, image),
        },
    }
}

/// Counts a try; whether there may be another.
pub(super) fn may_try_again(task: &mut Task) -> bool {
    task.progress.tries = task.progress.tries.saturating_add(1);
    task.progress.tries < MOST_TRIES
}

/// What a call that failed for good makes of its request; nothing, if there is another call for the same.
pub(super) fn judge(task: &mut Task, image: &Image, errno: i32) -> Option<Outcome> {
    match task.call() {
        Call::Sync => {
            image.lose(&io::Error::from_raw_os_error(errno));
            Some(Outcome::Medium)
        }
        Call::Read | Call::Write { .. }
            if errno == libc::EINVAL && image.alignment().is_some() && !task.is_cached() =>
        {
            // The host wants more of memory or offsets than it said.
            task.progress.refused = true;
            None
        }
        Call::Write { durable: true } => {
            let outcome = outcome(errno);
            if outcome == Outcome::Medium {
                // It may be of what others wrote before, and the host says so but once.
                image.lose(&io::Error::from_raw_os_error(errno));
            }
            Some(outcome)
        }
        Call::Read | Call::Write { .. } => Some(outcome(errno)),
        call if is_lack(errno) => {
            image.set_lacks(match call {
                Call::Punch => Ability::Punch,
                Call::DeviceDiscard => Ability::Discard,
                _ => Ability::Zero,
            });
            None
        }
        _ => Some(outcome(errno)),
    }
}
