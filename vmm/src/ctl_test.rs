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
        "top --every 0",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
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
fn whatever_an_answer_lacks_is_shown_as_missing() {
    let empty = json!({});
    for show in [
        show::info,
        show::nics,
        show::nic,
        show::rss,
        show::explained,
        show::capture,
        show::latency,
    ] {
        show(&empty);
        show(&Value::Null);
    }
    let flow = json!({ "hash": 255, "queue": 2, "vcpus": [1] });
    assert!(show::explained(&flow).contains("0x000000ff"));
}
