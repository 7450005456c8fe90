//! Rate limiters: token buckets.

use std::num::NonZeroU64;

use device_core::rate::{Bucket, Quota};
use serde::{Deserialize, Serialize};

use super::{BodyError, bad};

/// What passes at most: one way of a card, or both of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimiter {
    /// Tokens are bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Tokens are requests of a disk, or packets of a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// A bucket, full at first, of `size` tokens that come in `refill_time`. No limit if one of them is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    pub size: u64,
    /// Milliseconds.
    pub refill_time: u64,
    /// Tokens besides that are taken first and never come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
}

impl TokenBucket {
    /// The bucket of which one token is so many `units` of `quota`; one that fills in a second, where it is only known
    /// what passes in one.
    pub fn of(quota: Quota, units: u64) -> TokenBucket {
        let bucket = match quota {
            Quota::Bucket(bucket) => bucket,
            Quota::Steady(size) => Bucket { size, refill_time: SECOND, one_time_burst: 0 },
        };
        let once = Some(bucket.one_time_burst).filter(|once| *once > 0);
        let (size, time) = (bucket.size.get(), bucket.refill_time.get());
        let (size, refill_time) = match size.is_multiple_of(units) {
            true => (size.checked_div(units).unwrap_or(size), time),
            // As many tokens as units, in so many times the time.
            false => (size, time.saturating_mul(units)),
        };
        TokenBucket {
            size,
            refill_time,
            one_time_burst: once.and_then(|once| once.checked_div(units)),
        }
    }
}

const SECOND: NonZeroU64 = NonZeroU64::new(1000).unwrap();

/// What the bucket called `name`, if it is given, lets through, each of its tokens being so many `units`;
/// the inner `None` is no limit. Fails if that are more units than a number holds.
pub fn quota(
    field: &'static str,
    name: &str,
    bucket: Option<TokenBucket>,
    units: u64,
) -> Result<Option<Option<Quota>>, BodyError> {
    let Some(TokenBucket { size, refill_time, one_time_burst }) = bucket else { return Ok(None) };
    let too_large = || bad(field, format!("{name} is too large"));
    let of_tokens = |tokens: u64| tokens.checked_mul(units).ok_or_else(too_large);
    let (size, once) = (of_tokens(size)?, of_tokens(one_time_burst.unwrap_or_default())?);
    let (size, refill_time) = (NonZeroU64::new(size), NonZeroU64::new(refill_time));
    Ok(Some(size.zip(refill_time).map(|(size, refill_time)| {
        Quota::Bucket(Bucket { size, refill_time, one_time_burst: once })
    })))
}

/// A limit: a number per second, evenly, or a bucket.
#[cfg(test)]
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = Quota)]
#[expect(dead_code, reason = "describes Quota, which another crate reads")]
pub enum QuotaSchema {
    /// So many a second; what that gives in 10 ms may go at once.
    Steady(u64),
    /// A bucket of which a token is one of what is limited.
    Bucket(TokenBucket),
}
