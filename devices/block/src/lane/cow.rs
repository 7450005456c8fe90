//! The steps of a request of a disk that is an overlay: what is not in that is read from what is below, and what is
//! written goes into it by whole clusters first.
//!
//! ```text
//! a part of a new cluster   claim ─ read what is below ─ mix ─ write the cluster ─ the map has it
//! whole new clusters        claim ─ write, punch or zero them ─ the map has them
//! a flush                   claim ─ data to the medium ─ pages of the map ─ those to the medium
//! ```
//! Claims are held by calls that are with the host only, so that all of them end; who needs a private buffer
//! has it before.

use std::io;
use std::ops::Range;

use super::outcome::is_transient;
use super::steps::{self, Step, Target};
use crate::bounce::BOUNCE;
use crate::image::{CLUSTER, Image, Overlay, Part, Place, map_at};
use crate::request::{self, Operation, Outcome};
use crate::task::{Call, MOST, Stage, Task};

/// Pages of the map that one call writes at most: a private buffer.
const MOST_PAGES: u64 = BOUNCE as u64 / 4096;

/// The disk as one lane sees it.
pub(super) struct Ground<'a> {
    pub image: &'a Image,
    pub overlay: &'a Overlay,
    /// The lane's number.
    pub lane: u16,
    /// Whether flushes wait for the medium.
    pub syncs: bool,
}

/// The first step of a request, or the next one of a request that has waited.
pub(super) fn begin(task: &mut Task, ground: &Ground<'_>) -> Step {
    if let Err(outcome) = steps::check(&task.request, ground.image) {
        return Step::Ended(outcome);
    }
    next(task, ground)
}

/// The step after a call that came to `result`: bytes, or a negated errno.
pub(super) fn go_on(task: &mut Task, ground: &Ground<'_>, result: i32) -> Step {
    let stage = task.over.stage;
    if stage == Stage::Moving {
        steps::note_read(task);
    }
    let moved = match u64::try_from(result) {
        Ok(moved) => moved.min(task.len()),
        Err(_) if is_transient(result.wrapping_neg()) && steps::may_try_again(task) => {
            return Step::Call;
        }
        Err(_) => return failed(task, ground, result.wrapping_neg()),
    };
    let is_whole = task.iovecs().is_empty() || moved == task.len();
    match stage {
        Stage::Next => next(task, ground),
        Stage::Moving => match arrived(task, moved, is_whole) {
            Ok(()) => next(task, ground),
            Err(outcome) => Step::Ended(outcome),
        },
        Stage::Filling { first, count } => {
            let all = first..first.saturating_add(count);
            let bytes = if is_whole { task.len() } else { moved };
            filled(task, ground, &all, bytes)
        }
        _ if !is_whole => {
            // Of no use in parts.
            match moved > 0 && steps::may_try_again(task) {
                true => Step::Call,
                false => failed(task, ground, libc::EIO),
            }
        }
        Stage::Fetching { cluster } => {
            task.progress.tries = 0;
            store(task, ground, cluster, moved)
        }
        Stage::Storing { cluster } => {
            let (offset, rest) = whereabouts(task);
            let end = ground.overlay.bytes_of(&one(cluster)).end;
            task.progress.done =
                task.progress.done.saturating_add(rest.min(end.saturating_sub(offset)));
            add(task, ground, &one(cluster));
            ground.overlay.map.let_go(&one(cluster));
            next(task, ground)
        }
        Stage::Syncing => write_map(task, ground),
        Stage::Mapping { first, count } => {
            ground.overlay.map.wrote(&(first..first.saturating_add(count)));
            write_map(task, ground)
        }
        Stage::Sealing => flushed(task, ground),
    }
}

/// The next step, when nothing is claimed.
fn next(task: &mut Task, ground: &Ground<'_>) -> Step {
    task.over.stage = Stage::Next;
    if task.over.flush.is_some() {
        return flush(task, ground);
    }
    match task.request.operation {
        Operation::Read | Operation::Compare => read(task, ground),
        Operation::Write => write(task, ground),
        Operation::Flush => flush(task, ground),
        Operation::Discard | Operation::WriteZeroes { .. } => ranges(task, ground),
    }
}

/// Where the rest of the transfer, or of the range, begins, and how much that is.
fn whereabouts(task: &Task) -> (u64, u64) {
    let done = task.progress.done;
    let (offset, len) = match task.request.operation {
        Operation::Discard | Operation::WriteZeroes { .. } => {
            let range = task.request.ranges.get(task.progress.range);
            range.map_or((0, 0), |range| (range.offset, range.len))
        }
        _ => (task.request.offset, task.request.buffers.len() as u64),
    };
    (offset.saturating_add(done), len.saturating_sub(done))
}

