//! Tests of the table: which face a command line speaks to, and what it comes to there.

use super::*;
use crate::vm::spec::DeviceBus;

fn faced(words: &str) -> (&'static str, Vec<String>) {
    let (face, words) = of(words.split_whitespace().map(OsString::from).collect());
    (face.name, words.into_iter().map(|word| word.into_string().unwrap()).collect())
}

fn firecracker(words: &str) -> Orders {
    let words = format!("firecracker {words}");
    let words = words.split_whitespace().map(OsString::from).collect();
    (FIRECRACKER.orders)(words).unwrap_or_else(|_| panic!("it is refused"))
}

#[test]
fn the_programs_name_or_its_first_word_decides() {
    for (words, name, rest) in [
        ("vmm --mem 1G", "vmm", "vmm --mem 1G"),
        ("/usr/bin/firecracker --id a", "firecracker", "/usr/bin/firecracker --id a"),
        ("firecracker firecracker", "firecracker", "firecracker firecracker"),
        ("vmm firecracker --id a", "firecracker", "firecracker --id a"),
        ("firecracker-1.16 --id a", "vmm", "firecracker-1.16 --id a"),
        ("vmm --id firecracker", "vmm", "vmm --id firecracker"),
        ("", "vmm", ""),
        // What a jailer says comes first.
        (
            "vmm --id a --ready-fd 9 restore s --paused",
            "vmm",
            "vmm restore --id a --ready-fd 9 s --paused",
        ),
        (
            "/vmm --id restore --start-time-us 1 receive unix:/s",
            "vmm",
            "/vmm receive --id restore --start-time-us 1 unix:/s",
        ),
        ("vmm --id a firecracker --no-api", "firecracker", "firecracker --id a --no-api"),
        ("vmm --id restore --mem 1G", "vmm", "vmm --id restore --mem 1G"),
        ("vmm --mem 1G restore", "vmm", "vmm --mem 1G restore"),
        ("vmm --id", "vmm", "vmm --id"),
    ] {
        let rest: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
        assert_eq!(faced(words), (name, rest), "{words}");
    }
}

#[test]
fn machines_that_come_from_elsewhere_are_told_of_their_start_as_all_are() {
    let jailers = "vmm --id a --start-time-us 1 --start-time-cpu-us 0 --parent-cpu-time-us 2 --ready-fd 9 --thread-groups 7,8";
    for command in ["restore /s", "receive unix:/s", "--api-sock /a"] {
        let words = format!("{jailers} {command}");
        let (face, words) = of(words.split_whitespace().map(OsString::from).collect());
        let orders = (face.orders)(words).unwrap_or_else(|_| panic!("{command} is refused"));
        assert_eq!((orders.id.as_str(), &orders.ready[..]), ("a", &[9][..]), "{command}");
        assert_eq!(orders.thread_groups, "7,8".parse().ok(), "{command}");
        assert!(orders.start_times.process_startup_time_us.is_some(), "{command}");
        assert!(orders.start_times.process_startup_time_cpu_us >= Some(2), "{command}");
    }
}

#[test]
fn what_nobody_says_is_as_in_firecracker() {
    let orders = firecracker("");
    assert_eq!(orders.api_socket, Some("/run/firecracker.socket".into()));
    assert_eq!(orders.id, "anonymous-instance");
    assert_eq!(orders.config.bus, Some(DeviceBus::Mmio));
    assert!(orders.config.grace.is_zero() && orders.config.default_cmdline.contains("nomodule"));
    assert!(orders.actions.is_empty() && orders.config_file.is_none());
    // Behind `--` is what nobody reads.
    assert_eq!(firecracker("--id a -- --id b --floppy").id, "a");
    // With PCI it is up to the kernel's command line.
    assert_eq!(firecracker("--enable-pci").config.bus, None);
    assert_eq!(firecracker("--no-api --config-file f").api_socket, None);
    assert_eq!(firecracker("--http-api-max-payload-size 7").max_body, Some(7));
    let log = firecracker("--level Warning --show-level --module vmm").log;
    assert_eq!((log.level, log.module), (Some(LevelFilter::WARN), Some("vmm".into())));
    assert_eq!((log.show_level, log.show_origin), (Some(true), Some(false)));
}

#[test]
fn each_end_has_a_code_or_a_signal_in_each_face() {
    let triple = End::TripleFault { cpu: 0, rip: None };
    for (end, ours, theirs) in [
        (End::GuestOff, 0, Leave::Exit(0)),
        (End::GuestReset, 3, Leave::Exit(0)),
        (End::Killed, 0, Leave::Exit(0)),
        (triple, 4, Leave::Exit(1)),
        (End::Signal(libc::SIGTERM), 143, Leave::DieBy(libc::SIGTERM)),
        (End::Signal(libc::SIGHUP), 129, Leave::Exit(156)),
    ] {
        assert_eq!((OURS.leave)(&end), Leave::Exit(ours), "{end}");
        assert_eq!((FIRECRACKER.leave)(&end), theirs, "{end}");
    }
    assert_eq!(Leave::DieBy(libc::SIGTERM).code(), 143);
}

#[test]
fn one_slash_at_the_end_is_none_there() {
    let resource =
        |uri: &'static str| (FIRECRACKER.api.resource)(Uri::from_static(uri)).to_string();
    for (uri, meant) in
        [("/vm/", "/vm"), ("/", "/"), ("/vm", "/vm"), ("/vm/?a=b", "/vm/?a=b"), ("/a//", "/a/")]
    {
        assert_eq!(resource(uri), meant);
    }
}
