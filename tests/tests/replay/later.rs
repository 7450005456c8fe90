//! Requests for what a machine may not have yet, by area. A row counts for the dialect; it is asked when its
//! area is among those that are there.

use serde_json::json;
use tests::host;

use super::row::{Row, get, no_patch, no_put, other, patch, put, same};
use super::scene::Scene;

/// Areas that are there: their rows are asked.
const THERE: &[&str] =
    &["vsock", "mmds", "entropy", "balloon", "pmem", "memory-hotplug", "hot-unplug", "snapshot"];

/// What an area has to say before the start.
struct Area(&'static str, &'static [Row]);

const JSON: &str = "An error occurred when deserializing the json body of a request: ";
const EARLY: &str = "The requested operation is not supported before starting the microVM.";

#[rustfmt::skip]
const AREAS: &[Area] = &[
    Area("vsock", &[
        put("/vsock", r#"{"guest_cid":3,"uds_path":"{new}"}"#),
        get("/vm/config", r#""guest_cid":3"#),
        put("/vsock", r#"{"guest_cid":3,"uds_path":"{new}","vsock_id":"root"}"#),
        put("/vsock", r#"{"guest_cid":52,"uds_path":"{new}"}"#),
        no_put("/vsock", r#"{"guest_cid":3}"#, "missing field `uds_path`"),
        no_put("/vsock", r#"{"uds_path":"{new}"}"#, "missing field `guest_cid`"),
        no_put("/vsock", r#"{"guest_cid":-1,"uds_path":"{new}"}"#, JSON),
        no_put("/vsock", r#"{"guest_cid":3,"uds_path":"{new}","port":1}"#, "unknown field `port`"),
        no_put("/vsock", r#"{"guest_cid":3,"uds_path":"/nowhere/v"}"#, "Vsock config error: "),
        no_put("/vsock", r#"{"guest_cid":3,"uds_path":"{text}"}"#, "Vsock config error: "),
        no_put("/vsock", "", "Empty PUT request."),
        other(same("GET", "/vsock", "", 400, EARLY), "an extension: while a machine runs, it tells of connections"),
        same("DELETE", "/vsock", "", 400, "Invalid request method and/or path: DELETE vsock."),
    ]),
    Area("entropy", &[
        put("/entropy", "{}"),
        put("/entropy", r#"{"rate_limiter":{"bandwidth":{"size":1024,"refill_time":100,"one_time_burst":0}}}"#),
        put("/entropy", r#"{"rate_limiter":{"ops":{"size":10,"refill_time":100}}}"#),
        put("/entropy", r#"{"rate_limiter":null}"#),
        no_put("/entropy", r#"{"source":"/dev/urandom"}"#, "unknown field `source`"),
        no_put("/entropy", "", "Empty PUT request."),
        same("GET", "/entropy", "", 400, "Invalid request method and/or path: GET entropy."),
    ]),
    Area("balloon", &[
        same("GET", "/balloon", "", 400, "Balloon config error: "),
        put("/balloon", r#"{"amount_mib":0,"deflate_on_oom":true}"#),
        put("/balloon", r#"{"amount_mib":16,"deflate_on_oom":false,"stats_polling_interval_s":1}"#),
        get("/balloon", r#""amount_mib":16"#),
        get("/balloon", r#""stats_polling_interval_s":1"#),
        put("/balloon", r#"{"amount_mib":0,"deflate_on_oom":true,"free_page_hinting":true,"free_page_reporting":true}"#),
        get("/balloon", r#""free_page_reporting":true"#),
        no_put("/balloon", r#"{"amount_mib":100000,"deflate_on_oom":true}"#, "Balloon config error: "),
        no_put("/balloon", r#"{"deflate_on_oom":true}"#, "missing field `amount_mib`"),
        no_put("/balloon", r#"{"amount_mib":0}"#, "missing field `deflate_on_oom`"),
        no_put("/balloon", r#"{"amount_mib":0,"deflate_on_oom":true,"must_tell_host":true}"#, "unknown field `must_tell_host`"),
        no_put("/balloon", r#"{"amount_mib":-1,"deflate_on_oom":true}"#, JSON),
        no_patch("/balloon", r#"{"amount_mib":1}"#, EARLY),
        no_patch("/balloon/statistics", r#"{"stats_polling_interval_s":1}"#, EARLY),
        same("GET", "/balloon/statistics", "", 400, EARLY),
        same("GET", "/balloon/hinting/status", "", 400, EARLY),
        no_patch("/balloon", r#"{"amount_mib":1,"stats_polling_interval_s":1}"#, JSON),
    ]),
    Area("mmds", &[
        get("/mmds", "{}"),
        no_patch("/mmds", r#"{"a":1}"#, "MMDS error: "),
        put("/mmds", r#"{"latest":{"meta-data":{"ami-id":"ami-1"}}}"#),
        get("/mmds", r#""ami-id":"ami-1""#),
        patch("/mmds", r#"{"latest":{"meta-data":{"ami-id":null,"x":"y"}}}"#),
        get("/mmds", r#"{"latest":{"meta-data":{"x":"y"}}}"#),
        put("/network-interfaces/md0", r#"{"iface_id":"md0","host_dev_name":"tap-md0"}"#),
        put("/mmds/config", r#"{"network_interfaces":["md0"]}"#),
        put("/mmds/config", r#"{"network_interfaces":["md0"],"version":"V1"}"#),
        put("/mmds/config", r#"{"network_interfaces":["md0"],"version":"V2","ipv4_address":"169.254.170.2","imds_compat":true}"#),
        no_put("/mmds/config", r#"{"network_interfaces":[]}"#, "MMMDS config error: "),
        no_put("/mmds/config", r#"{"network_interfaces":["none"]}"#, "MMMDS config error: "),
        no_put("/mmds/config", r#"{"network_interfaces":["md0"],"ipv4_address":"10.0.0.1"}"#, "MMMDS config error: "),
        no_put("/mmds/config", r#"{"network_interfaces":["md0"],"ipv4_address":"169.254.0.5"}"#, "MMMDS config error: "),
        no_put("/mmds/config", r#"{"network_interfaces":["md0"],"version":"V3"}"#, JSON),
        no_put("/mmds/config", r#"{"network_interfaces":["md0"],"port":80}"#, "unknown field `port`"),
        no_put("/mmds/config", "{}", "network_interfaces"),
        no_put("/mmds", "", "Empty PUT request."),
        no_put("/mmds", "{", JSON),
        same("DELETE", "/mmds", "", 400, "Invalid request method and/or path: DELETE mmds."),
    ]),
    Area("pmem", &[
        put("/pmem/pm0", r#"{"id":"pm0","path_on_host":"{grown}"}"#),
        put("/pmem/pm0", r#"{"id":"pm0","path_on_host":"{grown}","root_device":false,"read_only":true}"#),
        put("/pmem/pm0", r#"{"id":"pm0","path_on_host":"{grown}","rate_limiter":{}}"#),
        no_put("/pmem/pm0", r#"{"id":"pm1","path_on_host":"{grown}"}"#, "id"),
        no_put("/pmem/pm1", r#"{"id":"pm1"}"#, "missing field `path_on_host`"),
        no_put("/pmem/pm1", r#"{"path_on_host":"{grown}"}"#, "missing field `id`"),
        no_put("/pmem/pm1", r#"{"id":"pm1","path_on_host":"{grown}","dax":true}"#, "unknown field `dax`"),
        other(no_put("/pmem/pm1", r#"{"id":"pm1","path_on_host":"/nowhere/p"}"#, "Pmem config error: "), "a file that is not there is told when it is named"),
        no_patch("/pmem/pm0", r#"{"id":"pm0"}"#, EARLY),
    ]),
    Area("memory-hotplug", &[
        put("/hotplug/memory", r#"{"total_size_mib":1024}"#),
        put("/hotplug/memory", r#"{"total_size_mib":1024,"block_size_mib":2,"slot_size_mib":128}"#),
        get("/vm/config", r#""memory-hotplug":{"block_size_mib":2,"slot_size_mib":128,"total_size_mib":1024}"#),
        no_put("/hotplug/memory", r#"{"total_size_mib":1024,"block_size_mib":1}"#, "Block size must not be lower than 2 MiB"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1024,"block_size_mib":3}"#, "Block size must be a power of 2"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1024,"slot_size_mib":64}"#, "Slot size must not be lower than 128 MiB"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1024,"block_size_mib":4,"slot_size_mib":130}"#, "Slot size must be a multiple of block size (4 MiB)"),
        no_put("/hotplug/memory", r#"{"total_size_mib":64}"#, "Total size must not be lower than slot size (128 MiB)"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1000}"#, "Total size must be a multiple of slot size (128 MiB)"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1000}"#, "Memory hotplug config error: "),
        no_put("/hotplug/memory", r#"{"total_size_mib":4294967296}"#, JSON),
        no_put("/hotplug/memory", "", "Empty PUT request."),
        other(put("/hotplug/memory", r#"{"total_size_mib":1024,"requested_size_mib":64}"#), "an extension: what the guest is to have at first"),
        same("DELETE", "/hotplug/memory", "", 400, "Invalid request method and/or path: DELETE hotplug."),
        no_put("/hotplug/memory", "{}", "missing field `total_size_mib`"),
        no_put("/hotplug/memory", r#"{"total_size_mib":1024,"node":0}"#, "unknown field `node`"),
        no_patch("/hotplug/memory", r#"{"requested_size_mib":128}"#, EARLY),
        same("GET", "/hotplug/memory", "", 400, EARLY),
    ]),
    Area("snapshot", &[
        no_put("/snapshot/create", r#"{"snapshot_path":"s","mem_file_path":"m"}"#, EARLY),
        no_put("/snapshot/create", r#"{"snapshot_path":"s"}"#, "fault_message"),
        no_put("/snapshot/create", r#"{"snapshot_path":"s","mem_file_path":"m","snapshot_type":"Half"}"#, JSON),
        no_put("/snapshot/load", "{}", "missing field `snapshot_path`"),
        no_put("/snapshot/load", r#"{"snapshot_path":"s"}"#, "mem_backend"),
        no_put("/snapshot/load", r#"{"snapshot_path":"s","mem_file_path":"m","mem_backend":{"backend_type":"File","backend_path":"m"}}"#, "mem_backend"),
        no_put("/snapshot/load", r#"{"snapshot_path":"s","mem_backend":{"backend_type":"Tape","backend_path":"m"}}"#, JSON),
    ]),
    Area("hot-unplug", &[
        same("DELETE", "/drives/none", "", 400, EARLY),
        same("DELETE", "/network-interfaces/none", "", 400, EARLY),
        same("DELETE", "/drives/none", "{}", 400, "DELETE request cannot have a body."),
    ]),
];

/// What is said of memory to a machine that runs, and has some to plug and no driver for it.
#[rustfmt::skip]
const PLUGGED_MEMORY: &[Row] = &[
    get("/hotplug/memory", r#""block_size_mib":2,"plugged_size_mib":0,"requested_size_mib":0,"slot_size_mib":128,"total_size_mib":256"#),
    other(patch("/hotplug/memory", r#"{"requested_size_mib":128}"#), "what is wanted before the driver is loaded is there for it, and not refused"),
    patch("/hotplug/memory", r#"{"requested_size_mib":256}"#),
    get("/hotplug/memory", r#""requested_size_mib":256"#),
    no_patch("/hotplug/memory", r#"{"requested_size_mib":3}"#, "Memory hotplug update error: "),
    no_patch("/hotplug/memory", r#"{"requested_size_mib":3}"#, "Size 3 is invalid: it must be a multiple of block size and less than the total size"),
    no_patch("/hotplug/memory", r#"{"requested_size_mib":258}"#, "Size 258 is invalid"),
    no_patch("/hotplug/memory", r#"{"requested_size_mib":4294967296}"#, JSON),
    no_patch("/hotplug/memory", r#"{"total_size_mib":256}"#, "unknown field `total_size_mib`"),
    no_patch("/hotplug/memory", "", "Empty PATCH request."),
    patch("/hotplug/memory", r#"{"requested_size_mib":0}"#),
];

/// All rows, asked or not.
pub fn all() -> Vec<Row> {
    AREAS.iter().flat_map(|area| area.1).chain(PLUGGED_MEMORY).copied().collect()
}

#[test]
fn memory_is_plugged_into_a_machine_that_runs_as_its_rows_say() {
    let scene = Scene::new();
    host::need_kvm();
    let served = scene.serve(&[]);
    let mut api = served.api().unwrap();
    let kernel = json!({ "kernel_image_path": scene.path("idle") });
    api.done("PUT", "/boot-source", &kernel).unwrap();
    api.done("PUT", "/hotplug/memory", &json!({ "total_size_mib": 256 })).unwrap();
    api.act("InstanceStart").unwrap();
    scene.play(&served, PLUGGED_MEMORY);
}

#[test]
fn what_is_there_is_answered_as_its_rows_say() {
    for name in THERE {
        let area = AREAS.iter().find(|area| area.0 == *name).expect("it has rows");
        let scene = Scene::new();
        let served = scene.serve(&[]);
        scene.play(&served, area.1);
    }
}
