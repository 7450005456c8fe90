//! What is told beside answers: lines of the log and of metrics, a header, names of threads.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tests::api::Served;
use tests::{host, idle};

use super::scene::{Scene, text};

fn lines(scene: &Scene, name: &str) -> Vec<Value> {
    scene.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_log_has_each_request_its_outcome_and_the_reason_of_the_end() {
    let scene = Scene::new();
    let served =
        scene.started(&["--id", "box-1", "--log-path", "log", "--show-level", "--show-log-origin"]);
    let mut api = served.api().unwrap();
    assert_eq!(api.ask("PUT", "/drives/x", "{}").unwrap().status, 400);
    api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
    api.act("Kill").unwrap();
    served.end().unwrap();
    let log = scene.read("log");
    for part in [
        r#"The API server received a Put request on "/boot-source" with body "{\"kernel_image_path\":"#,
        r#"The API server received a Get request on "/"."#,
        r#"The API server received a Patch request on "/vm" with body "{\"state\":\"Paused\"}"."#,
        "The request was executed successfully. Status code: 204 No Content.",
        "API: PUT /drives/x is answered with 400: An error occurred when deserializing",
        "killed by the API",
        "Firecracker exiting successfully. exit_code=0",
    ] {
        assert!(log.contains(part), "{part:?} is not in:\n{log}");
    }
    for line in log.lines() {
        // TIME [ID:THREAD:LEVEL:FILE:LINE] text
        let (time, rest) = line.split_once(" [").unwrap();
        let (head, text) = rest.split_once("] ").unwrap();
        assert!(time.len() == 29 && time.as_bytes()[10] == b'T', "{line}");
        let head: Vec<&str> = head.split(':').collect();
        assert!(head[0] == "box-1" && head.len() == 5 && head[3].ends_with(".rs"), "{line}");
        assert!(["main", "fc_api"].contains(&head[1]) || head[1].starts_with("fc_vcpu "), "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&head[2]) && !text.is_empty(), "{line}");
    }
}

#[test]
fn a_log_without_a_path_goes_to_standard_output_and_tells_no_level_unless_asked() {
    let scene = Scene::new();
    let mut command = scene.firecracker(&["--api-sock", "api", "--config-file", "nowhere"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (log, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(log.contains(" [anonymous-instance:main] error: --config-file: nowhere"), "{log}");
    assert!(
        log.ends_with("[anonymous-instance:main] Firecracker exiting with error. exit_code=1\n"),
        "{log}"
    );
    assert!(said.starts_with("firecracker: error: --config-file: nowhere"), "{said}");
}

#[test]
fn metrics_have_all_groups_and_count_what_came_since_the_line_before() {
    let scene = Scene::new();
    let served = scene.started(&[
        "--metrics-path",
        "metrics",
        "--start-time-us",
        "1",
        "--start-time-cpu-us",
        "1",
    ]);
    let mut api = served.api().unwrap();
    for _ in 0..3 {
        api.get("/").unwrap();
    }
    assert_eq!(api.ask("PATCH", "/drives/none", "{}").unwrap().status, 400);
    api.act("FlushMetrics").unwrap();
    api.act("FlushMetrics").unwrap();
    api.act("Kill").unwrap();
    served.end().unwrap();
    let lines = lines(&scene, "metrics");
    assert_eq!(lines.len(), 4, "at the start, twice when asked, and at the end");
    for line in &lines {
        for group in [
            "api_server",
            "balloon",
            "block",
            "deprecated_api",
            "entropy",
            "get_api_requests",
            "i8042",
            "interrupts",
            "latencies_us",
            "logger",
            "memory_hotplug",
            "mmds",
            "net",
            "patch_api_requests",
            "pmem",
            "put_api_requests",
            "seccomp",
            "signals",
            "uart",
            "vcpu",
            "vmm",
            "vsock",
            "block_rootfs",
            "block_drive_1",
        ] {
            assert!(line[group].is_object(), "{group} in {line}");
        }
        assert_eq!(line["vcpu"]["exit_io_in_agg"]["sum_us"], 0);
        assert!(line["api_server"]["process_startup_time_us"].as_u64() > Some(0));
        assert!(line["utc_timestamp_ms"].as_u64() > Some(1_700_000_000_000));
    }
    let count = |at: usize, group: &str, field: &str| lines[at][group][field].as_u64().unwrap();
    assert_eq!(count(0, "put_api_requests", "boot_source_count"), 1);
    assert_eq!(count(0, "put_api_requests", "drive_count"), 2);
    assert_eq!(
        count(1, "put_api_requests", "boot_source_count"),
        0,
        "what the line before had is over"
    );
    assert_eq!(count(1, "get_api_requests", "instance_info_count"), 3);
    assert_eq!(count(1, "patch_api_requests", "drive_count"), 1);
    assert_eq!(count(1, "patch_api_requests", "drive_fails"), 1);
    assert_eq!(count(2, "get_api_requests", "instance_info_count"), 0);
    assert_eq!(count(2, "put_api_requests", "actions_count"), 1, "the flush before");
}

/// All of an answer, head and body.
fn whole(served: &Served, scene: &Scene, method: &str, path: &str, body: &str) -> String {
    drop(served.api().unwrap());
    let mut client = UnixStream::connect(scene.path("api")).unwrap();
    client.set_read_timeout(Some(host::PATIENCE)).unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
    client.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_head_tells_who_answers_and_what_will_be_gone_one_day() {
    let scene = Scene::new();
    let served = scene.serve(&[]);
    let ask =
        |body: &str| whole(&served, &scene, "PUT", "/machine-config", body).to_ascii_lowercase();
    let plain = ask(r#"{"vcpu_count":1,"mem_size_mib":64}"#);
    assert!(
        plain.starts_with("http/1.1 204 ") && plain.contains("\r\nserver: firecracker api\r\n")
    );
    assert!(!plain.contains("content-type") && !plain.contains("deprecation"), "{plain}");
    let template = ask(r#"{"vcpu_count":1,"mem_size_mib":64,"cpu_template":"None"}"#);
    assert!(template.contains("\r\ndeprecation: true\r\n"), "{template}");
}

#[test]
fn a_body_is_as_large_as_the_command_line_says() {
    let scene = Scene::new();
    let padded = |body: &str, len: usize| format!("{body}{}", " ".repeat(len - body.len()));
    let machine = r#"{"vcpu_count":1,"mem_size_mib":64}"#;
    for (arguments, most) in [(&[][..], 51200), (&["--http-api-max-payload-size", "100"], 100)] {
        let served = scene.serve(arguments);
        let ask = |len| {
            served.api().unwrap().ask("PUT", "/machine-config", &padded(machine, len)).unwrap()
        };
        assert_eq!(ask(most).status, 204);
        let refused = ask(most + 1);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.fault().unwrap().contains(&format!("{most} bytes")), "{refused:?}");
    }
}

#[test]
fn threads_are_called_as_launchers_look_for_them() {
    let scene = Scene::new();
    let served = scene.started(&[]);
    let tasks = fs::read_dir(format!("/proc/{}/task", served.pid())).unwrap();
    let names: Vec<_> =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect();
    for name in ["firecracker\n", "fc_api\n", "fc_vcpu 0\n"] {
        assert!(names.iter().any(|known| known == name), "{name:?} is none of {names:?}");
    }
}

#[test]
fn a_guest_that_is_up_says_so_where_firecracker_listens() {
    host::need_kvm();
    let scene = Scene::new();
    let kernel = idle::punctual(&scene.path("")).unwrap();
    let served = scene.serve(&["--boot-timer", "--log-path", "log"]);
    let mut api = served.api().unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": kernel })).unwrap();
    api.act("InstanceStart").unwrap();
    host::eventually("the log tells the time", host::PATIENCE, || {
        Ok(scene.read("log").contains("] Guest-boot-time = "))
    })
    .unwrap();
}

/// As Kata and others have it: a reader of both is there before the writer, and may go.
#[test]
fn log_and_metrics_may_be_fifos() {
    let scene = Scene::new();
    let fifo = |name: &str| {
        let path = scene.path(name);
        fs::File::options().read(true).write(true).open(path).unwrap()
    };
    let (mut log, mut metrics) = (fifo("log.fifo"), fifo("metrics.fifo"));
    let served = scene.serve(&[]);
    let mut api = served.api().unwrap();
    for (path, field, name) in
        [("/logger", "log_path", "log.fifo"), ("/metrics", "metrics_path", "metrics.fifo")]
    {
        api.done("PUT", path, &json!({ field: text(&scene.path(name)) })).unwrap();
    }
    api.get("/version").unwrap();
    let mut part = [0; 512];
    let len = log.read(&mut part).unwrap();
    assert!(String::from_utf8_lossy(&part[..len]).contains("request"), "lines of the log");
    host::need_kvm();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": scene.path("idle") })).unwrap();
    api.act("InstanceStart").unwrap();
    let len = metrics.read(&mut part).unwrap();
    assert!(part[..len].starts_with(b"{"), "a line of metrics");
    drop((log, metrics));
    api.act("FlushMetrics").unwrap();
    assert_eq!(api.get("/").unwrap()["state"], "Running");
}