/// Aims at the next part that one image has all of.
fn read(task: &mut Task, ground: &Ground<'_>) -> Step {
    loop {
        let (offset, rest) = whereabouts(task);
        if rest == 0 {
            return Step::Ended(Outcome::Done);
        }
        let (part, len) = ground.image.locate(offset, rest);
        if let Part::In { below, at } = part {
            task.over.stage = Stage::Moving;
            return steps::aim(task, ground.image, Target { call: Call::Read, below, at, len });
        }
        if !task.has_bounce() {
            return Step::Bounce;
        }
        let here = len.min(BOUNCE as u64);
        if let Some((bounce, _)) = task.bounce() {
            bounce.zero(0..here as usize);
        }
        task.progress.bounced = true;
        if let Err(outcome) = steps::take_in(task, here) {
            return Step::Ended(outcome);
        }
    }
}

/// Bytes have been read or written. Fails with what that ends the request with.
fn arrived(task: &mut Task, moved: u64, is_whole: bool) -> Result<(), Outcome> {
    if moved == 0 && !is_whole {
        // Within the disk there is something: the image has become shorter under us.
        return Err(Outcome::Medium);
    }
    task.progress.tries = 0;
    match task.request.operation {
        Operation::Read | Operation::Write | Operation::Compare => steps::take_in(task, moved),
        // Calls without buffers move nothing.
        _ => {
            let done = if task.iovecs().is_empty() { task.len() } else { moved };
            task.progress.done = task.progress.done.saturating_add(done);
            Ok(())
        }
    }
}

fn write(task: &mut Task, ground: &Ground<'_>) -> Step {
    let Ground { image, overlay, .. } = *ground;
    let (offset, rest) = whereabouts(task);
    if rest == 0 {
        return ended(task, ground);
    }
    let (has, len) = overlay.run(offset, rest);
    if has {
        let durable = task.request.durable;
        let is_kept = durable && overlay.map.is_kept(&overlay.touched(offset, len));
        // What the map may not have after a power cut needs more than to be written.
        let durable = is_kept && !image.is_lost();
        task.over.owes_flush |= task.request.durable && !durable;
        task.over.stage = Stage::Moving;
        let call = Call::Write { durable };
        return steps::aim(task, image, Target { call, below: 0, at: overlay.place(offset), len });
    }
    let whole = whole(overlay, offset, len);
    if whole.is_empty() {
        return copy_up(task, ground, offset / CLUSTER);
    }
    let Some(count) = overlay.map.claim(ground.lane, &whole) else { return Step::Waits };
    let claimed = whole.start..whole.start.saturating_add(count);
    if claimed.is_empty() {
        // The overlay has it by now.
        return write(task, ground);
    }
    let bytes = overlay.bytes_of(&claimed);
    let (at, len) = (overlay.place(offset), bytes.end.saturating_sub(bytes.start));
    let call = Call::Write { durable: false };
    let step = steps::aim(task, image, Target { call, below: 0, at, len });
    fill(task, ground, &claimed, step)
}

/// New clusters that a range from `offset` on has all of, unless its first byte is within one.
fn whole(overlay: &Overlay, offset: u64, len: u64) -> Range<u64> {
    let first = offset / CLUSTER;
    if !offset.is_multiple_of(CLUSTER) {
        return first..first;
    }
    let end = offset.saturating_add(len);
    // The last of the disk is whole at the disk's end.
    let last = if end >= overlay.header.size { end.div_ceil(CLUSTER) } else { end / CLUSTER };
    first..last
}

/// The call for `claimed` is made, if `step` says so; it may be for fewer.
fn fill(task: &mut Task, ground: &Ground<'_>, claimed: &Range<u64>, step: Step) -> Step {
    let map = &ground.overlay.map;
    if step != Step::Call {
        map.let_go(claimed);
        task.over.stage = Stage::Next;
        return step;
    }
    let len = claimed.end.saturating_sub(claimed.start);
    let count = task.len().div_ceil(CLUSTER).min(len);
    map.let_go(&(claimed.start.saturating_add(count)..claimed.end));
    task.over.stage = Stage::Filling { first: claimed.start, count };
    Step::Call
}

/// So many bytes of new clusters were written, from the first on.
fn filled(task: &mut Task, ground: &Ground<'_>, clusters: &Range<u64>, bytes: u64) -> Step {
    let overlay = ground.overlay;
    let all = overlay.bytes_of(clusters);
    let whole = match all.start.saturating_add(bytes) >= all.end {
        true => clusters.end,
        false => clusters.start.saturating_add(bytes / CLUSTER),
    };
    let done = overlay.bytes_of(&(clusters.start..whole));
    task.progress.done = task.progress.done.saturating_add(done.end.saturating_sub(done.start));
    add(task, ground, &(clusters.start..whole));
    overlay.map.let_go(clusters);
    task.over.stage = Stage::Next;
    if whole > clusters.start {
        task.progress.tries = 0;
    } else if !steps::may_try_again(task) {
        return Step::Ended(Outcome::Medium);
    }
    next(task, ground)
}

