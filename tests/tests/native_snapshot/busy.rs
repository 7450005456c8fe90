//! Machines that are saved, die and go on again and again while card and disk are busy: no frame and no request is lost, comes
//! twice or is another than it was, but frames that were on their way to a guest that died.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use tests::frames::Link;
use tests::native::disk::Image;
use tests::native::line::TAP;
use tests::native::peer::MAC;

use super::{LIMIT, Machine, Scene, Test};

/// Of each card, with the disk that goes with it.
pub const TESTS: [(&str, Test); 1] =
    [("each_frame_and_each_request_is_accounted_for_from_snapshot_to_snapshot", busy)];

const MARK: &[u8] = b"nativeB1";
const NUMBERS: usize = 12;
/// Frames on their way to the guest at most: less than its ring and the TAP have room for.
const WINDOW: u64 = 48;
/// Frames heard without an answer at most: less than the guest sends without one, so that none waits for the other.
const UNANSWERED: u64 = 16;
/// What is heard, and what is done, between two snapshots at least.
const FRAMES: u64 = 64;
const REQUESTS: u64 = 8;
/// Bytes of the disk, and of the sockets' queue.
const DISK: u64 = 8 << 20;
const ROOM: usize = 16 << 20;
/// How long it waits for a frame before it sends another.
const PAUSE: Duration = Duration::from_millis(5);

fn rounds() -> usize {
    if std::env::var_os("VMM_LONG").is_some() { 10_000 } else { 12 }
}

/// What a frame of the guest's says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    number: u64,
    taken: u64,
    received: u64,
    next: u64,
    missed: u64,
    gaps: u64,
    again: u64,
    requests: u64,
    refused: u64,
    wrong: u64,
    stray: u64,
    steps: u64,
}

impl Told {
    fn of(frame: &[u8]) -> Option<Told> {
        let (words, _) = frame.get(14..)?.strip_prefix(MARK)?.as_chunks::<8>();
        let (numbers, _) = words.split_first_chunk::<NUMBERS>()?;
        let [number, taken, received, next, missed, gaps, again, rest @ ..] =
            numbers.map(u64::from_le_bytes);
        let [requests, refused, wrong, stray, steps] = rest;
        Some(Told {
            number,
            taken,
            received,
            next,
            missed,
            gaps,
            again,
            requests,
            refused,
            wrong,
            stray,
            steps,
        })
    }
}

/// Who sends to the guest and hears all that it sends.
struct Peer {
    link: Link,
    last: Told,
    /// Frames heard, and how many these were when one was sent last.
    heard: u64,
    answered: u64,
    /// Frames sent, and those that had been when a machine began.
    sent: u64,
    floor: u64,
    asked_at: Instant,
    /// Frames that were lost between machines at most, and machines.
    lost: u64,
    lives: u64,
}

impl Peer {
    fn new(link: Link) -> Result<Peer> {
        setsockopt(&link, sockopt::RcvBufForce, &ROOM)?;
        setsockopt(&link, sockopt::ReceiveTimeout, &TimeVal::new(0, PAUSE.subsec_micros().into()))?;
        let (last, asked_at) = (Told::default(), Instant::now());
        let (heard, answered, sent, floor) = (0, 0, 0, 0);
        Ok(Peer { link, last, heard, answered, sent, floor, asked_at, lost: 0, lives: 1 })
    }

    /// Whether the guest has got a frame since its machine began; no other is lost until that dies.
    fn is_through(&self) -> bool {
        self.last.next > self.floor
    }

    /// Fills the window, and answers. A TAP that a machine has just taken takes frames without an error and loses them: until
    /// one is through, it is one at a time.
    fn send(&mut self) {
        if !self.is_through() {
            if self.sent == self.floor || self.asked_at.elapsed() >= PAUSE {
                self.asked_at = Instant::now();
                self.lost += u64::from(self.put());
            }
            return;
        }
        while self.sent - self.last.next < WINDOW || self.heard - self.answered >= UNANSWERED {
            if !self.put() {
                return;
            }
        }
    }

    /// Sends a frame, if the TAP takes it.
    fn put(&mut self) -> bool {
        let head = [&MAC[..], &[2, 9, 9, 9, 9, 9], &[0x88, 0xb6], MARK].concat();
        let numbers = [self.sent, self.heard].map(u64::to_le_bytes);
        let frame = [&head[..], numbers.as_flattened(), &[0; 22]].concat();
        let is_sent = self.link.send(&frame).is_ok();
        if is_sent {
            self.sent += 1;
            self.answered = self.heard;
        }
        is_sent
    }

    /// What the guest tells next, if it does within `limit`. Fails if it is not what has to come.
    fn hear(&mut self, limit: Duration) -> Result<bool> {
        let Some(frame) = self.link.hear_first(&MAC, limit)? else { return Ok(false) };
        let Some(told) = Told::of(&frame) else { return Ok(true) };
        let (last, was_through) = (self.last, self.is_through());
        ensure!(told.number == self.heard, "{told:?} is not the {}th, behind {last:?}", self.heard);
        self.heard += 1;
        ensure!(told.received + told.missed == told.next && told.next <= self.sent, "{told:?}");
        ensure!(told.again == 0 && told.taken == told.received, "frames came twice: {told:?}");
        ensure!(told.gaps <= self.lives && told.missed <= self.lost, "{told:?}: {}", self.lost);
        ensure!((told.refused, told.wrong, told.stray) == (0, 0, 0), "requests: {told:?}");
        self.last = told;
        if self.is_through() && !was_through {
            self.lost = told.missed;
        }
        Ok(true)
    }

