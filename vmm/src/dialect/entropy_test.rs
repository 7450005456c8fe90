//! Tests of the entropy device's body.

use std::num::NonZeroU64;

use device_core::rate::Bucket;

use super::*;
use crate::dialect::read;

fn wish(text: &str) -> Result<EntropyWish, BodyError> {
    read::<Entropy>(text.as_bytes())?.try_into()
}

fn bucket(size: u64, refill_time: u64) -> Option<Quota> {
    let (size, refill_time) = NonZeroU64::new(size).zip(NonZeroU64::new(refill_time))?;
    Some(Quota::Bucket(Bucket { size, refill_time, one_time_burst: 0 }))
}

#[test]
fn a_body_of_the_dialect_becomes_a_wish_of_ours() {
    for text in ["{}", r#"{"rate_limiter":null}"#, r#"{"rate_limiter":{}}"#, r#"{"enabled":true}"#]
    {
        assert_eq!(wish(text), Ok(EntropyWish::Given(EntropySpec::default())), "{text}");
    }
    // As one of its clients sends it: 1 KiB each 100 ms.
    let text =
        r#"{"rate_limiter":{"bandwidth":{"size":1024,"refill_time":100,"one_time_burst":0}}}"#;
    let limits = Limits { bytes: bucket(1024, 100), operations: None };
    assert_eq!(wish(text), Ok(EntropyWish::Given(EntropySpec { limits })));
    let text = r#"{"rate_limiter":{"ops":{"size":3,"refill_time":1},"bandwidth":{"size":0,"refill_time":0}}}"#;
    let limits = Limits { bytes: None, operations: bucket(3, 1) };
    assert_eq!(wish(text), Ok(EntropyWish::Given(EntropySpec { limits })));
    assert_eq!(wish(r#"{"enabled":false}"#), Ok(EntropyWish::Off));
}

#[test]
fn what_is_shown_can_be_said() {
    let limits = Limits { bytes: bucket(10240, 300), operations: bucket(7, 1000) };
    for wish in [EntropyWish::Off, EntropyWish::Given(EntropySpec { limits })] {
        let text = serde_json::to_string(&Entropy::of(&wish)).unwrap();
        assert_eq!(read::<Entropy>(text.as_bytes()).unwrap().try_into(), Ok(wish), "{text}");
    }
    // A steady rate becomes the bucket that fills in a second.
    let steady = EntropyWish::Given("iops=7".parse().unwrap());
    let text = serde_json::to_string(&Entropy::of(&steady)).unwrap();
    assert_eq!(text, r#"{"rate_limiter":{"ops":{"size":7,"refill_time":1000}}}"#);
    assert!(Entropy::of(&EntropyWish::Usual).is_none(), "nobody said anything");
}
