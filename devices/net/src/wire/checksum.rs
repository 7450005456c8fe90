//! The Internet checksum (RFC 1071).

/// A ones' complement sum of 16-bit words, built from pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Of words in memory order, whatever the host's is.
    words: u64,
    /// An odd number of bytes has been added: the next one is the second of its word.
    odd: bool,
}

impl Sum {
    /// Adds bytes as they are on the wire.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        // Words of 64 bits in 128 are an addition and one of its carry; two sums overlap.
        let (pairs, rest) = bytes.as_chunks::<16>();
        let (words, rest) = rest.as_chunks::<8>();
        let (mut even, mut odd) = (0_u128, 0_u128);
        for pair in pairs {
            let pair = u128::from_le_bytes(*pair);
            even = even.wrapping_add(u128::from(pair as u64));
            odd = odd.wrapping_add(pair >> 64);
        }
        for word in words {
            even = even.wrapping_add(u64::from_le_bytes(*word).into());
        }
        let last = rest.iter().rev().fold(0, |last: u64, byte| last << 8 | u64::from(*byte));
        let sum = even.wrapping_add(odd).wrapping_add(last.into());
        let (low, high) = (sum as u64, (sum >> 64) as u64);
        // Three numbers of 32 bits: frames have less than 2^32 words.
        let sum = (low & 0xffff_ffff).wrapping_add(low >> 32).wrapping_add(high);
        let sum = if self.odd { fold(sum).swap_bytes().into() } else { sum };
        self.words = self.words.wrapping_add(sum);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds one number.
    #[inline]
    pub fn add_number(&mut self, number: u16) {
        self.add(&number.to_be_bytes());
    }

    /// The sum itself: what a checksum field holds while the rest is still to be added.
    pub fn value(self) -> u16 {
        u16::from_be_bytes(fold(self.words).to_le_bytes())
    }

    /// What a checksum field must hold: 0 stands for none in UDP, so its other form is stored.
    pub fn checksum(self) -> u16 {
        match !self.value() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether bytes that include their checksum are intact.
    pub fn is_right(self) -> bool {
        self.value() == 0xffff
    }
}

/// The sum of all 16-bit words of a number, carries added in again.
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    sum as u16 // at most 16 bits are left
}

/// The sum of TCP's and UDP's pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1): both addresses, one
/// behind the other, the protocol and the length of what is summed.
#[inline]
pub fn pseudo_header(addresses: &[u8], protocol: u8, len: u32) -> Sum {
    let mut sum = Sum::default();
    sum.add(addresses);
    sum.add_number(protocol.into());
    sum.add(&len.to_be_bytes());
    sum
}

/// How a sum changes as words of what it sums are replaced (RFC 1624).
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// `old` has become `new`.
    #[inline]
    pub fn word(&mut self, old: u16, new: u16) {
        // The sum of two equal ones is zero, but not in the same form.
        if old != new {
            self.0 = self.0.wrapping_add(u64::from(!old)).wrapping_add(new.into());
        }
    }

    /// Both changes.
    #[inline]
    pub fn and(self, other: Change) -> Change {
        Change(self.0.wrapping_add(other.0))
    }

    /// The sum of what had the sum `sum`.
    #[inline]
    pub fn of_sum(self, sum: u16) -> u16 {
        fold(self.0.wrapping_add(sum.into()))
    }

    /// The checksum of what had the checksum `checksum`; a wrong one stays as wrong.
    #[inline]
    pub fn of_checksum(self, checksum: u16) -> u16 {
        !self.of_sum(!checksum)
    }
}

#[cfg(test)]
#[path = "checksum_test.rs"]
mod tests;