    /// Until so many frames more are heard and sent, and requests are done, by the guest as it is from now on.
    fn reach(&mut self, frames: u64, requests: u64) -> Result<()> {
        let (begun, heard, then) = (Instant::now(), self.heard, self.last);
        while self.heard < heard + frames
            || self.last.received < then.received + frames
            || self.last.requests < then.requests + requests
        {
            self.send();
            self.hear(PAUSE)?;
            ensure!(begun.elapsed() < LIMIT, "it is stuck at {:?} of {}", self.last, self.sent);
        }
        Ok(())
    }

    /// The machine is at rest: all that it sent is heard. It dies with what is sent to it now, and all that the guest has not
    /// told of may be lost.
    fn bury(&mut self, out: u64) -> Result<()> {
        while self.heard < out {
            ensure!(self.hear(LIMIT)?, "it sent {out} frames, and {} were heard", self.heard);
        }
        ensure!(self.heard == out, "it sent {out} frames, and {} were heard", self.heard);
        while self.sent - self.last.next < WINDOW && self.put() {}
        self.lost += self.sent - self.last.next;
        (self.floor, self.lives) = (self.sent, self.lives + 1);
        Ok(())
    }
}

/// Frames that a machine has got from its guest, and that its guest has got from it, since its process began.
fn passed(machine: &mut Machine) -> Result<[u64; 2]> {
    let seen = machine.api.get("/network-interfaces/eth0")?;
    let total = |name: &str| seen["totals"][name].as_u64().with_context(|| format!("{seen}"));
    Ok([total("tx_frames")?, total("rx_frames")?])
}

/// How long parts of all turns took.
#[derive(Default)]
struct Took {
    parts: [Duration; 4],
}

impl Took {
    fn time<T>(&mut self, part: usize, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = run();
        self.parts[part] += begun.elapsed();
        result
    }
}

impl Scene {
    fn start_busy(&self, image: &Path) -> Result<Machine> {
        let model = if self.card.is_ena() { "nvme" } else { "virtio" };
        let disk = format!("{},id=data,model={model}", image.display());
        self.start_with("disk=busy in-flight=8", &["--disk", &disk])
    }
}

fn busy(scene: &Scene) -> Result<()> {
    let image = Image::empty(scene.path("disk.raw"), DISK)?;
    let mut peer = Peer::new(Link::open(TAP)?)?;
    let mut machine = scene.start_busy(image.path())?;
    let folder = scene.path("snapshot");
    let (mut gone, mut carried, mut took, begun) = ([0; 2], 0, Took::default(), Instant::now());
    for round in 0..rounds() {
        let turn = || -> Result<Machine> {
            took.time(0, || peer.reach(FRAMES, REQUESTS))?;
            let passed = took.time(1, || {
                // It goes on all the while.
                std::thread::scope(|scope| {
                    let pause = scope.spawn(|| machine.pause());
                    while !pause.is_finished() {
                        peer.send();
                        peer.hear(PAUSE)?;
                    }
                    pause.join().map_err(|_| anyhow!("nobody pauses it"))?
                })?;
                let passed = passed(&mut machine)?;
                machine.save(&folder)?;
                Ok(passed)
            })?;
            // What was in its rings when it was saved came before what it has got since.
            ensure!(peer.last.taken >= gone[1], "{} went in: {:?}", gone[1], peer.last);
            gone = [gone[0] + passed[0], gone[1] + passed[1]];
            took.time(2, || peer.bury(gone[0]))?;
            carried += gone[1] - peer.last.taken;
            drop(machine);
            took.time(3, || scene.restore(&folder))
        };
        machine = turn().with_context(|| format!("round {round}"))?;
        if (round + 1).is_multiple_of((rounds() / 20).max(4)) {
            let (all, parts, last) = (begun.elapsed(), took.parts, peer.last);
            eprintln!(
                "{} rounds in {all:.1?}, {parts:.1?}: {carried} carried, {last:?}",
                round + 1
            );
        }
    }
    // Quiet at last: what went into the guest's rings is what it took, in all its lives.
    peer.reach(FRAMES, REQUESTS)?;
    let quiet = Instant::now();
    while peer.last.next < peer.sent {
        // Else the guest could not tell.
        if peer.heard - peer.answered >= UNANSWERED {
            peer.put();
        }
        let is_heard = peer.hear(LIMIT)? && quiet.elapsed() < LIMIT;
        ensure!(is_heard, "{:?} of {}", peer.last, peer.sent);
    }
    machine.pause()?;
    let [_, into] = passed(&mut machine)?;
    let last = peer.last;
    ensure!(gone[1] + into == last.taken, "{} frames went in: {last:?}", gone[1] + into);
    let is_busy = last.steps > 0 && carried > 0;
    ensure!(is_busy, "nothing was in the balance: {carried} carried, {last:?}");
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    Ok(())
}
