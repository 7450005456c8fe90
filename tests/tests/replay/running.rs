//! Requests while a machine runs, and while it is paused.

use super::row::{Row, get, no_patch, no_put, other, patch, put, same};

const LATE: &str = "The requested operation is not supported after starting the microVM.";
const JSON: &str = "An error occurred when deserializing the json body of a request: ";
const DRIVE: &str = "/drives/rootfs";

const EXTENSION: &str = "an extension: there is nothing to see there";

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    get("/", r#""state":"Running""#),
    get("/vm/config", r#""drive_id":"rootfs""#),
    get("/vm/config", r#""kernel_image_path":"#),
    get("/machine-config", r#""vcpu_count":1"#),
    get("/version", "1.16.1"),
    other(get("/metrics", "# EOF"), EXTENSION),
    // What is too late.
    no_put("/boot-source", r#"{"kernel_image_path":"{idle}"}"#, LATE),
    no_put("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#, LATE),
    no_patch("/machine-config", r#"{"vcpu_count":1}"#, LATE),
    no_put("/cpu-config", "{}", LATE),
    no_put("/logger", r#"{"level":"Info"}"#, LATE),
    no_put("/metrics", r#"{"metrics_path":"{new}"}"#, LATE),
    no_put("/serial", r#"{"serial_out_path":"{new}"}"#, LATE),
    no_put("/actions", r#"{"action_type":"InstanceStart"}"#, LATE),
    // Nothing is plugged into a machine without PCI.
    no_put(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{disk}","is_root_device":false}"#, "Device ID in use"),
    no_put("/drives/late", r#"{"drive_id":"late","path_on_host":"{grown}","is_root_device":false}"#, "PCI is not enabled"),
    no_put("/network-interfaces/eth9", r#"{"iface_id":"eth9","host_dev_name":"t"}"#, "PCI is not enabled"),
    no_put("/pmem/late", r#"{"id":"late","path_on_host":"{grown}"}"#, "PCI is not enabled"),
    same("DELETE", DRIVE, "", 400, "PCI is not enabled"),
    other(get("/devices", r#"{"device":"drives/rootfs","slot":null,"state":"plugged"}"#), EXTENSION),
    no_put("/hotplug/memory", r#"{"total_size_mib":1024}"#, LATE),
    no_patch("/hotplug/memory", r#"{"requested_size_mib":128}"#, "Memory hotplug update error: "),
    same("GET", "/hotplug/memory", "", 400, "fault_message"),
    // Disks.
    patch(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{grown}"}"#),
    get("/vm/config", "{grown}"),
    patch(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{grown}"}"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{}}"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"bandwidth":{"size":1000000,"refill_time":1000}}}"#),
    get("/vm/config", "1000000"),
    get("/vm/config", r#""rate_limiter":{"bandwidth":{"one_time_burst":null,"refill_time":1000,"size":1000000},"ops":null}"#),
    get("/vm/config", r#""socket":null"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"bandwidth":null}}"#),
    get("/vm/config", "1000000"),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"ops":{"size":2000,"refill_time":1000,"one_time_burst":9}}}"#),
    get("/vm/config", "1000000"),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"bandwidth":{"size":0,"refill_time":0}}}"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"ops":{"size":0,"refill_time":1000}}}"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{disk}","rate_limiter":{"ops":{"size":1000,"refill_time":1000}}}"#),
    patch("/drives/drive_1", r#"{"drive_id":"drive_1","path_on_host":"{grown}"}"#),
    no_patch(DRIVE, r#"{"drive_id":"rootfs"}"#, "Internal VMM error: "),
    no_patch(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"/nowhere/d"}"#, "Internal VMM error: "),
    get("/vm/config", "{disk}"),
    no_patch(DRIVE, r#"{"drive_id":"rootfs","is_read_only":true}"#, "unknown field `is_read_only`"),
    no_patch(DRIVE, r#"{"drive_id":"rootfs","cache_type":"Writeback"}"#, "unknown field `cache_type`"),
    no_patch(DRIVE, r#"{"drive_id":"other","path_on_host":"{disk}"}"#, "drive_id"),
    no_patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"ops":{"size":1}}}"#, JSON),
    no_patch("/drives/none", r#"{"drive_id":"none","path_on_host":"{disk}"}"#, "Device not found"),
    no_patch("/network-interfaces/none", r#"{"iface_id":"none"}"#, "Device not found"),
    no_patch("/network-interfaces/none", r#"{"iface_id":"none","rx_rate_limiter":{"bandwidth":{"size":1,"refill_time":1}}}"#, "Device not found"),
    other(get(DRIVE, r#""engine""#), "an extension: it tells all about a disk"),
    other(same("POST", "/drives/rootfs/refresh", "", 200, "size"), "an extension: it looks at the image's size again"),
    // Actions.
    put("/actions", r#"{"action_type":"FlushMetrics"}"#),
    put("/actions", r#"{"action_type":"SendCtrlAltDel"}"#),
    no_put("/actions", r#"{"action_type":"Halt"}"#, "unknown variant `Halt`"),
    other(put("/actions", r#"{"action_type":"PowerButton"}"#), EXTENSION),
    patch("/vm", r#"{"state":"Resumed"}"#),
    no_patch("/vm", r#"{"state":"Not started"}"#, JSON),
    patch("/vm", r#"{"state":"Paused"}"#),
];

const SLOW: &str = "a guest that does not use the device is told of it for a second";

/// While a machine with PCI runs, whose guest does nothing.
#[rustfmt::skip]
pub const PLUGGED: &[Row] = &[
    no_put(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{disk}","is_root_device":false}"#, "Device ID in use"),
    put("/drives/late", r#"{"drive_id":"late","path_on_host":"{grown}","is_root_device":false}"#),
    no_put("/drives/late", r#"{"drive_id":"late","path_on_host":"{grown}","is_root_device":false}"#, "Device ID in use"),
    get("/vm/config", r#""drive_id":"late""#),
    no_put("/drives/root", r#"{"drive_id":"root","path_on_host":"{spare}","is_root_device":true}"#, "A root block device already exists!"),
    no_put("/drives/gone", r#"{"drive_id":"gone","path_on_host":"/nowhere/d","is_root_device":false}"#, "Drive config error: "),
    other(no_put("/drives/same", r#"{"drive_id":"same","path_on_host":"{grown}","is_root_device":false}"#, "Drive config error: "), "two drives that write one image are refused"),
    put("/pmem/late", r#"{"id":"late","path_on_host":"{memory}"}"#),
    no_put("/pmem/late", r#"{"id":"late","path_on_host":"{memory}"}"#, "Device ID in use"),
    no_put("/pmem/root", r#"{"id":"root","path_on_host":"{spare}","root_device":true}"#, "A root pmem device already exist"),
    get("/vm/config", r#""id":"late""#),
    no_put("/network-interfaces/none", r#"{"iface_id":"none","host_dev_name":"sixteen-letters-"}"#, "Network config error: "),
    patch("/drives/late", r#"{"drive_id":"late","rate_limiter":{"ops":{"size":2000,"refill_time":1000}}}"#),
    other(get("/devices", r#"{"device":"pmem/late","slot":4,"state":"plugged"}"#), EXTENSION),
    same("DELETE", "/drives/none", "", 400, "Device not found"),
    same("DELETE", "/network-interfaces/late", "", 400, "Device not found"),
    same("DELETE", "/drives/late", "{}", 400, "DELETE request cannot have a body."),
    other(same("DELETE", "/drives/late", "", 204, ""), SLOW),
    same("DELETE", "/drives/late", "", 400, "Device not found"),
    patch("/vm", r#"{"state":"Paused"}"#),
    same("DELETE", "/pmem/late", "", 204, ""),
    put("/drives/again", r#"{"drive_id":"again","path_on_host":"{grown}","is_root_device":false,"is_read_only":true}"#),
    patch("/vm", r#"{"state":"Resumed"}"#),
    other(get("/devices", r#"{"device":"drives/again","slot":3,"state":"plugged"}"#), EXTENSION),
];

#[rustfmt::skip]
pub const PAUSED: &[Row] = &[
    get("/", r#""state":"Paused""#),
    other(get("/vm", r#""state":"Paused""#), EXTENSION),
    get("/vm/config", r#""drive_id":"rootfs""#),
    get("/machine-config", r#""mem_size_mib":128"#),
    get("/version", "1.16.1"),
    no_put("/boot-source", r#"{"kernel_image_path":"{idle}"}"#, LATE),
    no_put("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#, LATE),
    no_put("/actions", r#"{"action_type":"InstanceStart"}"#, LATE),
    no_put("/logger", r#"{"level":"Info"}"#, LATE),
    patch(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{disk}"}"#),
    patch(DRIVE, r#"{"drive_id":"rootfs","rate_limiter":{"ops":{"size":0,"refill_time":0}}}"#),
    no_patch("/drives/none", r#"{"drive_id":"none","path_on_host":"{disk}"}"#, "Device not found"),
    put("/actions", r#"{"action_type":"FlushMetrics"}"#),
    put("/actions", r#"{"action_type":"SendCtrlAltDel"}"#),
    patch("/vm", r#"{"state":"Paused"}"#),
    get("/", r#""state":"Paused""#),
    patch("/vm", r#"{"state":"Resumed"}"#),
    get("/", r#""state":"Running""#),
    patch("/vm", r#"{"state":"Resumed"}"#),
];
