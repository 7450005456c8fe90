//! A guest whose card and disk are both busy, and who counts all that goes and comes: frames are numbered both ways, and each
//! request is checked as by [`crate::disk::verify`].

use crate::disk::Disk;
use crate::disk::exercise::Exercise;
use crate::memory::{read, write};
use crate::nic::{ADDRESS, Pair, Pairs};
use crate::options::Options;

/// EtherType of its frames (IEEE 802, local experiments), and what they begin with behind that.
const ETHERTYPE: u16 = 0x88b6;
const MARK: [u8; 8] = *b"nativeB1";
/// Bytes of a frame up to its numbers.
const HEAD: u64 = 22;
/// Numbers of a frame of its own.
const NUMBERS: usize = 12;
const LEN: u32 = HEAD as u32 + 8 * NUMBERS as u32;
/// Frames that may be on their way to whoever hears them.
const WINDOW: u64 = 64;
/// Turns between two moments in which each request has to be done.
const TURNS: u64 = 64;

/// What came and went on the card.
#[derive(Default)]
struct Traffic {
    /// Frames sent, and how many of these have been heard.
    sent: u64,
    heard: u64,
    /// Frames taken, of whatever kind.
    taken: u64,
    /// Numbered ones: so many, and the number that is to come next.
    received: u64,
    next: u64,
    /// Numbers that were left out, in so many places, and those that came again.
    missed: u64,
    gaps: u64,
    again: u64,
}

/// Does so for ever. Behind the mark a frame has its number from 0, frames taken, numbered ones received, the number that is
/// to come next, numbers missed, gaps, numbers that came again, requests done, those that were refused, wrong and stray,
/// and how often all requests were done. All have 64 bits, little-endian.
pub fn run(disk: impl Disk, mut pairs: Pairs<impl Pair>, options: &Options) -> ! {
    let nic = pairs.first();
    let mut exercise = Exercise::new(disk, options.area, options.seed);
    let (queues, mut traffic) = (u64::from(exercise.geometry.queues), Traffic::default());
    for turn in 1u64.. {
        exercise.put_any((turn % queues) as u16);
        exercise.show();
        let is_last = turn.is_multiple_of(TURNS);
        loop {
            exercise.take_all();
            traffic.receive(nic);
            traffic.send(nic, &exercise);
            if !is_last || exercise.in_flight() == 0 {
                break;
            }
        }
        exercise.results.step += u64::from(is_last);
    }
    crate::end()
}

impl Traffic {
    fn receive(&mut self, nic: &mut impl Pair) {
        while let Some((at, _)) = nic.take() {
            self.taken += 1;
            if read::<[u8; 8]>(at + 14) == MARK {
                self.count(read(at + HEAD));
                self.heard = self.heard.max(read(at + HEAD + 8));
            }
            nic.give();
            nic.show_given();
        }
    }

    fn count(&mut self, number: u64) {
        if number < self.next {
            self.again += 1;
            return;
        }
        self.received += 1;
        self.missed += number - self.next;
        self.gaps += u64::from(number > self.next);
        self.next = number + 1;
    }

    fn send<D: Disk>(&mut self, nic: &mut impl Pair, exercise: &Exercise<D>) {
        let before = self.sent;
        while self.sent - self.heard < WINDOW && nic.room() > 0 {
            let (at, _) = nic.next();
            write(at, [0xffu8; 6]);
            write(at + 6, ADDRESS);
            write(at + 12, ETHERTYPE.to_be());
            write(at + 14, MARK);
            let results = &exercise.results;
            let numbers: [u64; NUMBERS] = [
                self.sent,
                self.taken,
                self.received,
                self.next,
                self.missed,
                self.gaps,
                self.again,
                results.requests,
                results.refused,
                results.wrong,
                results.stray,
                results.step,
            ];
            for (number, offset) in numbers.into_iter().zip((HEAD..).step_by(8)) {
                write(at + offset, number.to_le());
            }
            nic.put(LEN);
            self.sent += 1;
        }
        if self.sent != before {
            nic.show();
        }
    }
}
