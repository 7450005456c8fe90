//! Session tokens: signed, so that nothing of them need be kept.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use device_core::counters::SharedCounter;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How long a token may live.
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 1..=21_600;
/// Most characters of a token that are looked at.
const MOST_CHARACTERS: usize = 70;

/// Version of the form, serial number, end of life in milliseconds since the key was made.
const BODY: usize = 20;
const FORM: [u8; 4] = *b"vmm1";
/// A signature is HMAC-SHA-256 (RFC 2104), cut to half (5).
const SIGNATURE: usize = 16;

/// Who makes tokens and knows them again.
pub struct Tokens {
    key: [u8; 64],
    /// What no other machine has.
    instance: String,
    born: Instant,
    made: SharedCounter,
}

impl Tokens {
    /// With a `key` that nobody can foresee, for the machine `instance`. Tokens of another key or machine
    /// are worth nothing.
    pub fn new(key: [u8; 64], instance: &str, now: Instant) -> Tokens {
        Tokens { key, instance: instance.to_string(), born: now, made: SharedCounter::default() }
    }

    /// A new token that is good for `ttl`.
    pub fn make(&self, ttl: Duration, now: Instant) -> String {
        let end = self.age(now).saturating_add(millis(ttl));
        let mut token = FORM.to_vec();
        token.extend(self.made.increment().to_be_bytes());
        token.extend(end.to_be_bytes());
        let signature = self.signature(&token).finalize().into_bytes();
        token.extend(signature.iter().take(SIGNATURE));
        STANDARD.encode(token)
    }

    /// Whether `token` is one of ours and still good.
    pub fn is_good(&self, token: &str, now: Instant) -> bool {
        if token.len() > MOST_CHARACTERS {
            return false;
        }
        let Ok(token) = STANDARD.decode(token) else { return false };
        let Some((body, signature)) = token.split_at_checked(BODY) else { return false };
        let Some(end) = body.last_chunk::<8>().map(|end| u64::from_be_bytes(*end)) else {
            return false;
        };
        // Takes the same time wherever they differ.
        let is_ours = signature.len() == SIGNATURE
            && self.signature(body).verify_truncated_left(signature).is_ok();
        is_ours && self.age(now) < end
    }

    fn age(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born))
    }

    fn signature(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut signature = <Hmac<Sha256> as Mac>::new(&self.key.into());
        signature.update(body);
        signature.update(self.instance.as_bytes());
        signature
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "token_test.rs"]
mod tests;
