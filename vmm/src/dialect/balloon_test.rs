//! Tests of the balloon's bodies and answers.

use devices::balloon::{HintStatus, Statistics};

use super::*;
use crate::dialect::read;

fn spec(text: &str) -> BalloonSpec {
    read::<Balloon>(text.as_bytes()).unwrap().into()
}

#[test]
fn a_balloon_of_the_dialect_becomes_one_of_ours_and_back() {
    let least = spec(r#"{"amount_mib":64,"deflate_on_oom":true}"#);
    assert_eq!(least, "64M,oom".parse().unwrap());
    let text = r#"{"amount_mib":0,"deflate_on_oom":false,"stats_polling_interval_s":5,"free_page_hinting":true,"free_page_reporting":true}"#;
    assert_eq!(spec(text), "0,hinting,reporting,stats=5".parse().unwrap());
    assert_eq!(serde_json::to_string(&Balloon::from(&spec(text))).unwrap(), text);
}

#[test]
fn hinting_acknowledges_unless_it_is_told_not_to() {
    let ask = |text: &str| BalloonAsk::from(read::<HintingStart>(text.as_bytes()).unwrap());
    let acknowledges = BalloonAsk::StartHinting { acknowledges: true };
    assert_eq!(BalloonAsk::from(HintingStart::default()), acknowledges);
    // What Firecracker does not know there, it ignores.
    for text in ["{}", r#"{"acknowledge_on_stop":true}"#, r#"{"x":1}"#] {
        assert_eq!(ask(text), acknowledges, "{text}");
    }
    let text = r#"{"acknowledge_on_stop":false}"#;
    assert_eq!(ask(text), BalloonAsk::StartHinting { acknowledges: false });
}

#[test]
fn statistics_have_pages_and_mib_and_of_the_rest_what_the_guest_told() {
    let told = Box::new(Statistics::default());
    let reply = BalloonReply::Statistics { target: 512, actual: 300, told };
    let wanted = json!({
        "target_pages": 512, "actual_pages": 300, "target_mib": 2, "actual_mib": 1,
    });
    assert_eq!(shown(&reply), Some(wanted));
}

#[test]
fn where_hinting_stands_is_told_as_firecracker_does() {
    let status = |guest_cmd| shown(&BalloonReply::Hinting(HintStatus { host_cmd: 2, guest_cmd }));
    assert_eq!(status(None), Some(json!({ "host_cmd": 2, "guest_cmd": null })));
    assert_eq!(status(Some(0)), Some(json!({ "host_cmd": 2, "guest_cmd": 0 })));
    assert_eq!(shown(&BalloonReply::Done), None);
}
