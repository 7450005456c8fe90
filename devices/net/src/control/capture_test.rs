//! Tests of what can be said of a capture.

use super::*;

#[test]
fn nothing_but_an_empty_object_need_be_said() {
    let spec: CaptureSpec = serde_json::from_str("{}").unwrap();
    assert_eq!(spec, CaptureSpec::default());
    assert!(spec.validate(1).is_ok());
    let spec = r#"{"queue": 1, "direction": "out", "ring": true, "max_bytes": 65536}"#;
    let spec: CaptureSpec = serde_json::from_str(spec).unwrap();
    assert_eq!((spec.queue, spec.direction, spec.ring), (Some(1), Some(Way::Out), true));
    assert!(serde_json::from_str::<CaptureSpec>(r#"{"snaplen": 1}"#).is_err());
}

#[test]
fn each_bound_is_told_with_its_field() {
    let good = CaptureSpec::default();
    let cases = [
        (CaptureSpec { queue: Some(2), ..good }, "queue 2 cannot be captured"),
        (CaptureSpec { snap_len: 13, ..good }, "snap_len 13"),
        (CaptureSpec { max_bytes: 1, ..good }, "max_bytes 1"),
        (CaptureSpec { max_bytes: MAX_RING_BYTES + 1, ring: true, ..good }, "ring mode"),
        (CaptureSpec { max_seconds: 0, ..good }, "max_seconds 0"),
        (CaptureSpec { max_seconds: MAX_SECONDS + 1, ..good }, "max_seconds 604801"),
    ];
    for (spec, said) in cases {
        let error = spec.validate(2).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let file = CaptureSpec { max_bytes: MAX_RING_BYTES + 1, queue: Some(1), ..good };
    assert!(file.validate(2).is_ok());
}
