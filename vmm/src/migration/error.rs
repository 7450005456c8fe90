//! Why a machine was not migrated, in one line.

use std::io;

use super::address::Address;
use super::words::WireError;
use crate::vm::save::SaveError;

/// Why a machine does not go elsewhere. It is where it was, and goes on, but for [`MigrateError::Parted`].
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("this vmm has nobody who connects to other processes")]
    NoBroker,
    #[error(
        "insecure: by {0} all of its memory would go over the network for everybody there to read and to change; say that \
         it may, or take tls:"
    )]
    Insecure(Address),
    #[error(
        "by {0} nobody knows who this vmm is: start it with --tls-cert, --tls-key and --tls-ca"
    )]
    Unnamed(Address),
    #[error("TLS cannot begin")]
    Tls(#[source] rustls::Error),
    #[error("a machine with {what} cannot be migrated: {why}")]
    Stays { what: String, why: &'static str },
    #[error("destination {to}: nobody can be reached there")]
    Connect { to: Address, source: io::Error },
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("the disk of cloud-init cannot be read")]
    Seed(#[source] io::Error),
    #[error("its state cannot be put into words")]
    Text(#[from] serde_json::Error),
    #[error("the host does not tell which memory is written to")]
    Tracking(#[source] io::Error),
    #[error("its memory cannot be read")]
    Memory(#[source] io::Error),
    #[error("the locks on its images cannot be had again")]
    Images(#[source] io::Error),
    #[error("the target")]
    Target(#[from] WireError),
    #[error("the target refuses it: {0}")]
    Refused(String),
    #[error(
        "after {rounds} rounds what it has written since would take {needs_ms} ms, and it is to be paused for {most_ms} ms \
         at most; allow for more, or for going on regardless"
    )]
    TooFast { rounds: u32, needs_ms: u128, most_ms: u128 },
    #[error("it was stopped by a request")]
    Stopped,
    #[error("the machine has ended meanwhile")]
    Ending,
    #[error(
        "the machine is paused: meanwhile another process has taken the image of disk {0:?}; have it let go, then resume"
    )]
    Taken(String),
    #[error(
        "the machine was handed over, and the target has not said that it runs: look there; it does not go on here"
    )]
    Parted(#[source] WireError),
}

/// Why a machine that was awaited is not here.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error(
        "--insecure: by {0} all of a machine's memory comes over the network, and everybody there can read it, change it or \
         send another; say so, or take tls:"
    )]
    Insecure(Address),
    #[error(
        "by {0} nobody knows who this vmm is, nor this vmm who comes: --tls-cert, --tls-key and --tls-ca are needed"
    )]
    Unnamed(Address),
    #[error("{0}")]
    Bind(String),
    #[error("{address}: nobody can connect")]
    Listen { address: Address, source: io::Error },
    #[error("the source")]
    Source(#[from] WireError),
    #[error("it is of {found}, and this vmm runs {own}")]
    Architecture { found: String, own: &'static str },
    #[error("the machine has {found} bytes of memory, and its settings say {told}")]
    Memory { found: u64, told: u64 },
    #[error("cannot map its memory")]
    Map(#[source] io::Error),
    #[error("its memory cannot be written")]
    Write(#[source] io::Error),
    #[error("the source keeps it: {0}")]
    Stays(String),
}