/// The overlay has these from now on; if that is to be on disk it is not yet.
fn add(task: &mut Task, ground: &Ground<'_>, clusters: &Range<u64>) {
    ground.overlay.map.add(clusters);
    task.over.owes_flush |= task.request.durable;
}

/// Aims at what is below of a new cluster, to write all of it.
fn copy_up(task: &mut Task, ground: &Ground<'_>, cluster: u64) -> Step {
    let Ground { image, overlay, lane, .. } = *ground;
    if !task.has_bounce() {
        return Step::Bounce;
    }
    match overlay.map.claim(lane, &one(cluster)) {
        None => return Step::Waits,
        // The overlay has it by now.
        Some(0) => return next(task, ground),
        Some(_) => {}
    }
    let bytes = overlay.bytes_of(&one(cluster));
    let (part, len) = image.locate(bytes.start, bytes.end.saturating_sub(bytes.start));
    let Part::In { below, at } = part else { return store(task, ground, cluster, 0) };
    task.progress.bounced = true;
    let place = Place::new(below, steps::goes_cached(task, image, at, len));
    task.aim_at_bounce(Call::Read, place, at, len as usize);
    task.over.stage = Stage::Fetching { cluster };
    Step::Call
}

/// The private buffer has so many bytes of what is below a new cluster, where that has so many: mixes what is written
/// in, and aims at the cluster.
fn store(task: &mut Task, ground: &Ground<'_>, cluster: u64, fetched: u64) -> Step {
    let Ground { image, overlay, .. } = *ground;
    let bytes = overlay.bytes_of(&one(cluster));
    let len = bytes.end.saturating_sub(bytes.start);
    let (offset, rest) = whereabouts(task);
    let from = offset.saturating_sub(bytes.start);
    let to = from.saturating_add(rest).min(len);
    let skip = usize::try_from(task.progress.done).unwrap_or(usize::MAX);
    let mixed = task.bounce().is_some_and(|(bounce, request)| {
        bounce.zero(fetched as usize..len as usize);
        let mixed = from as usize..to as usize;
        if request.operation == Operation::Write {
            return bounce.fill(mixed, &request.buffers, skip);
        }
        bounce.zero(mixed);
        true
    });
    if !mixed {
        overlay.map.let_go(&one(cluster));
        task.over.stage = Stage::Next;
        return Step::Ended(Outcome::BadMemory);
    }
    let at = overlay.place(bytes.start);
    let place = Place::new(0, steps::goes_cached(task, image, at, len));
    task.aim_at_bounce(Call::Write { durable: false }, place, at, len as usize);
    task.over.stage = Stage::Storing { cluster };
    Step::Call
}

/// Aims at what is not done of the ranges.
fn ranges(task: &mut Task, ground: &Ground<'_>) -> Step {
    let Ground { image, overlay, lane, .. } = *ground;
    while task.progress.range < task.request.ranges.len() {
        let (offset, rest) = whereabouts(task);
        if rest == 0 {
            steps::next_range(task);
            continue;
        }
        let (has, len) = overlay.run(offset, rest.min(MOST));
        let unmap = match task.request.operation {
            Operation::WriteZeroes { unmap } => Some(unmap),
            _ => None,
        };
        let range = |offset, len| request::Range { offset: overlay.place(offset), len };
        if has {
            task.over.stage = Stage::Moving;
            if aim_at_range(task, image, range(offset, len), unmap) {
                task.over.owes_flush |= task.request.durable;
                return Step::Call;
            }
            task.progress.done = task.progress.done.saturating_add(len);
            continue;
        }
        let whole = whole(overlay, offset, len);
        if whole.is_empty() && unmap.is_some() {
            return copy_up(task, ground, offset / CLUSTER);
        }
        if whole.is_empty() {
            // What nobody needs any more may stay what it is.
            let end = overlay.bytes_of(&one(offset / CLUSTER)).end;
            let here = rest.min(end.saturating_sub(offset));
            task.progress.done = task.progress.done.saturating_add(here);
            continue;
        }
        let Some(count) = overlay.map.claim(lane, &whole) else { return Step::Waits };
        let claimed = whole.start..whole.start.saturating_add(count);
        let bytes = overlay.bytes_of(&claimed);
        let len = bytes.end.saturating_sub(bytes.start);
        // If there are none the overlay has the first by now.
        if len > 0 {
            if aim_at_range(task, image, range(offset, len), unmap) {
                return fill(task, ground, &claimed, Step::Call);
            }
            overlay.map.let_go(&claimed);
            task.progress.done = task.progress.done.saturating_add(len);
        }
    }
    match task.request.operation {
        Operation::Discard => Step::Ended(Outcome::Done),
        _ => ended(task, ground),
    }
}

