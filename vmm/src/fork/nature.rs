//! What children have of the process that all of them come from.

use std::path::PathBuf;

use super::child::Newborn;
use crate::face::Face;
use crate::migration::address::Reach;
use crate::migration::tls::credentials::Credentials;
use crate::observe::logger::LogSpec;
use crate::shield::Mode;
use crate::vm::config::Config;

/// What all children have of the process that the zygote is forked from.
#[derive(Clone)]
pub struct Nature {
    /// How the process meets its user.
    pub face: &'static Face,
    /// What filters of system calls do.
    pub seccomp: Mode,
    /// What there is before anything is asked of a machine.
    pub config: Config,
    /// Where the log goes, and what is in it.
    pub log: LogSpec,
    /// Where files may be opened while the guest runs, if the user has said.
    pub late_places: Vec<PathBuf>,
    /// Where machines may be migrated to by TCP.
    pub reach: Vec<Reach>,
    /// Who they are to others that machines go to by TLS.
    pub credentials: Option<Credentials>,
    /// Lives as a process that was started to be such a machine.
    pub life: fn(Nature, Newborn) -> !,
}
