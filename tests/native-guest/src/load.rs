//! What is done with a card.

use core::hint::spin_loop;

use crate::asker::Asker;
use crate::clock::{now, wait};
use crate::memory::{read, write};
use crate::nic::{ADDRESS, MOST_PAIRS, Pair, Pairs};
use crate::options::{Load, Options};
use crate::pci::Ground;
use crate::report::{self, Results, Tally};
use crate::storm::Storm;

/// To whom frames go: nobody that a bridge or a host would know.
const THEIRS: [u8; 6] = [2, 9, 9, 9, 9, 9];
/// EtherType of frames without meaning (IEEE 802, local experiments).
const NONSENSE: u16 = 0x88b5;

/// Frames between two rests.
const SHIFT: u64 = 1000;
/// Frames that show that a card works, and reports of that.
const FRAMES: u64 = 1000;
const REPORTS: u64 = 8;

/// Buffers that have been filled are not filled again.
#[derive(Clone, Copy)]
pub struct Filled(u16);

/// Does as asked with each pair in turn, for ever or up to the count that was given, and tells of that.
pub fn run(mut pairs: Pairs<impl Pair>, options: &Options) -> ! {
    let mut results = Results::of(options.queues);
    let mut filled = [Filled::none(options); MOST_PAIRS as usize];
    let (mut frames, mut tired, mut asker) = (0, SHIFT, Asker::new(options));
    let begun = now();
    while options.count == 0 || frames < options.count {
        let before = frames;
        for ((nic, filled), tally) in pairs.iter_mut().zip(&mut filled).zip(&mut results.tallies) {
            let had = tally.frames();
            match options.load {
                Load::Send => {
                    send(nic, options, filled, tally);
                    if asker.is_on() {
                        receive(nic, options, tally, &mut asker);
                    }
                }
                Load::Receive => receive(nic, options, tally, &mut asker),
                Load::Both => {
                    send(nic, options, filled, tally);
                    receive(nic, options, tally, &mut asker);
                }
                Load::Answer => answer(nic, tally),
                Load::Witness | Load::Host | Load::Storm => {}
            }
            frames += tally.frames() - had;
            if asker.turn(nic) {
                // Its frame is in one of the buffers.
                *filled = Filled::none(options);
            }
        }
        if frames == before {
            spin_loop();
        }
        if options.rest > 0 && frames >= tired {
            wait(options.rest);
            tired = frames + SHIFT;
        }
    }
    results.cycles = now().wrapping_sub(begun);
    report::tell(pairs, &results)
}

/// Holds a storm against a card, as often as `count=` says in all, and shows behind each part of it that the card
/// works. Reports have the strikes so far as bytes.
pub fn weather<P: Pair>(open: impl Fn() -> Pairs<P>, ground: &Ground, options: &Options) -> ! {
    let mut storm = Storm::new(ground, options);
    let mut results = Results::of(1);
    loop {
        results.tallies[0].bytes = storm.part(|turn| {
            let pair = turn % usize::from(options.queues);
            open().iter_mut().nth(pair).map(|pair| pair.targets())
        });
        let mut pairs = open();
        let (nic, tally) = (pairs.first(), &mut results.tallies[0]);
        let (sent, mut filled) = (tally.sent, Filled::none(options));
        while tally.sent < sent + FRAMES {
            send(nic, options, &mut filled, tally);
        }
        for _ in 0..REPORTS {
            wait(report::PAUSE);
            report::tell_once(nic, &results);
        }
    }
}

impl Filled {
    /// No buffer has.
    fn none(options: &Options) -> Filled {
        Filled(options.depth)
    }
}

/// Sends what there is room for, if that is a batch.
fn send(nic: &mut impl Pair, options: &Options, filled: &mut Filled, tally: &mut Tally) {
    let room = nic.room();
    if room < options.batch {
        return;
    }
    for put in 1..=room {
        if filled.0 > 0 {
            fill(nic.next().0, options);
            filled.0 -= 1;
        }
        nic.put(options.len);
        if put % options.batch == 0 && put != room {
            nic.show();
        }
    }
    nic.show();
    tally.sent += u64::from(room);
}

/// Takes what has come, and gives the buffers back.
fn receive(nic: &mut impl Pair, options: &Options, tally: &mut Tally, asker: &mut Asker) {
    let mut taken = 0u64;
    while let Some((at, len)) = nic.take() {
        asker.hear(at, len);
        nic.give();
        taken += 1;
        tally.bytes += u64::from(len);
        if taken.is_multiple_of(u64::from(options.batch)) {
            nic.show_given();
        }
        if taken >= u64::from(options.depth) {
            break;
        }
    }
    if !taken.is_multiple_of(u64::from(options.batch)) {
        nic.show_given();
    }
    tally.received += taken;
}

/// Sends what has come back to whom it came from.
fn answer(nic: &mut impl Pair, tally: &mut Tally) {
    if nic.room() == 0 {
        return;
    }
    let Some((from, len)) = nic.take() else { return };
    let (to, most) = nic.next();
    let len = len.min(most);
    for offset in (12..u64::from(len)).step_by(4) {
        write(to + offset, read::<u32>(from + offset));
    }
    let [theirs, ours]: [[u8; 6]; 2] = [read(from + 6), read(from)];
    write(to, theirs);
    write(to + 6, ours);
    nic.put(len);
    nic.show();
    nic.give();
    nic.show_given();
    tally.sent += 1;
    tally.received += 1;
    tally.bytes += u64::from(len);
}

/// Writes a frame as it is to be sent.
fn fill(at: u64, options: &Options) {
    write(at, THEIRS);
    write(at + 6, ADDRESS);
    if options.tso == 0 {
        write(at + 12, NONSENSE.to_be());
        return;
    }
    // IPv4 with TCP, from 198.18.0.1 to 198.18.0.2, the network of benchmarks (RFC 2544). Lengths and
    // sums are what drivers leave to a card, but the pseudo-header's, which they add.
    let total = (options.len - 14) as u16;
    let [t0, t1] = total.to_be_bytes();
    let ip = [0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2];
    let header_sum = sum(&ip).to_be_bytes();
    let pseudo: [u8; 12] = [198, 18, 0, 1, 198, 18, 0, 2, 0, 6, 0, 0];
    let payload = u32::from(total - 20);
    let seed = !sum(&pseudo);
    let seed = u32::from(seed) + payload;
    let seed = ((seed & 0xffff) + (seed >> 16)) as u16;
    let [s0, s1] = seed.to_be_bytes();
    let tcp = [0x30, 0x39, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, s0, s1, 0, 0];
    write(at + 12, 0x0800u16.to_be());
    write(at + 14, ip);
    write(at + 24, header_sum);
    write(at + 34, tcp);
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
