//! Devices that come into a machine that is shut in, and leave it, again and again: nothing of them stays.

use std::fs::{self, File};

use serde_json::{Value, json};

use super::{House, end};

const ROUNDS: usize = 100;
/// After so many all threads are there that are used again.
const SETTLED: usize = 2;

/// What a process has.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

fn held(pid: u32) -> Held {
    let count = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap().count();
    Held { threads: count("task"), descriptors: count("fd") }
}

/// KiB that are nowhere else.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A path of the API, and what comes there.
fn devices() -> Vec<(&'static str, Value)> {
    let disk = |id: &str, image: &str, model: &str, engine: &str| json!({ "drive_id": id, "path_on_host": image, "is_root_device": false, "model": model, "io_engine": engine });
    let card = |id: &str, tap: &str, model: &str| json!({ "iface_id": id, "host_dev_name": tap, "model": model });
    let several = json!({ "iface_id": "several", "host_dev_name": "tap2", "queues": 2 });
    vec![
        ("drives/late0", disk("late0", "late0", "virtio", "Sync")),
        ("drives/late1", disk("late1", "late1", "nvme", "Sync")),
        ("pmem/late2", json!({ "id": "late2", "path_on_host": "late2" })),
        ("network-interfaces/card", card("card", "tap1", "virtio")),
        ("network-interfaces/several", several),
    ]
}

#[test]
fn a_hundred_devices_of_each_kind_leave_no_thread_descriptor_or_memory_behind() {
    let mut house = House::new();
    house.network.tap(1, 1500).unwrap();
    house.network.tap(2, 1500).unwrap();
    for image in ["late0", "late1", "late2"] {
        File::create(house.scene.path(image)).unwrap().set_len(2 << 20).unwrap();
    }
    let process = house.start("none", "none", &[]);
    let mut api = house.scene.running();
    // A guest that rests is not asked.
    api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
    let mut before = None;
    for round in 0..ROUNDS {
        for (path, body) in devices() {
            let done = api.done("PUT", &format!("/{path}"), &body);
            done.unwrap_or_else(|error| {
                panic!("{round}: {error:#}: {}", house.scene.read("errors"))
            });
        }
        let there = api.get("/devices").unwrap();
        assert_eq!(there.as_array().unwrap().len(), 8 + devices().len(), "{there}");
        for (path, _) in devices() {
            let answer = api.ask("DELETE", &format!("/{path}"), "").unwrap();
            assert_eq!(answer.status, 204, "{round} {path}: {answer:?}");
        }
        if round == SETTLED {
            before = Some((held(process.pid()), anonymous(process.pid())));
        }
    }
    let (before, memory) = before.unwrap();
    assert_eq!(held(process.pid()), before);
    let grown = anonymous(process.pid()).saturating_sub(memory);
    assert!(grown < 1024, "it has {grown} KiB more");
    api.done("PATCH", "/vm", &json!({ "state": "Resumed" })).unwrap();
    api.done("PUT", "/actions", &json!({ "action_type": "Kill" })).unwrap();
    assert_eq!(end(process).code(), Some(0), "{}", house.scene.read("errors"));
}

/// What is refused leaves the machine as it was, and the one who builds.
#[test]
fn what_cannot_be_built_is_refused_and_the_machine_goes_on() {
    let house = House::new();
    let process = house.start("none", "none", &[]);
    let mut api = house.scene.running();
    File::create(house.scene.path("late")).unwrap().set_len(2 << 20).unwrap();
    let disk = |path: &str, more: Value| {
        let mut disk = json!({ "drive_id": "late", "path_on_host": path, "is_root_device": false });
        disk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        disk
    };
    let card = |field: &str, value: Value| json!({ "iface_id": "late", field: value });
    let settled = held(process.pid());
    for (path, body, said) in [
        ("drives", disk("/etc/passwd", json!({})), "--allow-path"),
        ("drives", disk("nothing", json!({})), "cannot open nothing"),
        ("drives", disk("late", json!({ "engine": "uring" })), "io_uring"),
        ("network-interfaces", card("host_interface", json!("veth1")), "--seccomp off"),
        ("network-interfaces", card("host_fds", json!([7])), "--seccomp off"),
        ("network-interfaces", card("host_dev_name", json!("lo")), "lo"),
    ] {
        let answer = api.ask("PUT", &format!("/{path}/late"), &body.to_string()).unwrap();
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.fault().unwrap().contains(said), "{body}: {answer:?}");
    }
    assert_eq!(api.get("/devices").unwrap().as_array().unwrap().len(), 8);
    assert_eq!(held(process.pid()).descriptors, settled.descriptors);
    api.done("PUT", "/actions", &json!({ "action_type": "Kill" })).unwrap();
    assert_eq!(end(process).code(), Some(0), "{}", house.scene.read("errors"));
}
