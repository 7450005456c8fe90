//! The rules of one guest as the kernel's program reads them: words of this machine at fixed
//! offsets.
//!
//! ```text
//! 0       which set is in use: 0 or 1
//! 64      set 0    selectors, one per protocol
//!                  initial value, mask of buckets, lane without a hash
//!                  buckets
//!                  rows of the Toeplitz tables
//! ...     set 1
//! ```

use super::super::classify::{Fields, Protocol};
use super::super::table::MAX_ENTRIES;
use super::super::toeplitz::MAX_INPUT;
use super::Hasher;

/// Where in a selector, in bytes: the place of each field's first row in bytes from row 0, or
/// [`UNSELECTED`]. The source address.
pub const SOURCE: i16 = 0;
/// The destination address.
pub const DESTINATION: i16 = 4;
/// The source port.
pub const SOURCE_PORT: i16 = 8;
/// The destination port.
pub const DESTINATION_PORT: i16 = 12;
/// Whether there is a field at all.
pub const HASHED: i16 = 16;
/// Bytes of a selector.
pub const SELECTOR: usize = 32;
/// The place of a field that is not hashed.
pub const UNSELECTED: u32 = u32::MAX;

/// Offsets within a set, in bytes: a selector for each protocol.
pub const SELECTORS: usize = 0;
/// The hash of no input.
pub const INITIAL: usize = SELECTORS + SELECTOR * Protocol::COUNT;
/// What of a hash is the table's index.
pub const MASK: usize = INITIAL + 4;
/// The lane for frames without a hash.
pub const UNHASHED: usize = INITIAL + 8;
/// The table.
pub const BUCKETS: usize = INITIAL + 32;
/// The rows of the hash.
pub const ROWS: usize = BUCKETS + 4 * MAX_ENTRIES;
/// Bytes of a row.
pub const ROW: usize = 256 * 4;
/// Bytes of a set, on cache lines of its own.
pub const SET: usize = (ROWS + ROW * MAX_INPUT).next_multiple_of(64);
/// Where set 0 begins.
pub const FIRST: usize = 64;
/// Bytes of the whole array.
pub const BYTES: usize = FIRST + 2 * SET;

/// Where set `index`, 0 or 1, begins.
pub fn offset(index: usize) -> usize {
    if index == 0 { FIRST } else { FIRST + SET }
}

/// One set.
pub struct Rules(Vec<u32>);

impl Rules {
    /// As `hasher` says.
    pub fn of(hasher: &Hasher) -> Rules {
        let mut rules = Rules(vec![0; SET / 4]);
        let rss = hasher.rss();
        for protocol in Protocol::ALL {
            let fields = rss.fields.of(protocol) & protocol.fields();
            let at = SELECTORS.wrapping_add(SELECTOR.wrapping_mul(protocol as usize));
            rules.fill(at, &selector(protocol, fields));
        }
        let entries = rss.table.entries();
        let mask = u32::try_from(entries.len()).unwrap_or_default().saturating_sub(1);
        rules.fill(INITIAL, &[rss.initial, mask, rss.table.unhashed().into()]);
        let entries: Vec<u32> = entries.iter().map(|entry| u32::from(*entry)).collect();
        rules.fill(BUCKETS, &entries);
        rules.fill(ROWS, hasher.toeplitz().rows().as_flattened());
        rules
    }

    /// The words of the set, as the program reads them.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    fn fill(&mut self, at: usize, words: &[u32]) {
        let places = self.0.iter_mut().skip(at >> 2);
        places.zip(words).for_each(|(place, word)| *place = *word);
    }
}

/// Fields follow each other in the input, so a field's row depends on those before it.
fn selector(protocol: Protocol, fields: Fields) -> [u32; 5] {
    let address = match protocol {
        Protocol::Tcp4 | Protocol::Udp4 | Protocol::Ip4 | Protocol::Ip4Fragment => 4,
        Protocol::NotIp => 6,
        _ => 16,
    };
    let mut row = 0u32;
    let mut place = |field: Fields, bytes: u32| {
        if !fields.intersects(field) {
            return UNSELECTED;
        }
        let at = row.wrapping_mul(ROW as u32);
        row = row.wrapping_add(bytes);
        at
    };
    [
        place(Fields::SOURCES, address),
        place(Fields::DESTINATIONS, address),
        place(Fields::L4_SOURCE, 2),
        place(Fields::L4_DESTINATION, 2),
        (!fields.is_empty()).into(),
    ]
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
