//! What a guest's card stands on, and where its frames come from and go to.

/// The TAP's name.
pub const TAP: &str = "tap0";
/// A pair: a card stands on the near end.
pub const NEAR: &str = "veth0";
pub const FAR: &str = "far0";

/// What a card stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// A TAP; the host itself is the other end.
    Tap,
    /// One end of a veth pair.
    Veth,
    /// A TAP that a bridge joins with a veth pair, as hosts do to bring guests beyond themselves.
    Bridge,
}

impl Line {
    /// The line that a hypervisor's name speaks of.
    pub fn of_name(name: &str) -> Self {
        match name {
            _ if name.contains("veth") => Self::Veth,
            _ if name.contains("bridge") => Self::Bridge,
            _ => Self::Tap,
        }
    }

    /// The interface that a card stands on.
    pub fn near(self) -> &'static str {
        match self {
            Self::Tap => TAP,
            Self::Veth => NEAR,
            Self::Bridge => "tap1",
        }
    }

    /// The interface where frames for the guest are sent, and the guest's come in.
    pub fn far(self) -> &'static str {
        match self {
            Self::Tap => TAP,
            Self::Veth => FAR,
            Self::Bridge => "far1",
        }
    }
}
