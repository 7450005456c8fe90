//! Tests of the bodies of persistent memory.

use super::*;
use crate::dialect::read;
use crate::vm::pmem::PmemArgument;

fn spec(text: &str) -> Result<PmemSpec, BodyError> {
    read::<Pmem>(text.as_bytes())?.into_spec("p0")
}

#[test]
fn a_body_of_the_dialect_becomes_memory_of_ours_and_back() {
    let ours = |text: &str| text.parse::<PmemArgument>().unwrap().0;
    let text = r#"{"id":"p0","path_on_host":"f"}"#;
    assert_eq!(spec(text), Ok(ours("f,id=p0")));
    let text = r#"{"id":"p0","path_on_host":"f","root_device":true,"read_only":true,
        "rate_limiter":{"bandwidth":{"size":100,"refill_time":100,"one_time_burst":7},
            "ops":{"size":5,"refill_time":1000}}}"#;
    let all = spec(text).unwrap();
    let without_limits = PmemSpec { limits: Limits::default(), ..all.clone() };
    assert_eq!(without_limits, ours("f,id=p0,root,ro"));
    let shown = serde_json::to_value(Pmem::from(&all)).unwrap();
    assert_eq!(shown["rate_limiter"]["bandwidth"]["one_time_burst"], 7);
    assert_eq!(spec(&shown.to_string()), Ok(all));
}

#[test]
fn the_id_is_that_of_the_path() {
    let error = spec(r#"{"id":"p1","path_on_host":"f"}"#).unwrap_err().to_string();
    assert_eq!(error, "id: \"p1\" is not the id in the path, \"p0\"");
}

#[test]
fn a_patch_without_a_limiter_changes_nothing() {
    let patch = |text: &str| read::<PmemPatchBody>(text.as_bytes()).unwrap().into_patch("p0");
    for text in [r#"{"id":"p0"}"#, r#"{"id":"p0","rate_limiter":{}}"#] {
        assert_eq!(patch(text), Ok(PmemPatch::default()), "{text}");
    }
    let text = r#"{"id":"p0","rate_limiter":{"ops":{"size":0,"refill_time":0}}}"#;
    assert_eq!(patch(text), Ok(PmemPatch { bytes: None, operations: Some(None) }));
}
