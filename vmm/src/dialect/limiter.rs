//! Rate limiters: token buckets, as the rates that they come to.

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

/// A rate: `size` tokens each `refill_time`. No limit if one of them is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    pub size: u64,
    /// Milliseconds.
    pub refill_time: u64,
    /// Accepted; what may go at once is always what the rate gives in 10 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
}

impl TokenBucket {
    /// Whether it limits anything.
    pub fn limits(&self) -> bool {
        self.size != 0 && self.refill_time != 0
    }
}

/// What the bucket called `name`, if it is given, comes to in a second, each of its tokens being so many `units`;
/// the inner `None` is no limit. Fails if that is no number from 1 to 2^64.
pub fn per_second(
    field: &'static str,
    name: &str,
    bucket: Option<TokenBucket>,
    units: (u64, &str),
) -> Result<Option<Option<u64>>, BodyError> {
    let Some(bucket) = bucket else { return Ok(None) };
    if !bucket.limits() {
        return Ok(Some(None));
    }
    let (units, unit) = units;
    let rate = u128::from(bucket.size) * u128::from(units) * 1000 / u128::from(bucket.refill_time);
    match u64::try_from(rate) {
        Ok(0) => Err(bad(field, format!("{name} is below one {unit} a second"))),
        Ok(rate) => Ok(Some(Some(rate))),
        Err(_) => Err(bad(field, format!("{name} is too large"))),
    }
}
