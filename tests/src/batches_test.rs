//! Tests of sharing out tests.

use super::*;

const RULES: Rules = Rules { runners: 2, batch: 3, least: 1, tries_if_lost: 3, tries_if_failed: 2 };

fn names(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("test {n}")).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn passing(batch: &[String]) -> Tally {
    Tally { passed: batch.to_vec(), ..Tally::default() }
}

#[test]
fn every_test_is_run_once() {
    let sizes = Mutex::new(Vec::new());
    let tally = run(names(8), &RULES, |_, batch| {
        sizes.lock().unwrap().push(batch.len());
        passing(batch)
    });
    assert_eq!(sorted(tally.passed), names(8));
    assert_eq!(tally.failed, [""; 0]);
    let mut sizes = sizes.into_inner().unwrap();
    sizes.sort();
    assert_eq!(sizes, [1, 1, 1, 1, 2, 2]);
}

#[test]
fn many_tests_go_in_large_batches_until_few_are_left() {
    let sizes = Mutex::new(Vec::new());
    let rules = Rules { runners: 1, ..RULES };
    run(names(12), &rules, |_, batch| {
        sizes.lock().unwrap().push(batch.len());
        passing(batch)
    });
    assert_eq!(sizes.into_inner().unwrap(), [3, 3, 3, 2, 1]);
}

#[test]
fn no_batch_is_smaller_than_is_worth_a_start_unless_no_more_is_left() {
    let sizes = Mutex::new(Vec::new());
    let rules = Rules { runners: 1, least: 2, ..RULES };
    run(names(7), &rules, |_, batch| {
        sizes.lock().unwrap().push(batch.len());
        passing(batch)
    });
    assert_eq!(sizes.into_inner().unwrap(), [3, 2, 2]);
}

#[test]
fn what_a_runner_loses_is_run_again_alone_and_what_it_never_began_as_before() {
    let batches = Mutex::new(Vec::new());
    let rules = Rules { runners: 1, ..RULES };
    let tally = run(names(6), &rules, |_, batch| {
        let mut batches = batches.lock().unwrap();
        batches.push(batch.to_vec());
        passing(if batches.len() == 1 { &batch[..1] } else { batch })
    });
    assert_eq!(sorted(tally.passed), names(6));
    let batches: Vec<_> =
        batches.into_inner().unwrap().iter().map(|batch| batch.join(", ")).collect();
    assert_eq!(batches, ["test 0, test 1, test 2", "test 3, test 4, test 5", "test 1", "test 2"]);
    assert_eq!(tally.repeated, ["test 1 (try 1 was lost with its runner)"]);
}

#[test]
fn a_test_that_is_always_lost_fails_at_last() {
    let count = Mutex::new(0);
    let tally = run(names(1), &RULES, |_, _| {
        *count.lock().unwrap() += 1;
        Tally::default()
    });
    assert_eq!((tally.failed, tally.passed), (names(1), vec![]));
    assert_eq!(count.into_inner().unwrap(), 3);
}

#[test]
fn a_failure_is_believed_when_it_repeats() {
    let tally =
        run(names(1), &RULES, |_, batch| Tally { failed: batch.to_vec(), ..Tally::default() });
    assert_eq!(tally.failed, names(1));
    assert_eq!(tally.repeated, ["test 0 (try 1 failed)"]);
}

#[test]
fn skipped_tests_keep_their_reason() {
    let tally = run(names(1), &RULES, |_, _| Tally {
        skipped: vec!["test 0: no KVM".to_owned()],
        ..Tally::default()
    });
    assert_eq!(tally.skipped, ["test 0: no KVM"]);
    assert_eq!(tally.repeated, [""; 0]);
}

#[test]
fn one_runner_begins_with_the_first_tests_and_another_with_the_last() {
    let mut state = State {
        waiting: names(9).into_iter().map(|name| Test { name, tried: 0 }).collect(),
        tally: Tally::default(),
    };
    let mut take = |runner| -> Vec<String> {
        state.take(runner, &RULES).into_iter().map(|test| test.name).collect()
    };
    assert_eq!(take(0), ["test 0", "test 1", "test 2"]);
    assert_eq!(take(1), ["test 7", "test 8"]);
    assert_eq!(take(1), ["test 6"]);
    assert_eq!(take(0), ["test 3"]);
}
