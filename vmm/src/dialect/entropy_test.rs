//! Tests of the entropy device's body.

use super::*;
use crate::dialect::read;

fn wish(text: &str) -> Result<EntropyWish, BodyError> {
    read::<Entropy>(text.as_bytes())?.try_into()
}

#[test]
fn a_body_of_the_dialect_becomes_a_wish_of_ours() {
    let given = |text: &str| Ok(EntropyWish::Given(text.parse().unwrap()));
    for text in ["{}", r#"{"rate_limiter":null}"#, r#"{"rate_limiter":{}}"#, r#"{"enabled":true}"#]
    {
        assert_eq!(wish(text), Ok(EntropyWish::Given(EntropySpec::default())), "{text}");
    }
    // As one of its clients sends it: 1 KiB each 100 ms.
    let text =
        r#"{"rate_limiter":{"bandwidth":{"size":1024,"refill_time":100,"one_time_burst":0}}}"#;
    assert_eq!(wish(text), given("bw=10240"));
    let text = r#"{"rate_limiter":{"ops":{"size":3,"refill_time":1},"bandwidth":{"size":0,"refill_time":0}}}"#;
    assert_eq!(wish(text), given("iops=3k"));
    assert_eq!(wish(r#"{"enabled":false}"#), Ok(EntropyWish::Off));
}

#[test]
fn what_is_shown_can_be_said() {
    let off = EntropyWish::Off;
    let limited = EntropyWish::Given("bw=10240,iops=7".parse().unwrap());
    for wish in [off, limited] {
        let text = serde_json::to_string(&Entropy::of(&wish)).unwrap();
        assert_eq!(read::<Entropy>(text.as_bytes()).unwrap().try_into(), Ok(wish), "{text}");
    }
    assert!(Entropy::of(&EntropyWish::Usual).is_none(), "nobody said anything");
}
