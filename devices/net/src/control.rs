//! What may be asked of any network card while its machine lives: to look in, and to steer.
//!
//! ```text
//! REST, events, metrics ──► dyn NicControl ──► front: driver, rings, faults
//!                                         └──► port: counters, table, limits, link, capture, latency
//! ```
//! All that is shown is plain data that serializes; all that is asked is checked where it is asked.

pub mod capture;
pub mod inspect;
pub mod latency;

use std::fs::File;
use std::io;
use std::sync::Arc;

pub use crate::event::{Listener, NicEvent};
use crate::port::PortControl;
use crate::rss::explain::MixedVersions;
use crate::rss::{Explained, FlowKey};
use crate::service::metadata::Metadata;
pub use crate::spec::Fault;
use crate::spec::Outside;
use crate::stage::limiter::Allowed;
use capture::{CaptureError, CaptureSpec, CaptureState};
use inspect::{Counters, Inspection, RssState};
use latency::Latency;

/// A network card, as the one who runs the machine sees it.
///
/// Any thread may call but a lane's or the slow thread. A call may wait for the card's lanes, for at
/// most one turn of each, and never for the guest. What is set here outlives the guest's resets.
pub trait NicControl: Send + Sync {
    /// The card's name, unique in the machine.
    fn id(&self) -> &str;

    /// A picture of the card's state at one moment.
    fn inspect(&self) -> Inspection;

    /// What is behind the front; the methods with a body are its.
    fn port(&self) -> &dyn PortControl;

    /// Counters of each queue pair, in order of pairs, since the machine was built. Takes no lock:
    /// fit to be called often.
    fn counters(&self) -> Vec<Counters> {
        self.port().lane_counters()
    }

    /// Hash key, table, and how often each bucket was hit; `None` while the driver has set none.
    fn rss(&self) -> Option<RssState> {
        self.port().rss()
    }

    /// Where frames of `flow` go and why. Fails while there is no table, and for addresses that make no
    /// flow.
    fn explain(&self, flow: &FlowKey) -> Result<Explained, ExplainError>;

    /// What the card may do at most.
    fn allowed(&self) -> Allowed {
        self.port().allowed()
    }

    /// Replaces all limits, from the next frame on.
    fn limit(&self, allowed: &Allowed) {
        self.port().limit(allowed);
    }

    /// Pulls the cable out, or puts it in again: the guest sees its link go down, and no frame
    /// passes either way. A card whose backend is gone stays down.
    fn set_link(&self, up: bool) {
        self.port().set_link(up);
    }

    /// What goes wrong on purpose, and has not been healed by a reset.
    fn faults(&self) -> Vec<Fault>;

    /// Makes something go wrong, until the driver's next reset. Fails if the card's model has no such
    /// fault.
    fn inject(&self, fault: Fault) -> Result<(), NoSuchFault>;

    /// Has the card's driver reset it: by an event if it knows that one, and by the silence of a card that has failed if not. A
    /// card without a driver is left alone. Fails if drivers of the card's model cannot be asked.
    fn ask_for_reset(&self) -> Result<(), NoSuchRequest>;

    /// Good behaviour again, as far as the driver still lives; what it was never told stays untold.
    fn clear_faults(&self);

    /// Begins to write frames to `to`, an empty file open for writing, as pcapng; replaces a capture
    /// that is running. Frames are dropped from the capture, never from the traffic. Fails if `spec`
    /// cannot be of this card, or the file cannot be written.
    fn start_capture(&self, to: File, spec: &CaptureSpec) -> Result<(), CaptureError> {
        self.port().start_capture(to, spec)
    }

    /// Ends the capture and returns once its file is complete; how it went, `None` if there was none.
    fn stop_capture(&self) -> Option<CaptureState> {
        self.port().stop_capture()
    }

    /// The capture that is running, or the last one; `None` before the first.
    fn capture(&self) -> Option<CaptureState> {
        self.port().capture()
    }

    /// Begins to measure anew, or ends it; measuring costs time stamps, so it is off at first.
    fn measure_latency(&self, on: bool) {
        self.port().measure_latency(on);
    }

    /// What has been measured since measuring began; `None` before it ever did.
    fn latency(&self) -> Option<Latency> {
        self.port().latency()
    }

    /// Lets the guest reach a metadata service by the card, from now on. Fails if the host has no
    /// descriptor left.
    fn serve(&self, metadata: &Arc<Metadata>) -> io::Result<()> {
        self.port().serve(metadata)
    }

    /// What the service has done on the card; `None` if it has none.
    fn served(&self) -> Option<Counters> {
        self.port().served()
    }

    /// Tells the network where the guest's addresses are, those that its frames have shown.
    fn announce(&self) {
        self.port().announce();
    }

    /// What the wire sees in place of the guest's addresses, if not these: with the guest's IPv4 address if that is
    /// known. Without it, IPv4 packets keep theirs.
    fn outside(&self) -> Option<Outside> {
        self.port().outside()
    }

    /// Who is told of what happens to the card, at once, on any of its threads: it may neither wait
    /// nor call the card.
    fn set_listener(&self, listener: Option<Listener>) {
        self.port().set_listener(listener);
    }
}

/// A fault that a card cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a virtio card has no fault of this kind; faults on demand need a card with model ena")]
pub struct NoSuchFault;

/// A card whose drivers reset it when they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("drivers of a virtio card are not asked for resets; that takes a card with model ena")]
pub struct NoSuchRequest;

/// Why nothing can be said about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// There is no table that would say it.
    #[error(
        "the guest's driver has set no hash key and table, so the host spreads flows as it likes"
    )]
    NoTable,
    /// The flow's two addresses make none.
    #[error(transparent)]
    MixedVersions(#[from] MixedVersions),
}
