//! The API from outside: requests that make no sense, requests at the wrong time, and its socket's life.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::api::{Api, Served};
use tests::host;
use tests::idle;
use tests::machine::Hypervisor;

/// A request that is refused with 400, and a part of what is said. `{good}` stands for a kernel's path.
struct Row(&'static str, &'static str, &'static str, &'static str);

const BOOT: &str = "/boot-source";
const MACHINE: &str = "/machine-config";
const DRIVE: &str = "/drives/rootfs";
const NIC: &str = "/network-interfaces/eth0";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("GET", "/nothing", "", "there is no resource /nothing"),
    Row("GET", "//", "", "there is no resource //"),
    Row("GET", "/vm/", "", "there is no resource /vm/"),
    Row("GET", "/?x=1", "", "takes no query"),
    Row("GET", "/", "{}", "a GET has no body"),
    Row("POST", "/", "", "POST is not possible on /; GET is"),
    Row("BREW", "/vm", "", "BREW is not possible on /vm; GET or PATCH is"),
    Row("DELETE", "/actions", "", "DELETE is not possible on /actions; PUT is"),
    Row("PUT", "/vsock", "{}", "missing field `guest_cid`"),
    Row("GET", "/vsock", "", "showing the vsock is not possible: the machine is not started"),
    Row("PUT", "/mmds/config", "{}", "missing field `network_interfaces`"),
    Row("PUT", "/mmds/config", r#"{"network_interfaces":[]}"#, "The list of network interface IDs that allow forwarding MMDS requests is empty."),
    Row("PUT", "/mmds/config", r#"{"network_interfaces":["nobody"]}"#, "contains at least one ID that does not correspond to any existing network interface."),
    Row("PUT", "/mmds/config", r#"{"network_interfaces":["first"],"ipv4_address":"10.0.0.1"}"#, "The MMDS IPv4 address is not link local."),
    Row("PUT", "/mmds", "{", "EOF while parsing"),
    Row("PATCH", "/mmds", "{}", "The MMDS data store is not initialized."),
    Row("DELETE", "/mmds", "", "DELETE is not possible on /mmds; PUT or PATCH or GET is"),
    Row("GET", "/balloon", "", "balloon: there is none"),
    Row("PATCH", "/balloon", r#"{"amount_mib":1}"#, "working with the balloon is not possible: the machine is not started"),
    Row("PATCH", "/balloon", r#"{"amount_mib":1,"stats_polling_interval_s":1}"#, "unknown field `stats_polling_interval_s`"),
    Row("PUT", "/balloon", r#"{"amount_mib":1}"#, "missing field `deflate_on_oom`"),
    Row("PUT", "/balloon", r#"{"amount_mib":4294967295,"deflate_on_oom":true}"#, "balloon: the amount of pages requested is too large: 4294967295 MiB"),
    Row("PUT", "/balloon", r#"{"amount_mib":-1,"deflate_on_oom":true}"#, "amount_mib: invalid value: integer `-1`"),
    Row("GET", "/balloon/statistics", "", "the machine is not started"),
    Row("PATCH", "/balloon/statistics", "{}", "missing field `stats_polling_interval_s`"),
    Row("PATCH", "/balloon/hinting/start", "", "the machine is not started"),
    Row("PATCH", "/balloon/hinting/start", r#"{"acknowledge_on_stop":1}"#, "acknowledge_on_stop: invalid type: integer `1`"),
    Row("POST", "/balloon/hinting/stop", "", "POST is not possible on /balloon/hinting/stop; PATCH is"),
    Row("PUT", "/hotplug/memory", r#"{"total_size_mib":1000}"#, "memory-hotplug: Total size must be a multiple of slot size (128 MiB)"),
    Row("PUT", "/hotplug/memory", r#"{"total_size_mib":1024,"requested_size_mib":1025}"#, "memory-hotplug: Size 1025 is invalid"),
    Row("GET", "/hotplug/memory", "", "plugging memory is not possible: the machine is not started"),
    Row("PUT", "/entropy", "", "the body is missing"),
    Row("PUT", "/entropy", r#"{"enabled":false,"rate_limiter":{}}"#, "rate_limiter: there is nothing to limit"),
    Row("PUT", "/snapshot/create", "{}", "missing field `snapshot_path`"),
    Row("PUT", "/snapshot/create", r#"{"snapshot_path":"s","mem_file_path":"m"}"#, "the machine is not started"),
    Row("PUT", "/snapshot/create", r#"{"snapshot_path":"s","mem_file_path":"m","snapshot_type":"Diff"}"#, "the machine is not started"),
    Row("PUT", "/snapshot/load", r#"{"snapshot_path":"s"}"#, "missing field: either `mem_backend` or `mem_file_path`"),
    Row("PUT", "/migration", r#"{"destination":"unix:/s"}"#, "migrating is not possible: the machine is not started"),
    Row("PUT", "/migration", r#"{"destination":"host"}"#, "destination: \"host\": write unix:PATH"),
    Row("PUT", "/migration", r#"{"destination":"unix:/s","max_rounds":0}"#, "max_rounds: it can be 1 to 1000"),
    Row("DELETE", "/migration", "", "stopping a migration is not possible: the machine is not started"),
    Row("PUT", "/fork", "{}", "forking is not possible: the machine is not started"),
    Row("PUT", "/fork", r#"{"count":"3"}"#, "count: invalid type: string \"3\""),
    Row("PUT", "/fork", r#"{"drive_overrides":[{"drive_id":"d"}]}"#, "drive_overrides[0]: missing field `path_on_host`"),
    Row("PUT", "/cpu-config", r#"{"cpuid_modifiers":[{"leaf":"x","subleaf":"0","flags":0,"modifiers":[]}]}"#, "cpuid_modifiers: \"x\" is no number"),
    Row("PUT", "/cpu-config", r#"{"msr_modifiers":[{"addr":"1","bitmap":"1"}]}"#, "msr_modifiers: \"1\" is no bitmap"),
    Row("PUT", "/pmem/a", "{}", "missing field `id`"),
    Row("PUT", "/pmem/a", r#"{"id":"b","path_on_host":"x"}"#, "id: \"b\" is not the id in the path"),
    Row("PUT", "/pmem/a", r#"{"id":"a","path_on_host":"/nowhere/p"}"#, "pmem/a: cannot open /nowhere/p"),
    Row("PATCH", "/pmem/a", r#"{"id":"a"}"#, "the machine is not started"),
    Row("PUT", BOOT, "", "the body is missing"),
    Row("PUT", BOOT, "{", "EOF while parsing"),
    Row("PUT", BOOT, "[\"{good}\", null, null]", "a JSON object is expected"),
    Row("PUT", BOOT, "\"{good}\"", "a JSON object is expected"),
    Row("PUT", BOOT, "{}", "missing field `kernel_image_path`"),
    Row("PUT", BOOT, r#"{"kernel_image_path":7}"#, "kernel_image_path: invalid type: integer `7`"),
    Row("PUT", BOOT, r#"{"kernel_image_path":""}"#, "kernel_image_path"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"/nowhere/k"}"#, "kernel_image_path: kernel /nowhere/k does not exist"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"/tmp"}"#, "is a directory"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"/dev/zero"}"#, "no regular file"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"/proc/self/exe"}"#, "kernel_image_path"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"{good}","initrd_path":"/nowhere/i"}"#, "initrd_path: initrd /nowhere/i does not exist"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"{good}","boot_args":"a=ü"}"#, "boot_args: the kernel command line has the character"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"{good}","boot_args":"a\u0000"}"#, "boot_args: the kernel command line has a NUL"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"{good}","speed":1}"#, "unknown field `speed`"),
    Row("PUT", BOOT, r#"{"kernel_image_path":"{good}"} x"#, "trailing characters"),
    Row("PUT", MACHINE, "{}", "missing field `vcpu_count`"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1}"#, "missing field `mem_size_mib`"),
    Row("PUT", MACHINE, r#"{"vcpu_count":0,"mem_size_mib":64}"#, "vcpu_count: 0 vCPUs; a machine has 1 to 64"),
    Row("PUT", MACHINE, r#"{"vcpu_count":65,"mem_size_mib":64}"#, "vcpu_count: 65 vCPUs"),
    Row("PUT", MACHINE, r#"{"vcpu_count":256,"mem_size_mib":64}"#, "vcpu_count: invalid value: integer `256`"),
    Row("PUT", MACHINE, r#"{"vcpu_count":-1,"mem_size_mib":64}"#, "vcpu_count: invalid value: integer `-1`"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1.5,"mem_size_mib":64}"#, "vcpu_count: invalid type: floating point"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":0}"#, "mem_size_mib: 0 bytes is too little"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":"64M"}"#, "mem_size_mib: invalid type: string \"64M\""),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":17592186044416}"#, "mem_size_mib: 17592186044416 MiB is too large"),
    Row("PUT", MACHINE, r#"{"vcpu_count":3,"mem_size_mib":64,"smt":true}"#, "vcpu_count: 3 vCPUs are not whole cores"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":64,"cpu_template":"T2"}"#, "cpu_template: \"T2\" is not possible"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":64,"huge_pages":"1G"}"#, "huge_pages: unknown variant `1G`"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"mem_size_mib":63,"huge_pages":"2M"}"#, "huge_pages: 63M of memory"),
    Row("PUT", MACHINE, r#"{"vcpu_count":1,"vcpu_count":2,"mem_size_mib":64}"#, "duplicate field `vcpu_count`"),
    Row("PATCH", MACHINE, "{}", "nothing to change"),
    Row("PATCH", MACHINE, r#"{"vcpu_count":99}"#, "vcpu_count: 99 vCPUs"),
    Row("PATCH", MACHINE, r#"{"mem_size_mib":0}"#, "mem_size_mib: 0 bytes is too little"),
    Row("PUT", NIC, "{}", "missing field `iface_id`"),
    Row("PUT", NIC, r#"{"iface_id":"eth1","host_dev_name":"t"}"#, "iface_id: \"eth1\" is not the id in the path, \"eth0\""),
    Row("PUT", NIC, r#"{"iface_id":"eth0"}"#, "host_dev_name: it is missing"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":""}"#, "host_dev_name: \"\" is no name of a tap"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"sixteen-letters-"}"#, "host_dev_name: \"sixteen-letters-\""),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","host_fds":[9]}"#, "host_fds: host_dev_name is given too"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","host_interface":"v"}"#, "host_interface: host_dev_name is given too"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_interface":"a/b"}"#, "host_interface: \"a/b\" is no name of an interface"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_fds":[1]}"#, "host_fds: 1 cannot be a tap"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_fds":[]}"#, "queues: 0 queue pairs"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","guest_mac":"02:00"}"#, "guest_mac"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","guest_mac":"01:00:00:00:00:01"}"#, "guest_mac: 01:00:00:00:00:01 is a group"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","mtu":20}"#, "mtu: 20 is not possible"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","mtu":70000}"#, "mtu: invalid value: integer `70000`"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","queues":65}"#, "queues: 65 queue pairs"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","model":"e1000"}"#, "model: unknown variant `e1000`"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","llq":true}"#, "llq: only a card of model ena"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","allowances":{"bw_in":0}}"#, "allowances.bw_in: 0 would let nothing"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","rx_rate_limiter":{"bandwidth":{"size":1}}}"#, "missing field `refill_time`"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","tx_rate_limiter":{"ops":{"size":1,"refill_time":1}},"allowances":{"pps_out":1}}"#, "tx_rate_limiter: allowances.pps_out says the same"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","allowances":[1,1]}"#, "allowances: invalid type: sequence, expected an object"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","rx_rate_limiter":{"bandwidth":[1,1]}}"#, "rx_rate_limiter.bandwidth: invalid type: sequence, expected an object"),
    Row("PUT", NIC, r#"{"iface_id":"eth0","host_dev_name":"t","model":"ena","faults":[["no-answer",1]]}"#, "faults[0]: invalid type: sequence, expected an object"),
    Row("PUT", "/network-interfaces/a%20b", r#"{"iface_id":"a%20b","host_dev_name":"t"}"#, "iface_id: \"a%20b\" is not usable"),
    Row("PUT", "/network-interfaces/taken", r#"{"iface_id":"taken","host_dev_name":"tap-of-first"}"#, "host_dev_name: tap tap-of-first belongs to card \"first\""),
    Row("PUT", "/drives", "{}", "PUT is not possible on /drives; GET is"),
    Row("GET", DRIVE, "", "there is no disk \"rootfs\""),
    Row("DELETE", DRIVE, "", "unplugging is not possible: the machine is not started"),
    Row("DELETE", "/pmem/a", "{}", "a DELETE has no body"),
    Row("GET", "/devices", "", "showing devices is not possible: the machine is not started"),
    Row("DELETE", "/devices", "", "DELETE is not possible on /devices; GET is"),
    Row("PUT", DRIVE, "{}", "missing field `drive_id`"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{good}"}"#, "missing field `is_root_device`"),
    Row("PUT", DRIVE, r#"{"drive_id":"b","path_on_host":"{good}","is_root_device":true}"#, "drive_id: \"b\" is not the id in the path, \"rootfs\""),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true}"#, "path_on_host: it is missing"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":""}"#, "path_on_host: it is empty"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"/nowhere/d"}"#, "path_on_host: cannot open /nowhere/d"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"a\u0000b"}"#, "path_on_host"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"/dev/kvm"}"#, "path_on_host: /dev/kvm is neither a regular file nor a block device"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":false,"socket":"s"}"#, "socket: it is not possible"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"{good}","cache_type":"writeback"}"#, "cache_type: unknown variant `writeback`"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"{good}","io_engine":"Auto"}"#, "io_engine: unknown variant `Auto`"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"{good}","rate_limiter":{"ops":{"size":1}}}"#, "missing field `refill_time`"),
    Row("PUT", DRIVE, r#"{"drive_id":"rootfs","is_root_device":true,"path_on_host":"{good}","partuuid":"1 ro"}"#, "partuuid: \"1 ro\" is not usable"),
    Row("PUT", "/drives/a%20b", r#"{"drive_id":"a%20b","is_root_device":false,"path_on_host":"{good}"}"#, "drive_id: \"a%20b\" is not usable"),
    Row("PATCH", DRIVE, r#"{"drive_id":"rootfs"}"#, "path_on_host: it is missing, and so is anything else to change"),
    Row("PATCH", DRIVE, r#"{"drive_id":"rootfs","is_read_only":true}"#, "unknown field `is_read_only`"),
    Row("PATCH", DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{good}"}"#, "working with a disk is not possible: the machine is not started"),
    Row("POST", "/drives/rootfs/refresh", "{}", "a POST has no body"),
    Row("PUT", "/drives/rootfs/faults", r#"{"fault":"explode"}"#, "fault: unknown variant `explode`"),
    Row("PUT", "/actions", "{}", "missing field `action_type`"),
    Row("PUT", "/actions", r#"{"action_type":"Explode"}"#, "action_type: unknown variant `Explode`"),
    Row("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#, "there is nothing to boot"),
    Row("PATCH", "/vm", r#"{"state":"Running"}"#, "state: unknown variant `Running`"),
    Row("PUT", "/logger", r#"{"level":"loud"}"#, "level: \"loud\" is unknown"),
    Row("PUT", "/logger", r#"{"log_path":"/nowhere/log"}"#, "log_path: cannot open /nowhere/log"),
    Row("PUT", "/metrics", "{}", "missing field `metrics_path`"),
    Row("PUT", "/metrics", r#"{"metrics_path":"/nowhere/m"}"#, "metrics_path: cannot open /nowhere/m"),
    Row("PUT", "/serial", r#"{"console":"paper"}"#, "console: \"paper\" is no console"),
    Row("PUT", "/serial", r#"{"serial_out_path":""}"#, "serial_out_path: it is empty"),
    Row("PUT", "/serial", r#"{"serial_out_path":"a","console":"none"}"#, "console: serial_out_path is given too"),
];

fn vmm() -> Command {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => Command::new(path),
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

struct Scene {
    folder: TempDir,
    served: Served,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(&[])
    }

    fn with(arguments: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let served = serve(&folder.path().join("api"), arguments);
        Scene { folder, served }
    }

    /// One whose machine runs, and does nothing.
    fn running() -> Scene {
        Scene::running_with(&[])
    }

    fn running_with(arguments: &[&str]) -> Scene {
        host::need_kvm();
        let scene = Scene::with(arguments);
        let kernel = idle::kernel(scene.folder.path()).unwrap();
        let mut api = scene.api();
        api.done("PUT", BOOT, &json!({ "kernel_image_path": kernel })).unwrap();
        api.act("InstanceStart").unwrap();
        scene
    }

    fn api(&self) -> Api {
        self.served.api().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.served.pid() as i32), signal).unwrap();
    }
}

fn serve(socket: &Path, arguments: &[&str]) -> Served {
    let mut command = vmm();
    command.args(["--serial", "none", "--id", "test"]).args(arguments);
    Served::start(&mut command, socket).unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason_and_changes_nothing() {
    let scene = Scene::new();
    let kernel = idle::kernel(scene.folder.path()).unwrap();
    let mut api = scene.api();
    let first = json!({ "iface_id": "first", "host_dev_name": "tap-of-first" });
    api.done("PUT", "/network-interfaces/first", &first).unwrap();
    let before = api.get("/vm/config").unwrap();
    for Row(method, path, body, said) in ROWS {
        let body = body.replace("{good}", kernel.to_str().unwrap());
        let answer = api.ask(method, path, &body).unwrap();
        assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
        let message = answer.fault().unwrap();
        assert!(message.contains(said), "{method} {path} {body}: {message}");
        assert!(!message.contains('\n'), "{method} {path} {body}: {message}");
    }
    assert_eq!(api.get("/vm/config").unwrap(), before);
    assert_eq!(api.get("/").unwrap()["state"], "Not started");
    assert!(ROWS.len() >= 60);
}

/// Requests, and the states in which they are refused: not started, running, paused.
#[rustfmt::skip]
fn timely() -> Vec<(&'static str, &'static str, Value, [bool; 3])> {
    let act = |action: &str| json!({ "action_type": action });
    let machine = json!({ "vcpu_count": 1, "mem_size_mib": 128 });
    let limits = json!({ "iface_id": "eth0", "allowances": { "pps": 1 } });
    vec![
        ("PUT", BOOT, json!({ "kernel_image_path": "/nowhere" }), [true, true, true]),
        ("PUT", MACHINE, machine.clone(), [false, true, true]),
        ("PATCH", MACHINE, machine, [false, true, true]),
        ("PUT", "/serial", json!({ "console": "none" }), [false, true, true]),
        ("PUT", "/logger", json!({ "level": "Warning" }), [false, true, true]),
        ("PUT", "/metrics", json!({ "metrics_path": "/dev/null" }), [false, true, true]),
        ("PUT", "/drives/late", json!({ "drive_id": "late", "path_on_host": "/bin/true", "is_read_only": true, "is_root_device": false }), [false, false, false]),
        ("PUT", "/network-interfaces/late", json!({ "iface_id": "late", "host_fds": [999] }), [false, true, true]),
        ("DELETE", "/drives/other", Value::Null, [true, true, true]),
        ("GET", "/devices", Value::Null, [true, false, false]),
        ("PUT", DRIVE, json!({ "drive_id": "rootfs", "path_on_host": "/bin/true", "is_read_only": true, "is_root_device": true }), [false, true, true]),
        ("PATCH", "/drives/other", json!({ "drive_id": "other", "path_on_host": "/bin/true" }), [true, true, true]),
        ("GET", "/drives/other", Value::Null, [true, true, true]),
        ("GET", "/drives", Value::Null, [false, false, false]),
        ("POST", "/drives/other/refresh", Value::Null, [true, true, true]),
        ("DELETE", "/drives/other/faults", Value::Null, [true, true, true]),
        ("PATCH", NIC, limits, [true, true, true]),
        ("GET", NIC, Value::Null, [true, true, true]),
        ("GET", "/network-interfaces/eth0/rss", Value::Null, [true, true, true]),
        ("DELETE", "/network-interfaces/eth0/faults", Value::Null, [true, true, true]),
        ("PUT", "/network-interfaces/eth0/link", json!({ "up": false }), [true, true, true]),
        ("GET", "/network-interfaces/eth0/capture", Value::Null, [true, true, true]),
        ("GET", "/network-interfaces/eth0/latency", Value::Null, [true, true, true]),
        ("PUT", "/actions", act("SendCtrlAltDel"), [true, false, false]),
        ("PUT", "/actions", act("PowerButton"), [true, false, true]),
        ("PUT", "/actions", act("FlushMetrics"), [true, true, true]),
        ("PUT", "/actions", act("InstanceStart"), [true, true, true]),
        ("PATCH", "/vm", json!({ "state": "Resumed" }), [true, false, false]),
        ("PATCH", "/vm", json!({ "state": "Paused" }), [true, false, false]),
        ("GET", "/", Value::Null, [false, false, false]),
        ("GET", "/vm", Value::Null, [false, false, false]),
        ("GET", "/vm/config", Value::Null, [false, false, false]),
        ("GET", MACHINE, Value::Null, [false, false, false]),
        ("GET", "/version", Value::Null, [false, false, false]),
        ("GET", "/metrics", Value::Null, [false, false, false]),
        ("GET", "/openapi.json", Value::Null, [false, false, false]),
    ]
}

#[test]
fn each_request_has_its_time() {
    for (at, state) in ["Not started", "Running", "Paused"].into_iter().enumerate() {
        for (method, path, mut body, refused) in timely() {
            // A machine for each, as what is done in time may change it.
            let scene = if at == 0 { Scene::new() } else { Scene::running() };
            let mut api = scene.api();
            if state == "Paused" {
                api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
            }
            if path == "/drives/late" {
                // Where files may be opened while the machine runs.
                let image = scene.folder.path().join("late.raw");
                std::fs::write(&image, [0; 512]).unwrap();
                body["path_on_host"] = json!(image);
            }
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let answer = api.ask(method, path, &text).unwrap();
            let told = format!("{method} {path} {text} when {state}: {answer:?}");
            assert_eq!(answer.status == 400, refused[at], "{told}");
            if answer.status == 400 {
                assert!(!answer.fault().unwrap().is_empty(), "{told}");
            }
        }
    }
}

#[test]
fn a_machine_is_started_paused_resumed_and_killed_and_followers_hear_of_it() {
    let scene = Scene::running();
    let (mut api, mut events) = (scene.api(), scene.api().follow("/events").unwrap());
    let mut next = || events.next().unwrap().unwrap();
    assert_eq!(next()["state"], "Running");
    api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
    assert_eq!(api.get("/vm").unwrap()["state"], "Paused");
    assert_eq!(next()["event"], "paused");
    api.done("PATCH", "/vm", &json!({ "state": "Resumed" })).unwrap();
    assert_eq!(next()["event"], "resumed");
    api.act("Kill").unwrap();
    let last = next();
    assert_eq!((&last["event"], &last["exit_code"]), (&json!("stopped"), &json!(0)));
    assert!(events.next().is_none());
    assert_eq!(scene.served.end().unwrap().code(), Some(0));
    assert!(!scene.folder.path().join("api").exists());
}

#[test]
fn ends_by_the_api_and_by_signals_have_their_exit_codes() {
    for (action, code) in [("Kill", 0), ("Reset", 3)] {
        let scene = Scene::running();
        scene.api().act(action).unwrap();
        assert_eq!(scene.served.end().unwrap().code(), Some(code), "{action}");
    }
    let scene = Scene::new();
    kill(Pid::from_raw(scene.served.pid() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(scene.served.end().unwrap().code(), Some(143));
    assert!(!scene.folder.path().join("api").exists());
}

#[test]
fn a_socket_is_its_owners_and_that_of_a_killed_vmm_is_replaced() {
    let scene = Scene::new();
    let socket = scene.folder.path().join("api");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let second = vmm().args(["--api-sock".as_ref(), socket.as_os_str()]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"));

    scene.signal(Signal::SIGKILL);
    assert_eq!(scene.served.end().unwrap().signal(), Some(9));
    assert!(socket.exists());
    let again = serve(&socket, &[]);
    assert_eq!(again.api().unwrap().get("/").unwrap()["id"], "test");

    let file = scene.folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let wrong = vmm().args(["--api-sock".as_ref(), file.as_os_str()]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is not a socket"));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_vsocks_socket_listens_from_its_request_on_and_is_gone_on_every_way_out_but_one() {
    host::need_kvm();
    type End = fn(&Scene);
    let ends: [(bool, End); 5] = [
        (true, |scene| scene.api().act("Kill").unwrap()),
        (true, |scene| scene.api().act("Reset").unwrap()),
        (false, |scene| scene.api().act("Kill").unwrap()),
        (false, |scene| scene.signal(Signal::SIGTERM)),
        (true, |scene| scene.signal(Signal::SIGABRT)),
    ];
    for (runs, end) in ends {
        let scene = Scene::new();
        let path = |name: &str| scene.folder.path().join(name);
        let (first, second) = (path("first"), path("second"));
        let vsock = |cid: u64, path: &Path| json!({ "guest_cid": cid, "uds_path": path });
        let mut api = scene.api();
        api.done("PUT", "/vsock", &vsock(3, &first)).unwrap();
        UnixStream::connect(&first).unwrap();
        // What is refused changes nothing.
        for (body, said) in [
            (vsock(2, &second), "guest_cid: 2 is reserved"),
            (vsock(3, Path::new("")), "uds_path: it is empty"),
            (vsock(3, scene.folder.path()), "uds_path: "),
        ] {
            let answer = api.ask("PUT", "/vsock", &body.to_string()).unwrap();
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            assert!(answer.fault().unwrap().contains(said), "{body}: {answer:?}");
        }
        assert_eq!(api.get("/vm/config").unwrap()["vsock"], vsock(3, &first));
        api.done("PUT", "/vsock", &vsock(0, &second)).unwrap();
        assert!(!first.exists());
        if runs {
            let kernel = idle::kernel(scene.folder.path()).unwrap();
            api.done("PUT", BOOT, &json!({ "kernel_image_path": kernel })).unwrap();
            api.act("InstanceStart").unwrap();
            let shown = api.get("/vsock").unwrap();
            assert_eq!((&shown["guest_cid"], &shown["connections"]), (&json!(0), &json!([])));
        }
        assert!(second.exists());
        end(&scene);
        scene.served.end().unwrap();
        assert!(!second.exists());
    }
    // One that was killed leaves a socket that the next one replaces.
    let scene = Scene::new();
    let left = scene.folder.path().join("left");
    let body = json!({ "guest_cid": 3, "uds_path": left });
    scene.api().done("PUT", "/vsock", &body).unwrap();
    scene.signal(Signal::SIGKILL);
    scene.served.end().unwrap();
    assert!(left.exists());
    let socket = scene.folder.path().join("again");
    serve(&socket, &[]).api().unwrap().done("PUT", "/vsock", &body).unwrap();
}

#[test]
fn a_configuration_file_makes_the_machine_that_requests_make() {
    let scene = Scene::running();
    let shown = scene.api().get("/vm/config").unwrap();
    let file = scene.folder.path().join("vm.json");
    fs::write(&file, shown.to_string()).unwrap();
    let socket = scene.folder.path().join("second");
    let second = Served::start(vmm().arg("--config-file").arg(&file), &socket).unwrap();
    let mut api = second.api().unwrap();
    assert_eq!(api.get("/vm/config").unwrap(), shown);
    assert_eq!(api.get("/vm").unwrap()["state"], "Running");

    for (text, said) in [
        ("{}", "missing field `boot-source`"),
        (
            r#"{"boot-source":{"kernel_image_path":"/nowhere"}}"#,
            "boot-source.kernel_image_path: kernel /nowhere does not exist",
        ),
        (
            r#"{"boot-source":{"kernel_image_path":"k"},"vsock":{"guest_cid":3}}"#,
            "vsock: missing field `uds_path`",
        ),
        (
            r#"{"boot-source":{"kernel_image_path":"k"},"drives":[{"drive_id":"r"}]}"#,
            "drives[0]: missing field `is_root_device`",
        ),
        (
            r#"{"boot-source":{"kernel_image_path":"k"},"network-interfaces":[{"iface_id":1}]}"#,
            "network-interfaces[0].iface_id: invalid type: integer `1`",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let wrong = vmm().arg("--config-file").arg(&file).output().unwrap();
        let line = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert_eq!(wrong.status.code(), Some(2), "{text}: {line}");
        assert!(line.contains(said) && line.lines().count() == 1, "{text}: {line}");
    }
}

#[test]
fn metrics_are_written_when_asked_and_at_the_end() {
    host::need_kvm();
    let scene = Scene::new();
    let (kernel, mut api) = (idle::kernel(scene.folder.path()).unwrap(), scene.api());
    let path = scene.folder.path().join("metrics");
    api.done("PUT", "/metrics", &json!({ "metrics_path": path })).unwrap();
    api.done("PUT", BOOT, &json!({ "kernel_image_path": kernel })).unwrap();
    for action in ["InstanceStart", "FlushMetrics", "Kill"] {
        api.act(action).unwrap();
    }
    scene.served.end().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1]["utc_timestamp_ms"].as_u64() >= lines[0]["utc_timestamp_ms"].as_u64());
    assert_eq!(lines[0]["vcpus"].as_array().unwrap().len(), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn thousands_of_requests_and_connections_leave_no_descriptors_behind() {
    let scene = Scene::running();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", scene.served.pid())).unwrap().count();
    let mut last = scene.api();
    last.get("/").unwrap();
    let before = descriptors();
    for _ in 0..100 {
        let mut api = scene.api();
        for _ in 0..20 {
            api.get("/").unwrap();
            api.ask("PUT", "/actions", "{").unwrap();
        }
    }
    // The server sees them closed in the order of its events, and this is the last.
    while descriptors() > before {
        last.get("/").unwrap();
    }
}

#[test]
fn people_drive_it_by_vmm_ctl() {
    host::need_kvm();
    let scene = Scene::new();
    let (socket, kernel) =
        (scene.folder.path().join("api"), idle::kernel(scene.folder.path()).unwrap());
    let ctl = |args: &[&str]| {
        let output = vmm().arg("ctl").arg(&socket).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, said) = ctl(&["start"]);
    assert_eq!(code, Some(1));
    assert_eq!(said, "vmm: error: there is nothing to boot; say which kernel first\n");
    scene.api().done("PUT", BOOT, &json!({ "kernel_image_path": kernel })).unwrap();
    for (command, state) in [("start", "Running"), ("pause", "Paused"), ("resume", "Running")] {
        assert_eq!(ctl(&[command]), (Some(0), String::new(), String::new()), "{command}");
        let (_, info, _) = ctl(&["info", "--json"]);
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["state"], state);
    }
    let (_, info, _) = ctl(&["info"]);
    assert!(info.contains("state          Running\n"), "{info}");
    assert!(ctl(&["metrics"]).1.ends_with("# EOF\n"));
    assert_eq!(ctl(&["nic"]).0, Some(2));
    assert!(ctl(&["nics", "eth7"]).2.contains("there is no network card \"eth7\""));
    assert_eq!(ctl(&["kill"]).0, Some(0));
    assert_eq!(scene.served.end().unwrap().code(), Some(0));
    assert!(ctl(&["info"]).2.contains("is a VMM running with --api-sock?"));
}

#[test]
fn a_machine_that_is_shut_in_says_what_cannot_come_any_more_and_where_files_may_be() {
    let scene = Scene::running();
    let elsewhere = tempfile::tempdir().unwrap();
    let image = elsewhere.path().join("late.raw");
    fs::write(&image, [0; 4096]).unwrap();
    let drive = json!({ "drive_id": "late", "path_on_host": image, "is_root_device": false });
    let card = json!({ "iface_id": "late", "host_interface": "lo" });
    for (path, body, said) in [
        ("/drives/late", drive, "--allow-path gives more places"),
        ("/network-interfaces/late", card, "--seccomp off"),
    ] {
        let answer = scene.api().ask("PUT", path, &body.to_string()).unwrap();
        let message = answer.fault().unwrap();
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(scene.api().get("/devices").unwrap(), json!([entropy()]));
}

/// The one device of a machine for which nobody asked for any.
fn entropy() -> Value {
    json!({ "device": "entropy", "slot": 1, "state": "plugged" })
}

#[test]
fn devices_come_and_go_and_followers_hear_of_it() {
    let scene = Scene::running();
    let (mut api, mut events) = (scene.api(), scene.api().follow("/events").unwrap());
    let mut next = || events.next().unwrap().unwrap();
    assert_eq!(next()["state"], "Running");
    let image = scene.folder.path().join("late.raw");
    fs::write(&image, [0; 4096]).unwrap();
    let drive = json!({ "drive_id": "late", "path_on_host": image, "is_root_device": false });
    api.done("PUT", "/drives/late", &drive).unwrap();
    let told = next();
    assert_eq!((&told["event"], &told["device"]), (&json!("plugged"), &json!("drives/late")));
    let place = json!({ "device": "drives/late", "slot": told["slot"], "state": "plugged" });
    assert_eq!(api.get("/devices").unwrap(), json!([entropy(), place]));

    // While the guest has its time, others are answered.
    let ctl = |arguments: &[&str]| {
        let socket = scene.folder.path().join("api");
        vmm().arg("ctl").arg(socket).args(arguments).stderr(Stdio::piped()).spawn().unwrap()
    };
    let leaving = ctl(&["unplug", "late"]);
    assert_eq!(next()["event"], "unplug_asked");
    assert_eq!(api.get("/devices").unwrap()[1]["state"], "awaiting_consent");
    let twice = api.ask("DELETE", "/drives/late", "").unwrap().fault().unwrap();
    assert_eq!(twice, "drives/late: it is being unplugged already");
    assert_eq!(next()["event"], "unplugged");
    assert!(leaving.wait_with_output().unwrap().status.success());
    assert_eq!(api.get("/devices").unwrap(), json!([entropy()]));

    for (arguments, said) in [
        (
            &["unplug", "late"][..],
            "the machine has no disk, network card or persistent memory \"late\"",
        ),
        (&["unplug", "late", "--kind", "disk"], "drives/late: there is no such device"),
        (&["plug"], "--net <CARD>"),
        (&["plug", "--net", "tap=a", "--disk", "b"], "cannot be used with"),
        (&["plug", "--disk", "/nowhere/late"], "path_on_host: cannot open /nowhere/late"),
        (&["plug", "--net", "speed=1"], "unknown key \"speed\""),
        (&["plug", "--pmem", "x,rw"], "\"rw\" has no '='"),
    ] {
        let output = ctl(arguments).wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
}
