//! What launchers do, in their order, with their names and waits: in our own words, from what they are known to
//! send. What a machine may not have yet is left out.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::api::{Api, Served};
use tests::host;

use super::scene::Scene;

fn signal(served: &Served, signal: Signal) {
    kill(Pid::from_raw(served.pid() as i32), signal).unwrap();
}

/// A shim for pods that starts from a file, waits until the machine runs, and plugs containers' disks in by
/// giving spare drives their images.
#[test]
fn a_shim_for_pods_waits_for_its_machine_and_gives_spare_drives_images() {
    host::need_kvm();
    let scene = Scene::new();
    let fifo = |name: &str| fs::File::options().read(true).write(true).open(scene.path(name));
    let _readers = [fifo("log.fifo").unwrap(), fifo("metrics.fifo").unwrap()];
    let spares: Vec<Value> = (0..8)
        .map(|nth| {
            let path = scene.path(&format!("drive_{nth}"));
            fs::write(&path, "").unwrap();
            json!({ "drive_id": format!("drive_{nth}"), "path_on_host": path, "is_root_device": false, "is_read_only": false })
        })
        .collect();
    let root = json!({ "drive_id": "rootfs", "path_on_host": scene.path("disk"), "is_root_device": false, "is_read_only": true });
    let drives: Vec<Value> = std::iter::once(root).chain(spares).collect();
    let file = json!({
        "boot-source": { "kernel_image_path": scene.path("idle"), "boot_args": "panic=1 pci=off root=/dev/vda1 ro" },
        "drives": drives,
        "logger": { "log_path": scene.path("log.fifo"), "level": "Debug" },
        "metrics": { "metrics_path": scene.path("metrics.fifo") },
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 128, "smt": false },
        "vsock": { "guest_cid": 3, "uds_path": scene.path("kata.hvsock"), "vsock_id": "root" },
    });
    fs::write(scene.path("fcConfig.json"), file.to_string()).unwrap();
    let version = scene.firecracker(&["--version"]).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(version.split_whitespace().nth(1).unwrap().starts_with("v1."), "{version}");

    let served = scene.serve(&["--config-file", "fcConfig.json"]);
    let mut api = served.api().unwrap();
    while api.get("/").unwrap()["state"] != "Running" {}
    assert!(scene.path("kata.hvsock").exists(), "it is given to another user then");
    let patch = json!({ "drive_id": "drive_3", "path_on_host": scene.path("grown") });
    api.done("PATCH", "/drives/drive_3", &patch).unwrap();
    let drives = api.get("/vm/config").unwrap()["drives"].clone();
    assert_eq!(drives[4]["path_on_host"], json!(scene.path("grown")));
    let back = json!({ "drive_id": "drive_3", "path_on_host": scene.path("drive_3") });
    api.done("PATCH", "/drives/drive_3", &back).unwrap();
    signal(&served, Signal::SIGTERM);
    assert_eq!(served.end().unwrap().signal(), Some(15));
}

/// A runtime that knows no file: requests one after the other, each on a connection of its own, on a socket with
/// two slashes in its path.
#[test]
fn a_runtime_asks_on_a_connection_for_each_request_and_kills_in_the_end() {
    host::need_kvm();
    let scene = Scene::new();
    let socket = scene.path("dir").join("fc.sock");
    let double = format!("{}//fc.sock", scene.path("dir").display());
    let served = Served::start(&mut scene.firecracker(&["--no-seccomp"]), double.as_ref()).unwrap();
    let once = |method: &str, path: &str, body: &Value| {
        Api::connect(&socket).unwrap().done(method, path, body).unwrap();
    };
    once(
        "PUT",
        "/boot-source",
        &json!({ "kernel_image_path": scene.path("idle"), "boot_args": "root=/dev/vda1" }),
    );
    once("PUT", "/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": 128 }));
    let drive = |id: &str, name: &str| json!({ "drive_id": id, "path_on_host": scene.path(name), "is_root_device": false, "is_read_only": false });
    once("PUT", "/drives/rootfs", &drive("rootfs", "disk"));
    for nth in 1..=5 {
        let id = format!("drive{nth}");
        fs::write(scene.path(&id), "").unwrap();
        once("PUT", &format!("/drives/{id}"), &drive(&id, &id));
    }
    once("PUT", "/actions", &json!({ "action_type": "InstanceStart" }));
    let limit = json!({ "bandwidth": { "size": 0, "refill_time": 0 }, "ops": { "size": 0, "refill_time": 0 } });
    let patch =
        json!({ "drive_id": "drive1", "path_on_host": scene.path("grown"), "rate_limiter": limit });
    once("PATCH", "/drives/drive1", &patch);
    signal(&served, Signal::SIGKILL);
    assert_eq!(served.end().unwrap().signal(), Some(9));
}

