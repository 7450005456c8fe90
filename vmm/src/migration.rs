//! A machine that goes on in another process, on this host or another, as itself.
//!
//! ```text
//!  source, in main of a vmm                         target, a vmm that was started to receive
//!  ─────────────────────────────────────────────────────────────────────────────────────────────
//!  Hello     what the machine is and was like   ──►  could it be here?
//!                                               ◄──  Welcome
//!  Pages     all that have something, then           into memory
//!  Zeroes    those written since, round by round ──►
//!  Prepare   little enough is left              ──►  all else is there
//!                                               ◄──  Prepared
//!  (it pauses, lets go of its images' locks)
//!  Pages     the rest                           ──►
//!  State     what it is like now                ──►  builds it, opens its images
//!                                               ◄──  Loaded: it could run
//!  LetGo     from here on it never runs here    ──►  from here on it is here: it runs
//!                                               ◄──  Running
//! ```
//!
//! Over a network both look first who the other is ([`tls`]), and all of this goes sealed.
//!
//! **The one that owns the machine.** The source does, until its `LetGo` is with the kernel for the target; then the target
//! does, once it has read it. The target runs nothing without it. If anything fails before, the source takes its locks back
//! and goes on. Afterwards it goes on only if the target says in so many words that it never will (`Refused`): an end of the
//! connection says nothing, as it may be a tunnel's. So the machine runs on one side or on none, and on none only if the
//! target, or the way to it, was gone when it had the machine.

pub mod address;
#[cfg(any(test, feature = "testing"))]
pub mod by_hand;
pub mod carrier;
pub mod door;
pub mod error;
pub mod incoming;
pub mod line;
pub mod listening;
pub mod machine;
pub mod outgoing;
pub mod rounds;
pub mod spec;
pub mod tls;
pub mod view;
pub mod words;