/// Aims at a range of the image's file, to discard or to zero (`unmap`) it; false if the host does not care.
fn aim_at_range(
    task: &mut Task,
    image: &Image,
    range: request::Range,
    unmap: Option<bool>,
) -> bool {
    match unmap {
        None => steps::discard(task, image, range),
        Some(unmap) => {
            steps::zero(task, image, range, unmap);
            true
        }
    }
}

/// All of a request is done that changes something; it may have to be on disk.
fn ended(task: &mut Task, ground: &Ground<'_>) -> Step {
    match task.over.owes_flush {
        true => flush(task, ground),
        false => Step::Ended(Outcome::Done),
    }
}

/// Brings all that was written to the medium, and then says so in the map.
fn flush(task: &mut Task, ground: &Ground<'_>) -> Step {
    let map = &ground.overlay.map;
    let number = *task.over.flush.get_or_insert_with(|| map.next_flush());
    if map.is_flushed(number) && !ground.image.is_lost() {
        return Step::Ended(Outcome::Done);
    }
    if map.is_changed() && !task.has_bounce() {
        return Step::Bounce;
    }
    if !map.claim_flush(ground.lane) {
        return Step::Waits;
    }
    // Whoever had it may have done this as well, or failed; or there is something new for the map by now.
    let step = if ground.image.is_lost() {
        Some(Step::Ended(Outcome::Medium))
    } else if map.is_flushed(number) {
        Some(Step::Ended(Outcome::Done))
    } else {
        (!map.begin_flush(task.has_bounce())).then_some(Step::Bounce)
    };
    if let Some(step) = step {
        map.leave_flush();
        return step;
    }
    if !ground.syncs {
        return write_map(task, ground);
    }
    task.aim(Call::Sync, 0, 0);
    task.over.stage = Stage::Syncing;
    Step::Call
}

/// Data is on the medium: aims at the next pages of the map.
fn write_map(task: &mut Task, ground: &Ground<'_>) -> Step {
    let map = &ground.overlay.map;
    task.progress.tries = 0;
    let had_none = task.over.stage == Stage::Syncing;
    let Some(pages) = map.unwritten(MOST_PAGES) else {
        if had_none || !ground.syncs {
            return flushed(task, ground);
        }
        task.aim(Call::Sync, 0, 0);
        task.over.stage = Stage::Sealing;
        return Step::Call;
    };
    let count = pages.end.saturating_sub(pages.start);
    if let Some((bounce, _)) = task.bounce() {
        bounce.take_words(map.page_words(&pages));
    }
    let len = count.saturating_mul(4096) as usize;
    let call = Call::Write { durable: false };
    task.aim_at_bounce(call, Place::CACHED, map_at(pages.start), len);
    task.over.stage = Stage::Mapping { first: pages.start, count };
    Step::Call
}

fn flushed(task: &mut Task, ground: &Ground<'_>) -> Step {
    ground.overlay.map.end_flush(false);
    task.over.stage = Stage::Next;
    Step::Ended(Outcome::Done)
}

/// The step after a call that failed for good.
fn failed(task: &mut Task, ground: &Ground<'_>, errno: i32) -> Step {
    let Ground { image, overlay, .. } = *ground;
    let stage = std::mem::take(&mut task.over.stage);
    match stage {
        Stage::Next | Stage::Moving => {}
        Stage::Filling { first, count } => {
            overlay.map.let_go(&(first..first.saturating_add(count)));
        }
        Stage::Fetching { cluster } | Stage::Storing { cluster } => {
            overlay.map.let_go(&one(cluster));
        }
        Stage::Syncing | Stage::Mapping { .. } | Stage::Sealing => {
            // Before anybody else may flush: the host says so but once.
            image.lose(&io::Error::from_raw_os_error(errno));
            overlay.map.end_flush(true);
            return Step::Ended(Outcome::Medium);
        }
    }
    match steps::judge(task, image, errno) {
        Some(outcome) => Step::Ended(outcome),
        None => next(task, ground),
    }
}

fn one(cluster: u64) -> Range<u64> {
    cluster..cluster.saturating_add(1)
}

#[cfg(test)]
#[path = "cow_test.rs"]
mod tests;