/// A development kit: log and metrics first, what it has set read back, and SIGTERM if the keys do not end it.
#[test]
fn a_development_kit_sets_log_and_metrics_first_and_reads_back_what_it_set() {
    host::need_kvm();
    let scene = Scene::new();
    let served = scene.serve(&["--id", "b1946ac9-1492-4e57-8c4c-1234567890ab", "--no-seccomp"]);
    let mut api = served.api().unwrap();
    let file = |name: &str| scene.path(name).display().to_string();
    // It asks for this to see whether somebody answers.
    assert_eq!(api.get("/machine-config").unwrap()["vcpu_count"], 1);
    for (path, body) in [
        (
            "/logger",
            json!({ "level": "Debug", "log_path": file("log"), "show_level": true, "show_log_origin": false }),
        ),
        ("/metrics", json!({ "metrics_path": file("metrics") })),
        (
            "/machine-config",
            json!({ "vcpu_count": 2, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false }),
        ),
        (
            "/boot-source",
            json!({ "kernel_image_path": file("idle"), "boot_args": "ro console=ttyS0 noapic reboot=k panic=1 pci=off nomodules" }),
        ),
        (
            "/drives/1",
            json!({ "drive_id": "1", "path_on_host": file("disk"), "is_root_device": true, "is_read_only": false }),
        ),
        (
            "/drives/stub1",
            json!({ "drive_id": "stub1", "path_on_host": file("spare"), "is_root_device": false, "is_read_only": false }),
        ),
        // Who has no address in mind sends 0.
        (
            "/vsock",
            json!({ "guest_cid": 0, "uds_path": file("fc.vsock"), "vsock_id": "agent_api" }),
        ),
        ("/mmds", json!({ "latest": { "meta-data": { "id": "b1946ac9" } } })),
    ] {
        api.done("PUT", path, &body).unwrap();
    }
    let machine = api.get("/machine-config").unwrap();
    assert_eq!((&machine["vcpu_count"], &machine["mem_size_mib"]), (&json!(2), &json!(128)));
    api.act("InstanceStart").unwrap();
    assert_eq!(
        api.get("/").unwrap()["vmm_version"],
        api.get("/version").unwrap()["firecracker_version"]
    );
    // A stub becomes the disk of a container.
    let patch = json!({ "drive_id": "stub1", "path_on_host": file("grown") });
    api.done("PATCH", "/drives/stub1", &patch).unwrap();
    api.act("SendCtrlAltDel").unwrap();
    signal(&served, Signal::SIGTERM);
    assert_eq!(served.end().unwrap().signal(), Some(15));
    assert!(scene.read("log").contains(":DEBUG] ") || scene.read("log").contains(":INFO] "));
}

/// A platform of sandboxes: figures each few seconds from a FIFO, limits changed while it runs.
#[test]
fn a_platform_of_sandboxes_reads_figures_from_a_fifo_and_changes_limits() {
    use std::io::{BufRead, BufReader};
    host::need_kvm();
    let scene = Scene::new();
    let fifo = fs::File::options().read(true).write(true).open(scene.path("metrics.fifo")).unwrap();
    let mut lines = BufReader::new(fifo).lines();
    let served = scene.serve(&[]);
    let mut api = served.api().unwrap();
    let limiter = json!({ "bandwidth": { "size": 1048576, "one_time_burst": 1048576, "refill_time": 1000 },
        "ops": { "size": 1000, "one_time_burst": 0, "refill_time": 1000 } });
    for (path, body) in [
        ("/metrics", json!({ "metrics_path": scene.path("metrics.fifo") })),
        (
            "/boot-source",
            json!({ "kernel_image_path": scene.path("idle"), "boot_args": "quiet loglevel=1 ip=::::h:eth0:off reboot=k panic=1 pci=off random.trust_cpu=on init=/sbin/init" }),
        ),
        (
            "/drives/rootfs",
            json!({ "drive_id": "rootfs", "path_on_host": scene.path("disk"), "is_root_device": true, "is_read_only": false, "io_engine": "Async", "rate_limiter": limiter }),
        ),
        (
            "/machine-config",
            json!({ "vcpu_count": 2, "mem_size_mib": 128, "smt": true, "track_dirty_pages": false }),
        ),
    ] {
        api.done("PUT", path, &body).unwrap();
    }
    api.act("InstanceStart").unwrap();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["put_api_requests"]["machine_cfg_count"], 1);
    for _ in 0..3 {
        api.act("FlushMetrics").unwrap();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(line["net"]["rx_bytes_count"].is_u64() && line["block_rootfs"].is_object());
    }
    let patch = json!({ "drive_id": "rootfs", "rate_limiter": { "bandwidth": { "size": 0, "refill_time": 0 } } });
    api.done("PATCH", "/drives/rootfs", &patch).unwrap();
    let shown = api.get("/vm/config").unwrap()["drives"][0]["rate_limiter"].clone();
    assert_eq!((&shown["bandwidth"], &shown["ops"]["size"]), (&Value::Null, &json!(1000)));
    api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
    api.done("PATCH", "/vm", &json!({ "state": "Resumed" })).unwrap();
    signal(&served, Signal::SIGTERM);
    assert_eq!(served.end().unwrap().signal(), Some(15));
}
