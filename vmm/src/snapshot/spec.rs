//! What can be asked of snapshots.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::memory::Pages;
use devices::net::control::NoSuchRequest;
use devices::net::mac::MacAddr;
use devices::net::spec::Model;
use serde::{Deserialize, Serialize};

/// Where a snapshot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSpec {
    /// The state.
    pub state: PathBuf,
    /// The memory.
    pub memory: PathBuf,
    /// Whether only that part of the memory is written that has changed since the last snapshot.
    pub is_diff: bool,
}

/// What to make a machine from, and how it differs from the one that was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSpec {
    /// The state.
    pub state: PathBuf,
    /// The memory: its file, or the socket of who has it.
    pub memory: PathBuf,
    /// Whether pages that the guest writes to are tracked from now on.
    pub track: bool,
    /// By whom its pages come.
    pub pager: PagerSpec,
    /// What the host backs it with, if that differs.
    pub pages: Option<Pages>,
    /// Whether it is written down, beside the memory's file, which pages are used first.
    pub record: bool,
    /// Whether the machine runs at once.
    pub resume: bool,
    /// TAPs in place of those that cards had, by the cards' ids.
    pub taps: Vec<(String, String)>,
    /// What the network sees of cards, where that is to differ.
    pub identities: Vec<CardIdentity>,
    /// Images in place of those that disks had.
    pub images: Vec<OtherImage>,
    /// The vsock's socket in place of the one that it had.
    pub vsock: Option<PathBuf>,
    /// Whether the guest's clock goes on with the time that passed; if nobody says so, as the machine's face has it.
    pub advance: Option<bool>,
}

/// What a disk has in place of its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherImage {
    /// The disk.
    pub id: String,
    /// The image, or the overlay.
    pub path: PathBuf,
    /// What is below that, the nearest first, if it is an overlay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<PathBuf>,
}

/// What the network sees of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardIdentity {
    /// The card.
    pub id: String,
    /// Addresses in place of the guest's, if it is to have others.
    pub rewrite: Option<Rewritten>,
    /// Whether the guest sees its link go down and come again.
    pub flap: bool,
    /// Whether its driver is asked to reset it.
    pub reset: bool,
}

impl CardIdentity {
    /// Fails if it asks something of the driver that those of cards of `model` are not asked.
    pub fn check(&self, model: Model) -> Result<(), NoSuchRequest> {
        match model {
            Model::Virtio if self.reset => Err(NoSuchRequest),
            Model::Virtio | Model::Ena => Ok(()),
        }
    }
}

/// Addresses that the wire sees in place of the guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewritten {
    /// In place of the card's; a random one if not given.
    pub mac: Option<MacAddr>,
    /// In place of the guest's IPv4 address; that one if not given.
    pub ip: Option<Ipv4Addr>,
    /// The guest's; if not given, what its frames had shown.
    pub guest_ip: Option<Ipv4Addr>,
}

/// By whom pages of memory come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagerSpec {
    /// By the kernel, which maps the memory's file.
    #[default]
    Kernel,
    /// By a thread of our own, from the memory's file.
    Own,
    /// By a process that listens at a socket.
    External,
}

/// The files of a snapshot in a folder of its own.
pub const STATE: &str = "state";
/// See [`STATE`].
pub const MEMORY: &str = "memory";
