//! What a command line asks for, in whichever face's words it was said.

use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::action::Action;
use crate::migration::address::Reach;
use crate::migration::spec::ReceiveSpec;
use crate::migration::tls::credentials::Credentials;
use crate::observe::logger::LogSpec;
use crate::observe::metrics::StartTimes;
use crate::shield::Mode;
use crate::shield::groups::Handed;
use crate::vm::config::Config;

/// All of it.
#[derive(Debug)]
pub struct Orders {
    /// Name of the machine.
    pub id: String,
    /// Where the log goes, and what is in it.
    pub log: LogSpec,
    /// What there is before anything is asked of the machine.
    pub config: Config,
    /// What the start took so far, for metrics.
    pub start_times: StartTimes,
    /// Where to serve the API, if at all.
    pub api_socket: Option<PathBuf>,
    /// Bytes of a request's body at most; what the API is used to if not given.
    pub max_body: Option<usize>,
    /// Descriptors by which somebody waits for all of this to be done.
    pub ready: Vec<RawFd>,
    /// Control groups that threads go into.
    pub thread_groups: Option<Handed>,
    /// What filters of system calls do.
    pub seccomp: Mode,
    /// Whether the machine may have children.
    pub forks: bool,
    /// Where files may be opened while the guest runs, if the user has said.
    pub late_places: Vec<PathBuf>,
    /// Where the machine may be migrated to by TCP.
    pub reach: Vec<Reach>,
    /// Who this process is to others that a machine goes to or comes from by TLS.
    pub credentials: Option<Credentials>,
    /// The machine that is awaited, if it comes from another process.
    pub receive: Option<ReceiveSpec>,
    /// What to do first, in order.
    pub actions: Vec<Action>,
    /// File that fills the metadata service's store.
    pub metadata: Option<PathBuf>,
    /// What to do then.
    pub config_file: Option<PathBuf>,
}
