//! `/drives/{id}`: disks, their images and limits.

use std::path::PathBuf;

use devices::block::spec::{Allowed, Cache, DiskSpec, Engine, Fault, Model, Root};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(test)]
use super::limiter::QuotaSchema;
use super::limiter::{self, RateLimiter};
use super::{BodyError, bad, check_id};
use crate::vm::disk::DiskView;
use crate::vm::patch::{DiskLimitPatch, DiskPatch};

/// A disk.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The disk's name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("rootfs")))]
    pub drive_id: String,
    /// Whether the kernel is told that its root file system is there. The machine's first disk is the root.
    pub is_root_device: bool,
    /// The image: a raw file, a block device of the host, or an overlay.
    #[serde(default)]
    pub path_on_host: Option<String>,
    /// What is below the image, if that is an overlay: overlays, the nearest first, and in the end a raw image or a
    /// block device. None of them is ever written; an overlay that is not there is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_paths_on_host: Vec<String>,
    /// Whether it is never written.
    #[serde(default)]
    pub is_read_only: Option<bool>,
    /// The partition with the root file system, by its UUID; the whole disk if not given. Of no matter unless it
    /// is the root.
    #[serde(default)]
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9/=-]{1,64}$"))]
    pub partuuid: Option<String>,
    /// What a flush promises; `Unsafe` if neither it nor `cache` is given.
    #[serde(default)]
    pub cache_type: Option<CacheType>,
    /// How requests reach the host; see `engine`.
    #[serde(default)]
    pub io_engine: Option<IoEngine>,
    /// What passes at most, both ways together.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
    /// Not possible here.
    #[serde(default)]
    pub socket: Option<String>,
    /// What the guest sees.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = DiskModel))]
    pub model: Model,
    /// Queues; as many as vCPUs if not given, and two at least for NVMe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 64))]
    pub queues: Option<u16>,
    /// In place of `cache_type`: what a completed write or flush promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<CacheMode>))]
    pub cache: Option<Cache>,
    /// Whether reads and writes go past the host's page cache.
    #[serde(default)]
    pub direct: bool,
    /// In place of `io_engine`; `auto` if neither is given: io_uring, or threads where the host has none for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<EngineName>))]
    pub engine: Option<Engine>,
    /// What the guest reads as the disk's serial number; made from its id if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(pattern = "^[ -~]{1,20}$"))]
    pub serial: Option<String>,
    /// Limits; not together with a rate limiter of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<DiskAllowances>))]
    pub allowances: Option<Allowed>,
    /// What goes wrong on purpose, from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schema(value_type = Vec<DiskFault>))]
    pub faults: Vec<Fault>,
}

/// What to change of a disk whose machine lives; what is not given stays.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DrivePatch {
    /// The disk's name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("rootfs")))]
    pub drive_id: String,
    /// The image that takes the old one's place; the same one if it has grown.
    #[serde(default)]
    pub path_on_host: Option<String>,
    /// What is below that, if it is an overlay.
    #[serde(default)]
    pub base_paths_on_host: Vec<String>,
    /// What passes at most, both ways together.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
    /// Limits, which replace all there were.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Option<DiskAllowances>))]
    pub allowances: Option<Allowed>,
}

/// What a flush promises.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum CacheType {
    /// Nothing: flushes end at once.
    Unsafe,
    /// That what was written survives a power cut.
    Writeback,
}

/// How requests reach the host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum IoEngine {
    /// By threads that wait for the host.
    Sync,
    /// By io_uring.
    Async,
}

/// Something to go wrong until it is cleared.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiskFaultBody {
    #[cfg_attr(test, schema(value_type = DiskFault))]
    pub fault: Fault,
}

/// What a disk is to the guest.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes Model, which another crate reads")]
pub enum DiskModel {
    /// A virtio block device.
    Virtio,
    /// An NVMe controller, as EC2 has it for its volumes.
    Nvme,
    /// An NVMe controller, as EC2 has it for instance store.
    NvmeInstance,
}

/// What a completed write or flush promises.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes Cache, which another crate reads")]
pub enum CacheMode {
    /// What was flushed survives a power cut.
    Writeback,
    /// Each completed write does.
    Writethrough,
    /// Nothing does: flushes end at once.
    Unsafe,
}

/// How requests reach the host.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes Engine, which another crate reads")]
pub enum EngineName {
    /// By io_uring, or by threads where the host has none for us.
    Auto,
    /// By io_uring, or not at all.
    Uring,
    /// By threads that wait for the host.
    Threads,
}

/// What a disk does wrong.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes Fault, which another crate reads")]
pub enum DiskFault {
    /// Requests are taken and never completed.
    Swallow,
    /// Requests fail as if the medium had.
    Error,
    /// Each request takes a second longer.
    Slow,
    /// The controller answers no more. NVMe alone has it.
    Vanish,
    /// The controller says that it has failed. NVMe alone has it.
    Fatal,
}

/// Limits of a disk; what is not given is not limited.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes Allowed, which another crate reads")]
pub struct DiskAllowances {
    /// Bytes, both ways together.
    bw: Option<QuotaSchema>,
    /// Requests, of all kinds together.
    iops: Option<QuotaSchema>,
}

