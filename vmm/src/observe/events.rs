//! What happens to the machine, as numbered lines that anyone may follow.
//!
//! The latest lines are kept in a bounded ring. A follower has a place in it of his own: one that is
//! too slow is told how many lines he missed, and nobody waits for him.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use devices::block::spec::Fault;
use devices::net::control::NicEvent;
use serde::Serialize;

/// Lines that are kept for followers.
const KEPT: usize = 1024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The state of the machine when a follower came.
    Hello {
        state: String,
    },
    /// The machine was built and runs.
    Started,
    Paused,
    Resumed,
    /// The guest, or what runs in it, is up.
    AgentReady {
        by: Ready,
        /// Since the machine was let run.
        since_start_us: u64,
    },
    /// Someone pressed the power button.
    PowerButton,
    /// Someone pressed Ctrl-Alt-Del.
    CtrlAltDel,
    /// The guest is asked to give up so much memory.
    BalloonTarget {
        amount_mib: u32,
    },
    /// It has done so, or taken back what was too much.
    BalloonReached {
        amount_mib: u32,
    },
    /// The guest is to have so much of the memory that is plugged while it runs.
    MemoryTarget {
        requested_size_mib: u32,
    },
    /// It has so much.
    MemoryReached {
        plugged_size_mib: u64,
    },
    /// A device came into the machine that runs: its kind and id, such as `drives/data`.
    Plugged {
        device: String,
        slot: Option<u8>,
    },
    /// The guest is asked to let a device go.
    UnplugAsked {
        device: String,
        slot: u8,
    },
    /// It did not do so in time, and the device stays.
    UnplugRefused {
        device: String,
    },
    /// A device is gone.
    Unplugged {
        device: String,
    },
    /// A snapshot of the machine was written.
    SnapshotCreated {
        snapshot_path: String,
        took_us: u64,
    },
    /// The machine was made from a snapshot; it is paused.
    SnapshotLoaded {
        snapshot_path: String,
        took_us: u64,
    },
    /// Machines go on as this one was.
    Forked {
        children: usize,
        pause_us: u64,
        took_us: u64,
    },
    /// The machine goes on in another process.
    Migrated {
        destination: String,
        downtime_ms: f64,
        total_ms: f64,
    },
    /// It was to, and stays.
    MigrationFailed {
        why: String,
    },
    /// The machine came from another process.
    Arrived,
    /// The machine is over.
    Stopped {
        reason: String,
        exit_code: u8,
    },
    /// Nothing happened for a while.
    Alive,
    /// Lines that a slow follower missed.
    Missed {
        count: u64,
    },
}

/// By what a guest shows that it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// It has its first vsock connection.
    Vsock,
    /// It wrote to the boot timer's port.
    BootTimer,
}

/// An event with the time when it was told.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    timestamp_ms: u64,
    #[serde(flatten)]
    event: &'a Event,
}

/// An event of a card.
#[derive(Serialize)]
struct NicLine<'a> {
    timestamp_ms: u64,
    iface_id: &'a str,
    #[serde(flatten)]
    event: &'a NicEvent,
}

/// Something that happened to a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DiskEvent {
    /// It has another image, or one of another size.
    Image {
        path: String,
        /// Bytes that the guest sees.
        size: u64,
    },
    /// Something goes wrong on purpose.
    Fault { fault: Fault },
}

/// An event of a disk.
#[derive(Serialize)]
struct DiskLine<'a> {
    timestamp_ms: u64,
    drive_id: &'a str,
    #[serde(flatten)]
    event: &'a DiskEvent,
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The event as a line of now.
pub fn line(event: &Event) -> Arc<str> {
    text(&Line { timestamp_ms: now_ms(), event })
}

fn text(line: &impl Serialize) -> Arc<str> {
    let text = serde_json::to_string(line);
    let mut text = text.expect("an event has only names, texts and numbers");
    text.push('\n');
    text.into()
}

/// All that followers can be told.
#[derive(Default)]
pub struct Events(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    lines: VecDeque<Arc<str>>,
    /// Number of the line behind the last.
    next: u64,
    followers: usize,
    /// Of followers that heard all, by their number.
    waiting: Vec<(u64, Waker)>,
    /// Number of the follower that comes next.
    fresh: u64,
    over: bool,
}

impl Events {
    /// Adds a line, in place of the oldest if there are too many.
    pub fn tell(&self, event: &Event) {
        self.add(line(event));
    }

    /// Adds what happened to the card `id`.
    pub fn tell_of_nic(&self, id: &str, event: &NicEvent) {
        self.add(text(&NicLine { timestamp_ms: now_ms(), iface_id: id, event }));
    }

    /// Adds what happened to the disk `id`.
    pub fn tell_of_disk(&self, id: &str, event: &DiskEvent) {
        self.add(text(&DiskLine { timestamp_ms: now_ms(), drive_id: id, event }));
    }

    fn add(&self, line: Arc<str>) {
        let mut ring = self.lock();
        if ring.lines.len() == KEPT {
            ring.lines.pop_front();
        }
        ring.lines.push_back(line);
        ring.next += 1;
        wake(ring);
    }

    /// There will be no more: followers end behind the last line.
    pub fn close(&self) {
        let mut ring = self.lock();
        ring.over = true;
        wake(ring);
    }

    /// Follows from now on, unless `most` do so already.
    pub fn follow(self: &Arc<Events>, hello: &Event, most: usize) -> Option<Follower> {
        let mut ring = self.lock();
        if ring.followers >= most {
            return None;
        }
        ring.followers += 1;
        ring.fresh += 1;
        let hello = Some(line(hello));
        Some(Follower { events: self.clone(), number: ring.fresh, next: ring.next, hello })
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut ring: MutexGuard<'_, Ring>) {
    let waiting = std::mem::take(&mut ring.waiting);
    drop(ring);
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

/// One who reads the lines at a pace of his own.
pub struct Follower {
    events: Arc<Events>,
    number: u64,
    next: u64,
    hello: Option<Arc<str>>,
}

impl Follower {
    /// The next line, ending with a newline; `None` after the last.
    pub fn poll_line(&mut self, context: &Context<'_>) -> Poll<Option<Arc<str>>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(hello));
        }
        let mut ring = self.events.lock();
        let oldest = ring.next - ring.lines.len() as u64;
        if self.next < oldest {
            let count = oldest - self.next;
            self.next = oldest;
            return Poll::Ready(Some(line(&Event::Missed { count })));
        }
        let at = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        if let Some(line) = ring.lines.get(at) {
            self.next += 1;
            return Poll::Ready(Some(line.clone()));
        }
        if ring.over {
            return Poll::Ready(None);
        }
        ring.waiting.retain(|(number, _)| *number != self.number);
        ring.waiting.push((self.number, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut ring = self.events.lock();
        ring.followers -= 1;
        ring.waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
#[path = "events_test.rs"]
mod tests;
