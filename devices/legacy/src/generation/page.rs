//! The page of the virtual machine clock (Linux `include/uapi/linux/vmclock-abi.h`), as little-endian words.

/// Words of it that say something.
pub const WORDS: usize = 14;
/// Bytes of them.
pub const LEN: usize = WORDS * 8;
/// Where the one with the sequence count is.
pub const SEQUENCE_AT: u64 = WORD_WITH_SEQUENCE as u64 * 8;
/// Which of them has the sequence count.
pub const WORD_WITH_SEQUENCE: usize = 1;

/// `VCLK`.
const MAGIC: u64 = 0x4b4c_4356;
/// Bytes of the page.
const SIZE: u64 = 0x1000;
const VERSION: u64 = 1;
/// No counter goes with it, and its time, if it told one, would be UTC.
const COUNTER_INVALID: u64 = 0xff;
const TIME_UTC: u64 = 0;
/// There is a count of generations, and an interrupt for each change.
const GENERATION_PRESENT: u64 = 1 << 8;
const NOTIFICATION_PRESENT: u64 = 1 << 9;

/// How often the machine became another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Even; odd while the page is written.
    pub sequence: u32,
    /// Of breaks in time.
    pub disruptions: u64,
    /// Of machines made of it.
    pub generation: u64,
}

/// The page with these counts: the status of its clock, and all about time, is zero, which is unknown.
pub fn words(counts: &Counts) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let [first, second, disruptions, flags, .., generation] = &mut words;
    *first = MAGIC | SIZE << 32;
    *second = VERSION | COUNTER_INVALID << 16 | TIME_UTC << 24 | u64::from(counts.sequence) << 32;
    *disruptions = counts.disruptions;
    *flags = GENERATION_PRESENT | NOTIFICATION_PRESENT;
    *generation = counts.generation;
    words
}
