//! Tests of the counters that need no KVM.

use super::*;

#[test]
fn changes_are_told_and_the_rest_is_not() {
    let counters = |list: &[(&str, f64)]| {
        Counters(list.iter().map(|&(name, count)| (name.to_owned(), count)).collect())
    };
    let before = counters(&[("exits", 10.0), ("waits", 3.0)]);
    let after = counters(&[("exits", 15.0), ("waits", 3.0), ("new", 1.0)]);
    assert_eq!(after.since(&before), [("exits".to_owned(), 5.0), ("new".to_owned(), 1.0)]);
}

#[test]
fn threads_of_this_process_are_counted() {
    let mut counters = Counters::default();
    counters.threads(std::process::id()).unwrap();
    assert!(counters.0.keys().any(|name| name.ends_with(": waits")));
    assert!(counters.0.keys().any(|name| name.ends_with(": user, s")));
}
