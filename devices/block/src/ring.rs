//! What a controller's front must offer: its guest's queues as sources of requests.

use std::os::fd::BorrowedFd;

use device_core::fault::GuestFault;

use crate::request::{Outcome, Request};

/// What a ring had to offer.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Nothing.
    Empty,
    /// A request, in the [`Request`] passed.
    Request(T),
    /// Something that the ring has answered itself, such as a question for the disk's name or a malformed
    /// request; what it answered is shown by [`BlockRing::publish`].
    Answered,
}

/// A queue of requests from the guest. Requests complete in any order.
///
/// A call fails once it finds that the guest broke the ring's format; then the lane takes no more
/// requests from it, and says so by [`BlockRing::broken`] once those in flight have ended.
pub trait BlockRing: Send + 'static {
    /// What the ring keeps of a request that it gave out; the lane holds it, and gives it back once.
    /// Nothing in it is ever an index of the lane's.
    type Token: Send + 'static;

    /// Takes the next request: checks its descriptors, reads each once, fills `request`, which is clear.
    fn next(&mut self, request: &mut Request) -> Result<Next<Self::Token>, GuestFault>;

    /// Undoes the last `next`, for a later try.
    fn put_back(&mut self, token: Self::Token);

    /// The request has ended, and the device is done with its memory. Unseen by the guest until
    /// [`BlockRing::publish`].
    fn complete(&mut self, token: Self::Token, outcome: Outcome) -> Result<(), GuestFault>;

    /// Shows completions to the guest; true if it wanted an interrupt for them and got it.
    fn publish(&mut self) -> Result<bool, GuestFault>;

    /// Asks the guest to kick for the next request. False if there is one already: then go on.
    fn may_sleep(&mut self) -> Result<bool, GuestFault>;

    /// The guest need not kick, as the ring is looked at again and again until the next
    /// [`BlockRing::may_sleep`]. It may all the same.
    fn stay_quiet(&mut self) {}

    /// Whether there is a request by now, or something wrong that the next look finds: for who looks at nothing
    /// else meanwhile.
    fn has_next(&mut self) -> bool;

    /// Whether the guest calls the request of `token` by `name`, for which it may ask to have it back.
    fn is_called(&self, _token: &Self::Token, _name: u16) -> bool {
        false
    }

    /// The guest wants the request back that it calls `name`. If that is on offer and was not taken, it is
    /// answered as taken back, unseen until [`BlockRing::publish`]; whether it was.
    fn take_back(&mut self, _name: u16) -> Result<bool, GuestFault> {
        Ok(false)
    }

    /// Whether all that was published is seen: a guest may have no room for it.
    fn has_shown_all(&self) -> bool {
        true
    }

    /// Whether a request is to be on disk before it completes, for all of this ring: the driver knows of no
    /// cache that it could flush.
    fn write_through(&self) -> bool {
        false
    }

    /// The ring is given up; tells the controller.
    fn broken(&mut self, fault: GuestFault);

    /// The eventfd the guest kicks, to be watched edge-triggered.
    fn kick(&self) -> BorrowedFd<'_>;
}
