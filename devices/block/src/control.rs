//! What may be asked of any disk while its machine lives: to look in, and to steer.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use device_core::files::Files;
use device_core::histogram::Summary;
use serde::{Serialize, Serializer};

use crate::image::Source;
use crate::spec::{Allowed, Cache, Engine, Fault, Model};
use crate::stats::Stretches;

/// A disk, as the one who runs the machine sees it.
///
/// Any thread may call but a lane's or the slow thread. What is set here outlives the guest's resets.
pub trait DiskControl: Send + Sync {
    /// The disk's name, unique in the machine.
    fn id(&self) -> &str;

    /// A picture of the disk's state at one moment.
    fn inspect(&self) -> Inspection;

    /// How long requests took on each stretch of their way, since the machine was built.
    fn timings(&self) -> Stretches<Summary>;

    /// What has completed is to survive a power cut, as far as the cache mode promises that of a flush. Waits for the
    /// host; what it fails is lost, and the guest's later flushes say so.
    fn sync(&self);

    /// Has the file of an overlay know what that has, so that another can open it; of other images that is so in any
    /// case. For who is about to let the disk go, and has no request under way.
    fn write_map(&self);

    /// Lets go of the lock on the image, which is still open: another process is to have it. Only while no request is
    /// under way, and none may be until [`DiskControl::take_back`].
    fn let_go(&self);

    /// Takes the lock on the image again, if it is free, or ours still. False if somebody else has it. Fails if the host
    /// does.
    fn take_back(&self) -> io::Result<bool>;

    /// Looks at the image's size again, and tells the guest if it has changed. Says what it is now, in bytes.
    fn refresh(&self) -> Result<u64, ChangeError>;

    /// Takes the image at `source`, which `files` opens, in the old one's place, once requests in flight have ended,
    /// and tells the guest. Fails, with the old one in place, if it is not to be had.
    fn replace(&self, source: &Source<'_>, files: &dyn Files) -> Result<(), ChangeError>;

    /// What the disk may do at most.
    fn allowed(&self) -> Allowed;

    /// Replaces all limits, from the next request on.
    fn limit(&self, allowed: &Allowed);

    /// What goes wrong on purpose.
    fn faults(&self) -> Vec<Fault>;

    /// Makes something go wrong, until it is cleared. Fails if the disk's model has no such fault.
    fn inject(&self, fault: Fault) -> Result<(), NoSuchFault>;

    /// Good behaviour again, as far as the driver still lives; what was swallowed completes.
    fn clear_faults(&self);
}

/// A fault that a disk cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a virtio disk has no fault of this kind; it needs a disk with model nvme")]
pub struct NoSuchFault;

/// Why a disk stays as it is. Says what is wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(pub String);

impl ChangeError {
    /// What failed, and all its causes.
    pub fn of(error: &dyn Error) -> ChangeError {
        let (mut line, mut cause) = (error.to_string(), error.source());
        while let Some(error) = cause {
            line.push_str(&format!(": {error}"));
            cause = error.source();
        }
        ChangeError(line)
    }
}

/// A disk's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The disk's name.
    pub id: String,
    /// What the guest sees.
    pub model: Model,
    /// The image.
    #[serde(serialize_with = "in_letters")]
    pub path: PathBuf,
    /// What is below it, the nearest first, if it is an overlay.
    #[serde(serialize_with = "each_in_letters", skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<PathBuf>,
    /// Bytes of the disk that the overlay itself has, if it is one; they are taken in whole clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay_bytes: Option<u64>,
    /// Bytes of it that the guest sees.
    pub size: u64,
    /// It is never written.
    pub read_only: bool,
    /// What a completed write or flush promises.
    pub cache: Cache,
    /// Reads and writes go past the host's page cache.
    pub direct: bool,
    /// How requests reach the host; never `auto`.
    pub engine: Engine,
    /// What the guest reads as its serial number.
    pub serial: String,
    /// What it may do at most.
    pub limits: Allowed,
    /// What goes wrong on purpose.
    pub faults: Vec<Fault>,
    /// A driver has its queues in work.
    pub running: bool,
    /// Requests in flight.
    pub in_flight: u64,
    /// Counters of all queues by name, since the machine was built.
    #[serde(serialize_with = "by_name")]
    pub counters: Vec<(String, u64)>,
    /// How long requests take.
    pub latency: Latency,
    /// How long they take on each stretch of their way.
    pub stretches: Stretches<Latency>,
}

/// How long something takes, in nanoseconds: that many of a hundred requests take no longer, in the slowest queue. Zeroes before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// 50 of 100.
    pub p50_ns: u64,
    /// 90 of 100.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// All.
    pub max_ns: u64,
}

/// A path may be no text.
fn in_letters<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn each_in_letters<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

fn by_name<S: Serializer>(counters: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counters.iter().map(|(name, count)| (name, count)))
}
