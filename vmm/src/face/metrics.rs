//! Lines of metrics as Firecracker writes them: all its groups and fields, each count since the line
//! before.
//!
//! What this machine counts stands in a table beside the field it is; fields that nothing here can be
//! are 0.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::metric_fields::{GROUPS, PER_CARD, PER_DISK};
use crate::observe::metrics::{Counts, Figures, Past};
use crate::observe::requests::Counts as RequestCounts;

/// Absolute counts by group and field.
type Absolute = BTreeMap<(String, &'static str), u64>;

/// The line of `figures`, as far as they are beyond those of the `past`, which they then are. Fails if it
/// cannot be said in JSON.
pub fn line(figures: &Figures, past: &mut Past) -> serde_json::Result<String> {
    let now = absolute(figures);
    let grown = |group: &str, field: &'static str| {
        let key = (group.to_string(), field);
        let count = now.get(&key).copied().unwrap_or_default();
        count.saturating_sub(past.get(&key).copied().unwrap_or_default())
    };
    let group = |name: &str, fields: &[&'static str]| -> Value {
        let field = |field: &&'static str| {
            let value = match field.ends_with("_agg") {
                true => json!({ "min_us": 0, "max_us": 0, "sum_us": 0 }),
                false => json!(grown(name, field)),
            };
            (field.to_string(), value)
        };
        fields.iter().map(field).collect::<Map<_, _>>().into()
    };
    let mut line = Map::new();
    line.insert("utc_timestamp_ms".into(), figures.at_ms.into());
    for (name, fields) in GROUPS {
        line.insert((*name).into(), group(name, fields));
    }
    for (prefix, ids, fields) in [
        ("block", figures.block.keys().collect::<Vec<_>>(), PER_DISK),
        ("net", figures.network.keys().collect(), PER_CARD),
    ] {
        for id in ids {
            let name = format!("{prefix}_{id}");
            let values = group(&name, fields);
            line.insert(name, values);
        }
    }
    // Not counts, and the same in each line.
    let times = figures.api_server;
    line.insert(
        "api_server".into(),
        json!({
            "process_startup_time_us": times.process_startup_time_us.unwrap_or_default(),
            "process_startup_time_cpu_us": times.process_startup_time_cpu_us.unwrap_or_default(),
        }),
    );
    *past = now;
    serde_json::to_string(&line)
}

