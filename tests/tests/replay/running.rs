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
    no_put(DRIVE, r#"{"drive_id":"rootfs","path_on_host":"{disk}","is_root_device":false}"#, "fault_message"),
    no_put("/network-interfaces/eth9", r#"{"iface_id":"eth9","host_dev_name":"t"}"#, "fault_message"),
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
