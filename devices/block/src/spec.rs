//! What a user may say about a disk, for any model.

mod parse;

use std::fmt;
use std::path::PathBuf;

use device_core::device::{MAX_ID, is_usable_id};
use device_core::limiter::Limits;
use device_core::options;
use device_core::rate::Quota;
use serde::{Deserialize, Serialize};

use crate::image::{MOST_BASES, Source};

pub use parse::ParseSpecError;

/// Most queues of one disk.
pub const MAX_QUEUES: u16 = 64;
/// Longest serial number: what a virtio disk (virtio 1.2, 5.2.6) and an NVMe controller can say.
pub const MAX_SERIAL: usize = 20;
/// Longest UUID of a partition, with what a kernel takes behind one.
pub const MAX_PARTUUID: usize = 64;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// Unique in the machine; letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// A raw image, a block device, or an overlay.
    pub path: PathBuf,
    /// What is below it, if it is an overlay: other overlays, the nearest first, and in the end a raw image or a block
    /// device. None of them is ever written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<PathBuf>,
    /// It is never written.
    #[serde(default)]
    pub read_only: bool,
    /// What of it is the guest's root file system, if it has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// What the guest sees.
    #[serde(default)]
    pub model: Model,
    /// Queues; as many as vCPUs, but at most [`MAX_QUEUES`], if not given.
    #[serde(default)]
    pub queues: Option<u16>,
    /// What a completed write or flush promises.
    #[serde(default)]
    pub cache: Cache,
    /// Reads and writes go past the host's page cache.
    #[serde(default)]
    pub direct: bool,
    /// How requests reach the host.
    #[serde(default)]
    pub engine: Engine,
    /// What the guest can read as the disk's serial number; made from the id if not given.
    #[serde(default)]
    pub serial: Option<String>,
    /// What the disk may do at most.
    #[serde(default)]
    pub limits: Allowed,
    /// What goes wrong on purpose, from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// What of a disk is the guest's root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// The whole disk.
    Disk,
    /// The partition of this UUID.
    Partition(String),
}

/// What the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A virtio block device.
    #[default]
    Virtio,
    /// An NVMe controller as EC2 has it for its volumes.
    Nvme,
    /// An NVMe controller as EC2 has it for instance store.
    NvmeInstance,
}

/// What a completed write or flush promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// What was flushed survives a power cut.
    #[default]
    Writeback,
    /// Each completed write does.
    Writethrough,
    /// Nothing does: flushes end at once.
    Unsafe,
}

/// How requests reach the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// By io_uring, or by threads where the host has none for us.
    #[default]
    Auto,
    /// By io_uring, or not at all.
    Uring,
    /// By threads that wait for the host in the lane's place.
    Threads,
}

/// What a user allows a disk; what is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Bytes, both ways together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bw: Option<Quota>,
    /// Requests, of all kinds together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<Quota>,
}

impl From<Allowed> for Limits {
    fn from(allowed: Allowed) -> Limits {
        Limits { bytes: allowed.bw, operations: allowed.iops }
    }
}

/// What can go wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Requests are taken and never completed.
    Swallow,
    /// Requests fail as if the medium had.
    Error,
    /// Each request takes a second longer.
    Slow,
    /// The disk is no longer there: the controller answers no more.
    Vanish,
    /// The controller says that it has failed (NVMe's CSTS.CFS).
    Fatal,
}

/// One thing that a user says about a disk. Each surface has a word of its own for it; the command
/// line's is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The image.
    Path,
    /// The disk's name.
    Id,
    /// What is below it.
    Base,
    /// Whether it is never written.
    ReadOnly,
    /// Whether it has the guest's root file system.
    Root,
    /// The partition that has it.
    PartUuid,
    /// What the guest sees.
    Model,
    /// Queues.
    Queues,
    /// What a completed write or flush promises.
    Cache,
    /// Whether the host's page cache is passed by.
    Direct,
    /// How requests reach the host.
    Engine,
    /// Its serial number.
    Serial,
    /// Bytes per second.
    Bw,
    /// Requests per second.
    Iops,
    /// What goes wrong on purpose.
    Fault,
}

impl Key {
    /// All, and their words on the command line.
    pub const ALL: [(Key, &'static str); 15] = [
        (Key::Path, "path"),
        (Key::Base, "base"),
        (Key::Id, "id"),
        (Key::ReadOnly, "ro"),
        (Key::Root, "root"),
        (Key::PartUuid, "partuuid"),
        (Key::Model, "model"),
        (Key::Queues, "queues"),
        (Key::Cache, "cache"),
        (Key::Direct, "direct"),
        (Key::Engine, "engine"),
        (Key::Serial, "serial"),
        (Key::Bw, "bw"),
        (Key::Iops, "iops"),
        (Key::Fault, "fault"),
    ];
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(options::word(self, &Key::ALL))
    }
}