/// A field of Firecracker's, and our counters that add up to it.
type Row = (&'static str, &'static [&'static str]);

const OF_DISKS: &[Row] = &[
    ("read_bytes", &["read_bytes"]),
    ("write_bytes", &["write_bytes"]),
    ("read_count", &["reads"]),
    ("write_count", &["writes"]),
    ("flush_count", &["flushes"]),
    ("execute_fails", &["medium_errors", "no_space"]),
    ("rate_limiter_throttled_events", &["throttled"]),
    ("invalid_reqs_count", &["out_of_range", "unsupported", "bad_memory", "read_only"]),
];

const OF_CARDS: &[Row] = &[
    ("rx_bytes_count", &["rx_bytes"]),
    ("rx_packets_count", &["rx_frames"]),
    ("rx_count", &["rx_frames"]),
    ("no_rx_avail_buffer", &["rx_no_buffers"]),
    ("rx_fails", &["rx_too_large", "rx_refused"]),
    ("tx_bytes_count", &["tx_bytes"]),
    ("tx_packets_count", &["tx_frames"]),
    ("tx_count", &["tx_frames"]),
    ("tx_malformed_frames", &["tx_malformed"]),
    ("tx_fails", &["tx_refused", "tx_blocked"]),
    ("tx_rate_limiter_throttled", &["tx_throttled"]),
    ("event_fails", &["backend_errors"]),
];

const OF_VCPUS: &[Row] = &[
    ("exit_io_in", &["port_reads"]),
    ("exit_io_out", &["port_writes"]),
    ("exit_mmio_read", &["mmio_reads"]),
    ("exit_mmio_write", &["mmio_writes"]),
];

const OF_VSOCK: &[Row] = &[
    ("rx_bytes_count", &["rx_bytes"]),
    ("rx_packets_count", &["rx_packets"]),
    ("tx_bytes_count", &["tx_bytes"]),
    ("tx_packets_count", &["tx_packets"]),
    ("conns_added", &["connections_opened"]),
];

const OF_HOT_MEMORY: &[Row] = &[
    ("plug_count", &["plugs"]),
    ("plug_bytes", &["plugged_bytes"]),
    ("plug_fails", &["plug_failures"]),
    ("unplug_count", &["unplugs"]),
    ("unplug_bytes", &["unplugged_bytes"]),
    ("unplug_fails", &["unplug_failures"]),
    ("unplug_discard_fails", &["host_failures"]),
    ("state_count", &["states"]),
    ("state_fails", &["state_failures"]),
    ("unplug_all_count", &["unplug_alls"]),
    ("queue_event_fails", &["guest_faults"]),
];

/// Requests: method and path, and the group and fields of all of them and of those that failed.
type RequestRow = (&'static str, &'static str, &'static str, &'static str, &'static str);

const OF_REQUESTS: &[RequestRow] = &[
    ("GET", "/", "get_api_requests", "instance_info_count", ""),
    ("GET", "/machine-config", "get_api_requests", "machine_cfg_count", ""),
    ("GET", "/mmds", "get_api_requests", "mmds_count", ""),
    ("GET", "/version", "get_api_requests", "vmm_version_count", ""),
    ("GET", "/hotplug/memory", "get_api_requests", "hotplug_memory_count", ""),
    ("PUT", "/actions", "put_api_requests", "actions_count", "actions_fails"),
    ("PUT", "/boot-source", "put_api_requests", "boot_source_count", "boot_source_fails"),
    ("PUT", "/drives/{id}", "put_api_requests", "drive_count", "drive_fails"),
    ("PUT", "/logger", "put_api_requests", "logger_count", "logger_fails"),
    ("PUT", "/machine-config", "put_api_requests", "machine_cfg_count", "machine_cfg_fails"),
    ("PUT", "/cpu-config", "put_api_requests", "cpu_cfg_count", "cpu_cfg_fails"),
    ("PUT", "/metrics", "put_api_requests", "metrics_count", "metrics_fails"),
    ("PUT", "/network-interfaces/{id}", "put_api_requests", "network_count", "network_fails"),
    ("PUT", "/mmds", "put_api_requests", "mmds_count", "mmds_fails"),
    ("PUT", "/vsock", "put_api_requests", "vsock_count", "vsock_fails"),
    ("PUT", "/pmem/{id}", "put_api_requests", "pmem_count", "pmem_fails"),
    ("PUT", "/serial", "put_api_requests", "serial_count", "serial_fails"),
    ("PUT", "/hotplug/memory", "put_api_requests", "hotplug_memory_count", "hotplug_memory_fails"),
    ("PATCH", "/drives/{id}", "patch_api_requests", "drive_count", "drive_fails"),
    ("PATCH", "/network-interfaces/{id}", "patch_api_requests", "network_count", "network_fails"),
    ("PATCH", "/machine-config", "patch_api_requests", "machine_cfg_count", "machine_cfg_fails"),
    ("PATCH", "/mmds", "patch_api_requests", "mmds_count", "mmds_fails"),
    (
        "PATCH",
        "/hotplug/memory",
        "patch_api_requests",
        "hotplug_memory_count",
        "hotplug_memory_fails",
    ),
    ("PATCH", "/pmem/{id}", "patch_api_requests", "pmem_count", "pmem_fails"),
];

fn absolute(figures: &Figures) -> Absolute {
    let mut all = Absolute::new();
    let mut add = |group: &str, field: &'static str, count: u64| {
        let sum = all.entry((group.to_string(), field)).or_default();
        *sum = sum.saturating_add(count);
    };
    for (id, counters) in &figures.block {
        for (field, ours) in OF_DISKS {
            let count = ours.iter().filter_map(|name| counters.get(*name)).sum();
            add("block", field, count);
            add(&format!("block_{id}"), field, count);
        }
    }
    let sum = |counters: &Counts, ours: &[&str]| -> u64 {
        ours.iter().filter_map(|name| counters.get(name)).sum()
    };
    for (id, queues) in &figures.network {
        for (counters, (field, ours)) in
            queues.iter().flat_map(|queue| OF_CARDS.iter().map(move |row| (queue, row)))
        {
            let count = sum(counters, ours);
            add("net", field, count);
            add(&format!("net_{id}"), field, count);
        }
    }
    for counters in &figures.vcpus {
        for (field, ours) in OF_VCPUS {
            add("vcpu", field, sum(counters, ours));
        }
    }
    for (field, ours) in OF_VSOCK {
        add("vsock", field, sum(&figures.vsock, ours));
    }
    for (counters, (field, ours)) in figures
        .hot_memory
        .iter()
        .flat_map(|counters| OF_HOT_MEMORY.iter().map(move |row| (counters, row)))
    {
        add("memory_hotplug", field, sum(counters, ours));
    }
    for (field, count) in &figures.mmds {
        // They are called the same here.
        add("mmds", field, *count);
    }
    requests(&figures.requests, &mut add);
    add("deprecated_api", "deprecated_http_api_calls", figures.deprecated_requests);
    all
}

fn requests(counts: &RequestCounts, add: &mut impl FnMut(&str, &'static str, u64)) {
    for (method, path, group, all, failed) in OF_REQUESTS {
        let Some(count) = counts.get(&(*method, *path)) else { continue };
        add(group, all, count.all);
        if !failed.is_empty() {
            add(group, failed, count.failed);
        }
    }
}

#[cfg(test)]
#[path = "metrics_test.rs"]
mod tests;
