//! What a card's front must offer: its guest's rings as sources and sinks of frames.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::frame::{RxFrame, TxFrame};
use device_core::fault::GuestFault;
use device_core::scatter::Scatter;

/// A frame taken from a transmit ring and not yet completed.
#[derive(Debug, PartialEq, Eq)]
pub struct TxToken(pub u16);

/// What a transmit ring had to offer.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Empty,
    /// A frame, in the [`TxFrame`] passed.
    Frame(TxToken),
    /// Something that cannot be sent but does no harm to the ring; to be completed and dropped.
    Malformed(TxToken),
}

/// What became of an interrupt that was put off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOff {
    /// Its time had come, and the guest got it.
    pub fired: bool,
    /// When its time will come.
    pub until: Option<Instant>,
}

/// A ring of frames from the guest. Tokens are given back in the order they were taken.
///
/// A call fails once it finds that the guest broke the ring's format; then the lane takes no more frames
/// from it, and says so by [`TxRing::broken`].
pub trait TxRing: Send + 'static {
    /// Takes the next frame: checks its descriptors, reads each once, fills `frame`.
    fn next(&mut self, frame: &mut TxFrame) -> Result<Next, GuestFault>;

    /// Undoes the last `next`, for a later try.
    fn put_back(&mut self, token: TxToken);

    /// The device is done with the frame's memory.
    fn complete(&mut self, token: TxToken) -> Result<(), GuestFault>;

    /// Shows completions to the guest; true if it wanted an interrupt for them and got it.
    fn publish(&mut self) -> Result<bool, GuestFault>;

    /// Interrupts that `publish` has put off, as the guest asked; called at each turn's end.
    fn put_off(&mut self, _now: Instant) -> PutOff {
        PutOff::default()
    }

    /// When the guest offered the frame that `next` returned last, if the ring can know and was told
    /// to ([`TxRing::stamp_offers`]).
    fn offered_at(&self) -> Option<Instant> {
        None
    }

    /// Whether it is to be noted when the guest offers frames, which costs a look at the clock.
    fn stamp_offers(&mut self, _on: bool) {}

    /// Asks the guest to kick for the next frame. False if there is one already: then go on.
    fn may_sleep(&mut self) -> Result<bool, GuestFault>;

    /// The guest need not kick, as the ring is looked at again and again until the next
    /// [`TxRing::may_sleep`]. It may all the same.
    fn stay_quiet(&mut self) {}

    /// The ring is given up; tells the card.
    fn broken(&mut self, fault: GuestFault);

    /// The eventfd the guest kicks, to be watched edge-triggered.
    fn kick(&self) -> BorrowedFd<'_>;
}

/// A ring of buffers for frames to the guest.
///
/// A call fails once it finds that the guest broke the ring's format; then the lane puts no more frames
/// into it, and says so by [`RxRing::broken`].
pub trait RxRing: Send + 'static {
    /// The card has no word for what is left to be done on a frame: checksums are complete, and it is
    /// told what was found of them ([`crate::stage::finish`]); large frames come in the pieces of a
    /// wire ([`crate::stage::segment`]).
    const FINISHED: bool = false;

    /// Bytes at the front of the reservation that belong to the card, not to the frame.
    fn headroom(&self) -> usize;

    /// Tops the reservation up to `want` bytes, as far as the guest has posted buffers for one frame,
    /// and shows it whole. It is never shortened but by `deliver`.
    fn reserve(&mut self, want: usize) -> Result<&mut Scatter, GuestFault>;

    /// Whether a larger reservation could be had if the guest posted more buffers.
    fn can_grow(&self) -> bool;

    /// Hands over the buffers from the front of the reservation that hold the headroom and
    /// `frame.len` bytes, all written already but for the headroom.
    fn deliver(&mut self, frame: &RxFrame) -> Result<(), GuestFault>;

    /// Shows delivered frames to the guest; true if it wanted an interrupt for them and got it.
    fn publish(&mut self) -> Result<bool, GuestFault>;

    /// Interrupts that `publish` has put off, as the guest asked; called at each turn's end.
    fn put_off(&mut self, _now: Instant) -> PutOff {
        PutOff::default()
    }

    /// Asks the guest to kick for the next buffers. False if there are new ones already: then go on.
    fn may_sleep(&mut self) -> Result<bool, GuestFault>;

    /// The ring is given up; tells the card.
    fn broken(&mut self, fault: GuestFault);

    /// The eventfd the guest kicks, to be watched edge-triggered.
    fn kick(&self) -> BorrowedFd<'_>;
}