/// What is wrong with a [`DiskSpec`]: the reason alone, as each surface has its own word for the
/// [`SpecError::key`] that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No usable name of a disk.
    #[error("{0:?} is not usable; take 1 to {MAX_ID} letters, digits, '_', '-' or '.'")]
    Id(String),
    /// No path at all.
    #[error("it is empty; name a raw image or a block device")]
    Path,
    /// No path at all of a base.
    #[error("it is empty; name the image that the overlay is on")]
    Base,
    /// More bases than a disk has.
    #[error("{0} of them; a disk has at most {MOST_BASES}")]
    Bases(usize),
    /// Not what a kernel could look for.
    #[error("{0:?} is not usable; take 1 to {MAX_PARTUUID} letters, digits, '-', '/' or '='")]
    PartUuid(String),
    /// More queues than a disk has, or none.
    #[error("{0} queues; a disk has 1 to {MAX_QUEUES}")]
    Queues(u16),
    /// Not what a controller can say.
    #[error("{0:?} is not usable; take 1 to {MAX_SERIAL} printable ASCII characters")]
    Serial(String),
    /// A fault that only an NVMe controller has.
    #[error("only a disk of model nvme or nvme-instance has it")]
    OnlyNvme,
}

impl SpecError {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            SpecError::Id(_) => Key::Id,
            SpecError::Path => Key::Path,
            SpecError::Base | SpecError::Bases(_) => Key::Base,
            SpecError::PartUuid(_) => Key::PartUuid,
            SpecError::Queues(_) => Key::Queues,
            SpecError::Serial(_) => Key::Serial,
            SpecError::OnlyNvme => Key::Fault,
        }
    }
}

impl DiskSpec {
    /// A disk with defaults on the image at `path`.
    pub fn on(id: &str, path: impl Into<PathBuf>) -> DiskSpec {
        DiskSpec {
            id: id.to_string(),
            path: path.into(),
            bases: Vec::new(),
            read_only: false,
            root: None,
            model: Model::Virtio,
            queues: None,
            cache: Cache::Writeback,
            direct: false,
            engine: Engine::Auto,
            serial: None,
            limits: Allowed::default(),
            faults: Vec::new(),
        }
    }

    /// Where its bytes are.
    pub fn source(&self) -> Source<'_> {
        Source { path: &self.path, bases: &self.bases }
    }

    /// What the guest can read as the serial number: as given, or the id as far as it fits.
    pub fn serial_or_id(&self) -> String {
        let given = self.serial.clone();
        given.unwrap_or_else(|| self.id.chars().take(MAX_SERIAL).collect())
    }

    /// Checks every field by itself and against the others. Fails with what is found wrong first.
    pub fn validate(&self) -> Result<(), SpecError> {
        if !is_usable_id(&self.id) {
            return Err(SpecError::Id(self.id.clone()));
        }
        if self.path.as_os_str().is_empty() {
            return Err(SpecError::Path);
        }
        if self.bases.iter().any(|base| base.as_os_str().is_empty()) {
            return Err(SpecError::Base);
        }
        if self.bases.len() > MOST_BASES {
            return Err(SpecError::Bases(self.bases.len()));
        }
        if let Some(Root::Partition(uuid)) = &self.root {
            // It becomes a part of the kernel's command line.
            let usable = |c: char| c.is_ascii_alphanumeric() || "-/=".contains(c);
            if uuid.is_empty() || uuid.len() > MAX_PARTUUID || !uuid.chars().all(usable) {
                return Err(SpecError::PartUuid(uuid.clone()));
            }
        }
        if let Some(queues) = self.queues.filter(|queues| !(1..=MAX_QUEUES).contains(queues)) {
            return Err(SpecError::Queues(queues));
        }
        if let Some(serial) = &self.serial {
            let printable = |c: char| c.is_ascii_graphic() || c == ' ';
            if serial.is_empty() || serial.len() > MAX_SERIAL || !serial.chars().all(printable) {
                return Err(SpecError::Serial(serial.clone()));
            }
        }
        let only_nvme = |fault: &Fault| matches!(fault, Fault::Vanish | Fault::Fatal);
        if self.model == Model::Virtio && self.faults.iter().any(only_nvme) {
            return Err(SpecError::OnlyNvme);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;
