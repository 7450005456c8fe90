//! Tests of what a TAP is asked for by.

use super::*;

#[test]
fn a_tap_has_a_name_and_may_have_queues_and_an_mtu() {
    let tap = |name: &str, queues, mtu| TapSpec { name: name.to_string(), queues, mtu };
    assert_eq!("tap0".parse(), Ok(tap("tap0", 1, None)));
    assert_eq!("vm,mtu=9000,queues=4".parse(), Ok(tap("vm", 4, Some(9000))));
    for wrong in [
        "",
        "a/b",
        ".",
        "a-name-that-is-too-long",
        "t,queues=0",
        "t,queues=65",
        "t,mtu=x",
        "t,mtu",
        "t,,",
        "t,x=1",
    ] {
        wrong.parse::<TapSpec>().unwrap_err();
    }
}
