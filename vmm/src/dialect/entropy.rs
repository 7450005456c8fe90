//! The body of `/entropy`: whether there is a source of entropy, and its limits.

use device_core::limiter::Limits;
use device_core::rate::Quota;
use devices::entropy::EntropySpec;
use serde::{Deserialize, Serialize};

use super::limiter::{RateLimiter, TokenBucket, quota};
use super::{BodyError, bad};
use crate::vm::config::EntropyWish;

/// The source of entropy, which a machine has unless it is turned off, but where Firecracker's command line is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Entropy {
    /// What it gives at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    /// `false` for a machine without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl TryFrom<Entropy> for EntropyWish {
    type Error = BodyError;

    fn try_from(body: Entropy) -> Result<EntropyWish, BodyError> {
        const FIELD: &str = "rate_limiter";
        if body.enabled == Some(false) {
            if body.rate_limiter.is_some() {
                return Err(bad(FIELD, "there is nothing to limit with enabled false"));
            }
            return Ok(EntropyWish::Off);
        }
        let buckets = body.rate_limiter.unwrap_or_default();
        let bytes = quota(FIELD, "bandwidth", buckets.bandwidth, 1)?;
        let operations = quota(FIELD, "ops", buckets.ops, 1)?;
        let limits = Limits { bytes: bytes.flatten(), operations: operations.flatten() };
        Ok(EntropyWish::Given(EntropySpec { limits }))
    }
}

impl Entropy {
    /// As somebody would say it, if he said something.
    pub fn of(wish: &EntropyWish) -> Option<Entropy> {
        let bucket = |quota: Option<Quota>| quota.map(|quota| TokenBucket::of(quota, 1));
        Some(match wish {
            EntropyWish::Off => Entropy { rate_limiter: None, enabled: Some(false) },
            EntropyWish::Usual => return None,
            EntropyWish::Given(EntropySpec { limits }) => {
                let limiter =
                    RateLimiter { bandwidth: bucket(limits.bytes), ops: bucket(limits.operations) };
                let limiter = Some(limiter).filter(|limiter| *limiter != RateLimiter::default());
                Entropy { rate_limiter: limiter, enabled: None }
            }
        })
    }
}

#[cfg(test)]
#[path = "entropy_test.rs"]
mod tests;
