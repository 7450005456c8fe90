//! What can be asked of a migration, on either side.

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::address::Address;
use crate::snapshot::spec::LoadSpec;

/// A migration to another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateSpec {
    /// Who waits for the machine.
    pub destination: Address,
    /// Whom the target's certificate is to be for, if not for its address.
    pub target_name: Option<ServerName<'static>>,
    /// Whether its memory may go over a network where everybody can read and change it.
    pub is_insecure: bool,
    /// When it is paused.
    pub limits: Limits,
}

/// When a machine is paused whose memory is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// As soon as what is left would go in this time.
    pub downtime: Duration,
    /// How often memory is sent at most until then: all of it, then what was written meanwhile.
    pub rounds: u32,
    /// What to do after so many rounds.
    pub at_last: AtLast,
}

/// What to do if a machine writes to its memory faster than that goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLast {
    /// It stays, and goes on.
    #[default]
    GiveUp,
    /// It is paused for as long as it takes.
    GoOn,
}

impl Limits {
    /// Unless somebody says otherwise.
    pub const DOWNTIME: Duration = Duration::from_millis(300);
    /// See [`Limits::DOWNTIME`].
    pub const ROUNDS: u32 = 30;
    /// The longest downtime that can be asked for.
    pub const MOST_DOWNTIME: Duration = Duration::from_secs(60);
    /// The most rounds that can be asked for.
    pub const MOST_ROUNDS: u32 = 1000;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { downtime: Limits::DOWNTIME, rounds: Limits::ROUNDS, at_last: AtLast::default() }
    }
}

/// A machine that is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSpec {
    /// Where.
    pub address: Address,
    /// In which it differs from what it was; names no files of a snapshot.
    pub others: LoadSpec,
}
