//! What is done with a card.

use core::hint::spin_loop;

use crate::clock::{now, wait};
use crate::memory::{read, write};
use crate::nic::{ADDRESS, Nic};
use crate::options::{Load, Options};
use crate::report::{self, Results};

/// To whom frames go: nobody that a bridge or a host would know.
const THEIRS: [u8; 6] = [2, 9, 9, 9, 9, 9];
/// EtherType of frames without meaning (IEEE 802, local experiments).
const NONSENSE: u16 = 0x88b5;

/// Frames between two rests.
const SHIFT: u64 = 1000;

/// Buffers that have been filled are not filled again.
pub struct Filled(u16);

/// Does as asked, for ever or up to the count that was given, and tells of that.
pub fn run(mut nic: impl Nic, options: &Options) -> ! {
    let mut results = Results::default();
    let mut filled = Filled::none(options);
    let mut tired = SHIFT;
    let begun = now();
    while options.count == 0 || results.frames() < options.count {
        let before = results.frames();
        match options.load {
            Load::Send => send(&mut nic, options, &mut filled, &mut results),
            Load::Receive => receive(&mut nic, options, &mut results),
            Load::Both => {
                send(&mut nic, options, &mut filled, &mut results);
                receive(&mut nic, options, &mut results);
            }
            Load::Answer => answer(&mut nic, &mut results),
            Load::Storm => break,
        }
        if results.frames() == before {
            spin_loop();
        }
        if options.rest > 0 && results.frames() >= tired {
            wait(options.rest);
            tired = results.frames() + SHIFT;
        }
    }
    results.cycles = now().wrapping_sub(begun);
    report::tell(nic, &results)
}

impl Filled {
    /// No buffer has.
    pub fn none(options: &Options) -> Filled {
        Filled(options.depth)
    }
}

/// Sends what there is room for, if that is a batch.
pub fn send(nic: &mut impl Nic, options: &Options, filled: &mut Filled, results: &mut Results) {
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
    results.sent += u64::from(room);
}

/// Takes what has come, and gives the buffers back.
fn receive(nic: &mut impl Nic, options: &Options, results: &mut Results) {
    let mut taken = 0u64;
    while let Some((_, len)) = nic.take() {
        nic.give();
        taken += 1;
        results.bytes += u64::from(len);
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
    results.received += taken;
}

/// Sends what has come back to whom it came from.
fn answer(nic: &mut impl Nic, results: &mut Results) {
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
    results.sent += 1;
    results.received += 1;
    results.bytes += u64::from(len);
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
