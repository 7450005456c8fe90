//! All that can be asked of a machine that runs, under filters that end it at the first call too many.

use super::House;

/// Method, path, body, and the answer's status. The guest has no drivers: what needs one is refused.
const ASKED: &[(&str, &str, &str, u16)] = &[
    ("GET", "/", "", 200),
    ("GET", "/version", "", 200),
    ("GET", "/vm/config", "", 200),
    ("GET", "/machine-config", "", 200),
    ("GET", "/memory", "", 200),
    ("GET", "/metrics", "", 200),
    ("GET", "/vsock", "", 200),
    ("GET", "/openapi.json", "", 200),
    ("PUT", "/mmds", r#"{"a":{"b":"c"}}"#, 204),
    ("PATCH", "/mmds", r#"{"a":{"d":1}}"#, 204),
    ("GET", "/mmds", "", 200),
    // Once for each engine.
    ("GET", "/drives", "", 200),
    ("PATCH", "/drives/disk0", r#"{"drive_id":"disk0","path_on_host":"image2"}"#, 204),
    ("PATCH", "/drives/disk1", r#"{"drive_id":"disk1","path_on_host":"image0"}"#, 204),
    ("PATCH", "/drives/disk0", r#"{"drive_id":"disk0","path_on_host":"image2"}"#, 204),
    ("PATCH", "/drives/disk0", r#"{"drive_id":"disk0","path_on_host":"/etc/passwd"}"#, 400),
    ("PATCH", "/drives/disk0", r#"{"drive_id":"disk0","path_on_host":"."}"#, 400),
    (
        "PATCH",
        "/drives/disk1",
        r#"{"drive_id":"disk1","rate_limiter":{"ops":{"size":10,"refill_time":1000}}}"#,
        204,
    ),
    ("POST", "/drives/disk0/refresh", "", 200),
    ("PUT", "/drives/disk0/faults", r#"{"fault":"slow"}"#, 204),
    ("DELETE", "/drives/disk0/faults", "", 204),
    ("GET", "/drives/disk1", "", 200),
    // Once for a TAP, once for an interface.
    ("GET", "/network-interfaces/eth0", "", 200),
    ("GET", "/network-interfaces/eth1", "", 200),
    ("GET", "/network-interfaces/eth0/rss", "", 400),
    ("PUT", "/network-interfaces/eth0/capture", r#"{"path":"eth0.pcapng"}"#, 204),
    ("PUT", "/network-interfaces/eth1/capture", r#"{"path":"eth1.pcapng"}"#, 204),
    ("PUT", "/network-interfaces/eth1/capture", r#"{"path":"/etc/new"}"#, 400),
    ("GET", "/network-interfaces/eth0/capture", "", 200),
    ("DELETE", "/network-interfaces/eth0/capture", "", 200),
    ("DELETE", "/network-interfaces/eth1/capture", "", 200),
    ("PUT", "/network-interfaces/eth0/link", r#"{"up":false}"#, 204),
    ("PUT", "/network-interfaces/eth0/link", r#"{"up":true}"#, 204),
    ("PUT", "/network-interfaces/eth0/latency", r#"{"on":true}"#, 204),
    ("GET", "/network-interfaces/eth0/latency", "", 200),
    (
        "PATCH",
        "/network-interfaces/eth0",
        r#"{"iface_id":"eth0","rx_rate_limiter":{"ops":{"size":10,"refill_time":1000}}}"#,
        204,
    ),
    (
        "PATCH",
        "/pmem/pmem0",
        r#"{"id":"pmem0","rate_limiter":{"ops":{"size":10,"refill_time":1000}}}"#,
        204,
    ),
    ("GET", "/balloon", "", 200),
    ("PATCH", "/balloon", r#"{"amount_mib":8}"#, 204),
    ("PUT", "/actions", r#"{"action_type":"FlushMetrics"}"#, 204),
    ("PUT", "/actions", r#"{"action_type":"SendCtrlAltDel"}"#, 204),
    ("PUT", "/actions", r#"{"action_type":"PowerButton"}"#, 204),
    ("PATCH", "/vm", r#"{"state":"Paused"}"#, 204),
    ("PUT", "/actions", r#"{"action_type":"FlushMetrics"}"#, 204),
    ("PATCH", "/drives/disk1", r#"{"drive_id":"disk1","path_on_host":"image1"}"#, 204),
    ("PATCH", "/vm", r#"{"state":"Resumed"}"#, 204),
    // What is possible before the start only.
    ("PUT", "/logger", r#"{"log_path":"late.log"}"#, 400),
    ("PUT", "/metrics", r#"{"metrics_path":"late.json"}"#, 400),
    ("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#, 400),
    ("PUT", "/actions", r#"{"action_type":"Kill"}"#, 204),
];

#[test]
fn nothing_that_can_be_asked_of_a_machine_trips_a_filter() {
    let house = House::new();
    let image2 = std::fs::File::create(house.scene.path("image2")).unwrap();
    image2.set_len(1 << 20).unwrap();
    let more =
        ["--metrics-path", "metrics.json", "--imds", "--log-file", "log", "--log-level", "trace"];
    let process = house.start("none", "none", &more);
    let mut api = house.scene.running();
    for (method, path, body, status) in ASKED {
        let answer = api.ask(method, path, body);
        let errors = house.scene.read("errors");
        let answer =
            answer.unwrap_or_else(|error| panic!("{method} {path} {body}: {error}: {errors}"));
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer:?}");
    }
    let status = super::end(process);
    assert_eq!(status.code(), Some(0), "{}", house.scene.read("errors"));
}
