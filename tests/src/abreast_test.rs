//! Tests of running jobs side by side.

use super::run;
use crate::tally::Tally;

#[test]
fn each_job_is_done_once_and_told() {
    let jobs: Vec<_> = (0..20).collect();
    let tally = run(&jobs, |_, job| Tally {
        passed: if job % 2 == 0 { vec![job.to_string()] } else { Vec::new() },
        failed: if job % 2 == 1 { vec![job.to_string()] } else { Vec::new() },
        ..Tally::default()
    });
    let told = |names: Vec<String>| {
        let mut names: Vec<u32> = names.iter().map(|name| name.parse().unwrap()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(told(tally.passed), (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(told(tally.failed), (1..20).step_by(2).collect::<Vec<_>>());
}

#[test]
fn no_job_is_nothing() {
    assert_eq!(run(&[], |_, _: &()| unreachable!()), Tally::default());
}
