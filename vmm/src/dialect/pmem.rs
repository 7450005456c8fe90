//! `/pmem/{id}`: files as memory of the guest.

use device_core::limiter::Limits;
use device_core::rate::Quota;
use devices::pmem::PmemSpec;
use serde::{Deserialize, Serialize};

use super::limiter::{RateLimiter, TokenBucket, quota};
use super::{BodyError, check_id};
use crate::vm::pmem::PmemPatch;

/// Persistent memory: a file in the guest's address space.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Pmem {
    /// Its name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("pmem0")))]
    pub id: String,
    /// The file, or a block device of the host. A file that is written becomes a multiple of 2 MiB.
    pub path_on_host: String,
    /// Whether the kernel is told that its root file system is there.
    #[serde(default)]
    pub root_device: bool,
    /// Whether it is never written.
    #[serde(default)]
    pub read_only: bool,
    /// How often it is flushed at most; each time costs as many bytes as it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// What to change of persistent memory; what is not given stays.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename = "PmemPatch")]
#[cfg_attr(test, schema(as = PmemPatch))]
pub struct PmemPatchBody {
    /// Its name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("pmem0")))]
    pub id: String,
    /// How often it is flushed at most.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}

fn patch(limiter: Option<RateLimiter>) -> Result<PmemPatch, BodyError> {
    const FIELD: &str = "rate_limiter";
    let buckets = limiter.unwrap_or_default();
    Ok(PmemPatch {
        bytes: quota(FIELD, "bandwidth", buckets.bandwidth, 1)?,
        operations: quota(FIELD, "ops", buckets.ops, 1)?,
    })
}

impl Pmem {
    /// What was asked for under `path_id`.
    pub fn into_spec(self, path_id: &str) -> Result<PmemSpec, BodyError> {
        check_id("id", path_id, &self.id)?;
        let limits = patch(self.rate_limiter)?.apply(Limits::default());
        Ok(PmemSpec {
            id: self.id,
            path: self.path_on_host.into(),
            read_only: self.read_only,
            root: self.root_device,
            limits,
        })
    }
}

impl From<&PmemSpec> for Pmem {
    fn from(spec: &PmemSpec) -> Pmem {
        let bucket = |quota: Option<Quota>| quota.map(|quota| TokenBucket::of(quota, 1));
        let limiter = RateLimiter {
            bandwidth: bucket(spec.limits.bytes),
            ops: bucket(spec.limits.operations),
        };
        Pmem {
            id: spec.id.clone(),
            path_on_host: spec.path.display().to_string(),
            root_device: spec.root,
            read_only: spec.read_only,
            rate_limiter: Some(limiter).filter(|limiter| *limiter != RateLimiter::default()),
        }
    }
}

impl PmemPatchBody {
    /// The change that was asked for under `path_id`.
    pub fn into_patch(self, path_id: &str) -> Result<PmemPatch, BodyError> {
        check_id("id", path_id, &self.id)?;
        patch(self.rate_limiter)
    }
}

#[cfg(test)]
#[path = "pmem_test.rs"]
mod tests;
