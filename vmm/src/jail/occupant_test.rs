//! Tests of what is known of who is in a jail.

use super::*;

#[test]
fn a_record_is_read_as_it_was_written() {
    let record = Record {
        process: Some(Process { pid: 4711, began: 815 }),
        groups: vec!["/sys/fs/cgroup/a b/one".into(), "/sys/fs/cgroup/two".into()],
    };
    assert_eq!(Record::parse(&record.text()), record);
    assert_eq!(Record::parse(""), Record::default());
    assert_eq!(Record::parse("process x 1\nprocess 1\nnothing\n"), Record::default());
}

#[test]
fn a_process_began_when_its_status_says_whatever_its_name_is() {
    let fields: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
    let stat = |name: &str| format!("77 ({name}) S {}", fields.join(" "));
    assert_eq!(parse_began(&stat("vmm")), Some(22));
    assert_eq!(parse_began(&stat("a) R 1 2 (b")), Some(22));
    assert_eq!(parse_began("77 (vmm) R 1"), None);
    // Dead, but for threads behind the first.
    let dead = stat("vmm").replace(") S", ") Z");
    assert_eq!(parse_began(&dead), Some(22));
    assert_eq!(parse_began(&dead.replace(" 20 ", " 1 ")), None);
    assert_eq!(parse_began(""), None);
}

#[test]
fn this_process_is_there_and_a_later_one_with_its_pid_is_not() {
    let proc = openat(CWD, "/proc", OFlags::PATH, Mode::empty()).unwrap();
    let pid = std::process::id() as i32;
    let began = began(&proc, pid).unwrap().unwrap();
    assert!(is_there(&proc, Process { pid, began }));
    assert!(!is_there(&proc, Process { pid, began: began + 1 }));
    assert!(!is_there(&proc, Process { pid: i32::MAX, began }));
}
