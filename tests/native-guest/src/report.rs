//! What came of a load, told to whoever listens at the other end of the cable.

use crate::clock::wait;
use crate::memory::write;
use crate::nic::{ADDRESS, Nic};

/// EtherType of a report (IEEE 802, local experiments).
const REPORT: u16 = 0x88b6;
/// Its first bytes behind the Ethernet header.
const MARK: [u8; 8] = *b"nativeG1";
const LEN: u32 = 60;
/// Ticks between two reports: some hundredths of a second.
pub const PAUSE: u64 = 50_000_000;

/// What came of a load.
#[derive(Default)]
pub struct Results {
    /// Frames given to the card.
    pub sent: u64,
    /// Frames received, and their bytes.
    pub received: u64,
    pub bytes: u64,
    /// How long that took, by the CPU's clock.
    pub cycles: u64,
}

impl Results {
    /// Frames both ways.
    pub fn frames(&self) -> u64 {
        self.sent + self.received
    }
}

/// Sends the report again and again, as the first may get lost among the frames before it.
pub fn tell(mut nic: impl Nic, results: &Results) -> ! {
    nic.stop_cutting();
    loop {
        tell_once(&mut nic, results);
        wait(PAUSE);
    }
}

/// Sends the report, if there is room. Behind the Ethernet header it has [`MARK`], and then sent, received, bytes and
/// cycles, each of 64 bits, little-endian.
pub fn tell_once(nic: &mut impl Nic, results: &Results) {
    if nic.room() > 0 {
        let (at, _) = nic.next();
        write(at, [0xffu8; 6]);
        write(at + 6, ADDRESS);
        write(at + 12, REPORT.to_be());
        write(at + 14, MARK);
        let numbers = [results.sent, results.received, results.bytes, results.cycles];
        for (number, offset) in numbers.iter().zip((22..).step_by(8)) {
            write(at + offset, number.to_le());
        }
        nic.put(LEN);
        nic.show();
    }
}
