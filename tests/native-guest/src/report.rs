//! What came of a load, told to whoever listens at the other end of the cable.

use crate::clock::wait;
use crate::memory::write;
use crate::nic::{ADDRESS, MOST_PAIRS, Pair, Pairs};

/// EtherType of a report (IEEE 802, local experiments).
const REPORT: u16 = 0x88b6;
/// Its first bytes behind the Ethernet header.
const MARK: [u8; 8] = *b"nativeG1";
/// Bytes before the numbers of each pair.
const HEAD: u32 = 62;
/// Ticks between two reports: some hundredths of a second.
pub const PAUSE: u64 = 50_000_000;

/// What went through a pair.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Frames given to the card.
    pub sent: u64,
    /// Frames received, and their bytes.
    pub received: u64,
    pub bytes: u64,
}

impl Tally {
    /// Frames both ways.
    pub fn frames(&self) -> u64 {
        self.sent + self.received
    }
}

/// What came of a load.
#[derive(Default)]
pub struct Results {
    /// Of each pair, as many as there are.
    pub tallies: [Tally; MOST_PAIRS as usize],
    pub pairs: u16,
    /// How long that took, by the CPU's clock.
    pub cycles: u64,
}

impl Results {
    /// Of a card with so many pairs, and nothing done yet.
    pub fn of(pairs: u16) -> Results {
        Results { pairs, ..Results::default() }
    }
}

/// Sends the report again and again, as the first may get lost among the frames before it.
pub fn tell(mut pairs: Pairs<impl Pair>, results: &Results) -> ! {
    pairs.first().stop_cutting();
    loop {
        tell_once(pairs.first(), results);
        wait(PAUSE);
    }
}

/// Sends the report, if there is room. Behind the Ethernet header it has [`MARK`], and then frames sent, frames
/// received, bytes received, cycles, and pairs; for each pair, frames sent and received by it follow. All have 64 bits,
/// little-endian.
pub fn tell_once(nic: &mut impl Pair, results: &Results) {
    if nic.room() == 0 {
        return;
    }
    let (at, _) = nic.next();
    write(at, [0xffu8; 6]);
    write(at + 6, ADDRESS);
    write(at + 12, REPORT.to_be());
    write(at + 14, MARK);
    let tallies = results.tallies.iter().take(usize::from(results.pairs));
    let sum = |of: fn(&Tally) -> u64| tallies.clone().map(of).sum::<u64>();
    let (sent, received) = (sum(|tally| tally.sent), sum(|tally| tally.received));
    let bytes = sum(|tally| tally.bytes);
    let numbers = [sent, received, bytes, results.cycles, u64::from(results.pairs)];
    let numbers = numbers.into_iter().chain(tallies.flat_map(|tally| [tally.sent, tally.received]));
    for (number, offset) in numbers.zip((22..).step_by(8)) {
        write(at + offset, number.to_le());
    }
    nic.put(HEAD + 16 * u32::from(results.pairs));
    nic.show();
}
