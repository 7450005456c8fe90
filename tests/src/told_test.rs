//! Tests of what the integration tests tell.

use super::*;

#[test]
fn what_is_told_is_read_as_it_was_and_nothing_else_is() {
    let time = Duration::from_millis(12_300);
    for told in [
        Told::Took { time, test: "a::test [6.1 s: x]".to_owned() },
        Told::Guests { booted: 3, restored: 14 },
    ] {
        assert_eq!(Told::read(&told.to_string()), Some(told));
    }
    for line in ["test a ... ok", "took -1 s: x", "took long", "guests booted and restored: 3"] {
        assert_eq!(Told::read(line), None, "{line}");
    }
}
