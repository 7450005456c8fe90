//! Why a command of the control queue is not carried out.

/// A command that is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub &'static str);

pub(super) const UNKNOWN: Refused = Refused("unknown or not negotiated");
pub(super) const BAD_LENGTH: Refused = Refused("of the wrong length");
pub(super) const BAD_VALUE: Refused = Refused("with a value that cannot be");
pub(super) const HOST_REFUSES: Refused = Refused("not possible on this host");
