//! Network cards, each as pairs of rings that are polled.

pub mod ena;
pub mod virtio;

use crate::targets::Targets;
use crate::virtio::Place as VirtioPlace;

/// Where an ENA card has its registers.
#[derive(Clone, Copy)]
pub struct EnaPlace {
    /// BAR 0.
    pub registers: u64,
    /// BAR 2, the low-latency window, if there is one.
    pub window: Option<u64>,
}

/// A card as found.
#[derive(Clone, Copy)]
pub enum Found {
    Virtio(VirtioPlace),
    Ena(EnaPlace),
}

/// The address that the guest sends from.
pub const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Bytes of a receive buffer, and of a send buffer of ordinary frames.
pub const BUFFER: u32 = 2048;

/// Most pairs of a card.
pub const MOST_PAIRS: u16 = 16;

/// A pair of rings in use, one to send and one to receive. Frames are completed in order, as all these cards do.
pub trait Pair {
    /// How many frames can be put, as far as the card has sent those before.
    fn room(&mut self) -> u16;

    /// Where the next frame to be put lies, and the most bytes it may have. What was written there stays
    /// until the ring comes around.
    fn next(&self) -> (u64, u32);

    /// Puts the next frame, of `len` bytes.
    fn put(&mut self, len: u32);

    /// Frames put from now on are not cut, whatever the options ask for.
    fn stop_cutting(&mut self);

    /// Shows the card what was put.
    fn show(&mut self);

    /// The next frame received, if there is one: where it lies, and its bytes.
    fn take(&mut self) -> Option<(u64, u32)>;

    /// Gives the buffer of the frame that was taken first back.
    fn give(&mut self);

    /// Shows the card what was given.
    fn show_given(&mut self);

    /// Why the card has to be reset, if it has: by a number that only cards of its kind know.
    fn reason_to_reset(&mut self) -> Option<u32> {
        None
    }

    /// Where it may be hit.
    fn targets(&self) -> Targets;
}

/// All pairs of a card; there is one at least.
pub struct Pairs<P>([Option<P>; MOST_PAIRS as usize]);

impl<P: Pair> Pairs<P> {
    /// So many, but no more than there can be, as `make` makes each, their receive rings full.
    pub fn new(count: u16, mut make: impl FnMut(u16) -> P) -> Pairs<P> {
        let mut pairs = [const { None }; MOST_PAIRS as usize];
        for (index, place) in (0..count.max(1)).zip(&mut pairs) {
            *place = Some(make(index));
        }
        Pairs(pairs)
    }

    /// In their order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.0.iter_mut().map_while(Option::as_mut)
    }

    /// The first one.
    pub fn first(&mut self) -> &mut P {
        match &mut self.0[0] {
            Some(pair) => pair,
            None => unreachable!("a card has one"),
        }
    }
}
