//! Tests of what people type and read.

use super::*;

fn parse(args: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(["vmm ctl", "sock"].into_iter().chain(args.split_whitespace()))
}

#[test]
fn commands_are_taken_with_json_before_or_behind() {
    assert!(parse("info --json").unwrap().json);
    assert!(parse("--json info").unwrap().json);
    let flow = parse("explain-flow eth0 tcp 10.0.0.1:5 [fe80::1]:80").unwrap();
    assert!(matches!(flow.command, Command::ExplainFlow { .. }));
    for wrong in [
        "",
        "dance",
        "explain-flow eth0 tcp 10.0.0.1 10.0.0.2",
        "capture e f --stop",
        "capture e --ring",
        "latency e maybe",
        "disk",
        "disk d shrink",
        "disk d fault",
        "disk d fault explode",
        "disk d replace",
        "disks d",
        "top --every 0",
        "memory now",
        "balloon 5",
        "balloon 1K",
        "balloon -1M",
        "snapshot",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_disk_is_shown_or_changed() {
    let disk = |args: &str| match parse(args).unwrap().command {
        Command::Disk { id, change } if id == "data" => change,
        other => panic!("{other:?}"),
    };
    assert!(disk("disk data").is_none());
    assert!(matches!(disk("disk data resize --json"), Some(DiskChange::Resize)));
    assert!(matches!(disk("disk data replace b.raw"), Some(DiskChange::Replace { .. })));
    for word in ["swallow", "error", "slow", "vanish", "fatal"] {
        let Some(DiskChange::Fault { fault }) = disk(&format!("disk data fault {word}")) else {
            panic!("{word}")
        };
        let body = json!({ "fault": fault.to_possible_value().unwrap().get_name() });
        let read: Result<crate::dialect::drives::DiskFaultBody, _> =
            crate::dialect::read(body.to_string().as_bytes());
        assert_eq!(serde_json::to_value(read.unwrap().fault).unwrap(), word);
    }
    let shown = show::disks(&json!([{
        "drive_id": "data", "model": "nvme", "size": 3u64 << 30, "is_read_only": true, "cache": "unsafe",
        "engine": "uring", "running": true, "in_flight": 7, "path_on_host": "evil\u{1b}[2J",
    }]));
    let line = shown.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line, ["data", "nvme", "3G", "ro", "unsafe", "uring", "yes", "7", "evil?[2J"]);
}

#[test]
fn a_capture_is_asked_for_by_an_absolute_path() {
    let args = parse("capture eth0 x.pcapng --queue 3 --ring").unwrap();
    let body = capture(std::path::Path::new("x.pcapng"), &args.command).unwrap();
    assert!(body["path"].as_str().unwrap().starts_with('/'));
    assert_eq!(
        (&body["queue"], &body["ring"], &body["max_bytes"]),
        (&3.into(), &true.into(), &Value::Null)
    );
    let read: Result<crate::dialect::flow::Capture, _> =
        crate::dialect::read(body.to_string().as_bytes());
    assert_eq!(read.unwrap().into_spec().1.queue, Some(3));
}

#[test]
fn what_the_guest_says_cannot_command_the_terminal() {
    let nic = json!({ "id": "eth0", "driver": { "about": "evil\u{1b}[2J" }, "pairs": [] });
    let shown = show::nic(&nic);
    assert!(shown.contains("evil?[2J") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn memory_is_shown_in_mib_unless_that_is_not_all_of_it() {
    let shown = |machine| show::info(&json!({ "config": { "machine-config": machine } }));
    assert!(shown(json!({ "mem_size_mib": 64 })).contains("memory in MiB  64\n"));
    let exact = shown(json!({ "mem_size_mib": 64, "mem_size_kib": 65540 }));
    assert!(exact.contains("memory in KiB  65540\n"), "{exact}");
}

#[test]
fn the_balloon_takes_an_amount_in_whole_mib() {
    let size = |args: &str| match parse(args).unwrap().command {
        Command::Balloon { size } => size.map(|size| size.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(size("balloon"), None);
    assert_eq!(size("balloon 0"), Some(0));
    assert_eq!(size("balloon 2048K --json"), Some(2));
    assert_eq!(size("balloon 2G"), Some(2048));
}

#[test]
fn memory_is_shown_or_takes_what_is_to_be_plugged() {
    let size = |args: &str| match parse(args).unwrap().command {
        Command::Memory { size } => size.map(|size| size.0),
        other => panic!("{other:?}"),
    };
    assert_eq!((size("memory"), size("memory 0"), size("memory 1G")), (None, Some(0), Some(1024)));
}

#[test]
fn what_memory_comes_to_is_shown_in_mib() {
    let memory = json!({
        "size": 512u64 << 20, "resident": 1_572_864, "anonymous": null, "swapped": 0,
        "balloon": { "target": 1 << 20, "actual": 4096, "given_back": 0 },
        "hotplug": { "total": 1u64 << 30, "requested": 0, "plugged": 2 << 20 },
    });
    let shown = show::memory(&memory);
    for line in [
        "memory of the guest  512.0 MiB",
        "resident             1.5 MiB",
        "of that anonymous    -",
        "is plugged           2.0 MiB",
    ] {
        assert!(shown.lines().any(|given| given == line), "{line} is not in\n{shown}");
    }
    let balloon = show::balloon(&json!({
        "amount_mib": 5, "stats_polling_interval_s": 1, "statistics": { "free_memory": 7 },
    }));
    assert!(balloon.starts_with(&format!("{:<28}5\n", "amount in MiB")), "{balloon}");
    assert!(balloon.ends_with("\nfree_memory  7\n"), "{balloon}");
}

#[test]
fn whatever_an_answer_lacks_is_shown_as_missing() {
    let empty = json!({});
    for show in [
        show::info,
        show::disks,
        show::disk,
        show::disk_size,
        show::nics,
        show::nic,
        show::rss,
        show::explained,
        show::capture,
        show::latency,
        show::memory,
        show::balloon,
    ] {
        show(&empty);
        show(&Value::Null);
    }
    let flow = json!({ "hash": 255, "queue": 2, "vcpus": [1] });
    assert!(show::explained(&flow).contains("0x000000ff"));
}
