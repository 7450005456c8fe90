//! Tests of reading test output.

use super::*;

const OUTPUT: &str = "\
running 5 tests
test boots::with_one_cpu     ... ok
test boots::with_two_cpus ... FAILED
test needs_kvm ... ignored, no hardware KVM
test src/lib.rs - x (line 3) ... ok
test slow ... ignored
test here    ... ignored (not there)
a test of nothing ... ok
test result: FAILED. 2 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out
";

fn tally() -> Tally {
    let mut tally = Tally::default();
    OUTPUT.lines().for_each(|line| drop(tally.read(line)));
    tally
}

#[test]
fn every_result_is_counted_once() {
    assert_eq!(tally().to_string(), "2 passed, 1 failed, 3 skipped");
}

#[test]
fn a_result_below_other_output_is_still_its_tests() {
    let mut tally = Tally::default();
    assert_eq!(tally.read("test noisy ... a child's last words"), None);
    assert_eq!(tally.read("more of them"), None);
    assert_eq!(tally.read("FAILED"), Some("noisy".to_owned()));
    assert_eq!(tally.read("FAILED"), None, "it was told of already");
    assert_eq!((tally.failed.len(), tally.passed.len()), (1, 0));
}

#[test]
fn failures_and_skips_have_names_and_reasons() {
    assert_eq!(tally().failed, ["boots::with_two_cpus"]);
    assert_eq!(
        tally().skipped,
        ["needs_kvm: no hardware KVM", "slow: no reason given", "here: not there"]
    );
}

#[test]
fn sums_say_where_a_name_comes_from() {
    let mut sum = Tally::default();
    sum.add("unit", &tally());
    sum.add("integration", &tally());
    assert_eq!(sum.passed.len(), 4);
    assert_eq!(sum.failed, ["unit: boots::with_two_cpus", "integration: boots::with_two_cpus"]);
}