/// What a limiter and allowances together say to change, checked against each other.
fn limit_patch(
    limiter: Option<RateLimiter>,
    allowances: Option<Allowed>,
) -> Result<DiskLimitPatch, BodyError> {
    const FIELD: &str = "rate_limiter";
    let buckets = limiter.unwrap_or_default();
    for (bucket, field, limit) in [
        (buckets.bandwidth, "allowances.bw", allowances.and_then(|allowed| allowed.bw)),
        (buckets.ops, "allowances.iops", allowances.and_then(|allowed| allowed.iops)),
    ] {
        if bucket.is_some() && limit.is_some() {
            return Err(bad(FIELD, format!("{field} says the same; give one of them")));
        }
    }
    Ok(DiskLimitPatch {
        all: allowances,
        bw: limiter::quota(FIELD, "bandwidth", buckets.bandwidth, 1)?,
        iops: limiter::quota(FIELD, "ops", buckets.ops, 1)?,
    })
}

/// What one of two fields says, if one of them says it.
fn either<T>(
    theirs: Option<T>,
    ours: Option<T>,
    (theirs_is, ours_is): (&str, &'static str),
) -> Result<Option<T>, BodyError> {
    if theirs.is_some() && ours.is_some() {
        return Err(bad(ours_is, format!("{theirs_is} is given too; give one of them")));
    }
    Ok(theirs.or(ours))
}

/// Paths as they are opened.
pub fn paths(texts: Vec<String>) -> Vec<PathBuf> {
    texts.into_iter().map(PathBuf::from).collect()
}

/// Paths as they are shown.
pub fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

impl Drive {
    /// The disk that was asked for under `path_id`.
    pub fn into_spec(self, path_id: &str) -> Result<DiskSpec, BodyError> {
        check_id("drive_id", path_id, &self.drive_id)?;
        if self.socket.is_some() {
            let why = "it is not possible; disks of other processes (vhost-user) do not exist here";
            return Err(bad("socket", why));
        }
        let path = self.path_on_host.ok_or_else(|| bad("path_on_host", "it is missing"))?;
        let cache = self.cache_type.map(|cache| match cache {
            CacheType::Unsafe => Cache::Unsafe,
            CacheType::Writeback => Cache::Writeback,
        });
        let engine = self.io_engine.map(|engine| match engine {
            IoEngine::Sync => Engine::Threads,
            IoEngine::Async => Engine::Uring,
        });
        let limits = limit_patch(self.rate_limiter, self.allowances)?;
        let root = match (self.is_root_device, self.partuuid) {
            (true, Some(uuid)) => Some(Root::Partition(uuid)),
            (true, None) => Some(Root::Disk),
            (false, _) => None,
        };
        Ok(DiskSpec {
            id: self.drive_id,
            path: path.into(),
            bases: paths(self.base_paths_on_host),
            read_only: self.is_read_only.unwrap_or_default(),
            root,
            model: self.model,
            queues: self.queues,
            cache: either(cache, self.cache, ("cache_type", "cache"))?.unwrap_or(Cache::Unsafe),
            direct: self.direct,
            engine: either(engine, self.engine, ("io_engine", "engine"))?.unwrap_or_default(),
            serial: self.serial,
            limits: limits.apply(&Allowed::default()),
            faults: self.faults,
        })
    }
}

/// In the dialect's own fields, where they can say it.
impl From<&DiskSpec> for Drive {
    fn from(disk: &DiskSpec) -> Drive {
        let (cache_type, cache) = match disk.cache {
            Cache::Unsafe => (Some(CacheType::Unsafe), None),
            Cache::Writeback => (Some(CacheType::Writeback), None),
            Cache::Writethrough => (None, Some(Cache::Writethrough)),
        };
        let io_engine = match disk.engine {
            Engine::Auto => None,
            Engine::Uring => Some(IoEngine::Async),
            Engine::Threads => Some(IoEngine::Sync),
        };
        Drive {
            drive_id: disk.id.clone(),
            is_root_device: disk.root.is_some(),
            path_on_host: Some(disk.path.display().to_string()),
            base_paths_on_host: texts(&disk.bases),
            is_read_only: Some(disk.read_only),
            partuuid: match &disk.root {
                Some(Root::Partition(uuid)) => Some(uuid.clone()),
                Some(Root::Disk) | None => None,
            },
            cache_type,
            io_engine,
            rate_limiter: None,
            socket: None,
            model: disk.model,
            queues: disk.queues,
            cache,
            direct: disk.direct,
            engine: None,
            serial: disk.serial.clone(),
            allowances: Some(disk.limits).filter(|limits| *limits != Allowed::default()),
            faults: disk.faults.clone(),
        }
    }
}

/// All about a disk: what can be said when it is asked for, and in what state it is if its machine lives. What is
/// said by both is as it is.
pub fn shown(disk: &DiskView) -> serde_json::Result<Value> {
    let mut all = serde_json::to_value(Drive::from(&disk.spec))?;
    if let (Value::Object(all), Some(state)) = (&mut all, &disk.state)
        && let Value::Object(state) = serde_json::to_value(state)?
    {
        all.extend(state);
    }
    Ok(all)
}

impl DrivePatch {
    /// The change that was asked for under `path_id`.
    pub fn into_patch(self, path_id: &str) -> Result<DiskPatch, BodyError> {
        check_id("drive_id", path_id, &self.drive_id)?;
        let DrivePatch { path_on_host: path, base_paths_on_host, rate_limiter, allowances, .. } =
            self;
        if path.is_none() && !base_paths_on_host.is_empty() {
            return Err(bad("path_on_host", "it is missing: bases are below an image"));
        }
        if path.is_none() && rate_limiter.is_none() && allowances.is_none() {
            return Err(bad("path_on_host", "it is missing, and so is anything else to change"));
        }
        let (path, bases) = (path.map(Into::into), paths(base_paths_on_host));
        Ok(DiskPatch { path, bases, limits: limit_patch(rate_limiter, allowances)? })
    }
}
