//! Answers of the API as text for people.

use std::fmt::Write;

use serde_json::Value;

use crate::memory::Size;

/// A value as a cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// Text of the guest's driver must not command a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Rows with columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

/// Names and values, one a line.
fn pairs(pairs: &[(&str, &Value)]) -> String {
    let rows: Vec<_> =
        pairs.iter().map(|(name, value)| vec![name.to_string(), cell(value)]).collect();
    table(&rows)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn info(info: &Value) -> String {
    let config = &info["config"];
    let (boot, machine) = (&config["boot-source"], &config["machine-config"]);
    let memory = match &machine["mem_size_kib"] {
        Value::Null => ("memory in MiB", &machine["mem_size_mib"]),
        exact => ("memory in KiB", exact),
    };
    let mut text = pairs(&[
        ("id", &info["id"]),
        ("state", &info["state"]),
        ("version", &info["vmm_version"]),
        ("seccomp", &info["seccomp"]),
        ("Landlock", &info["landlock"]),
        ("kernel", &boot["kernel_image_path"]),
        ("initrd", &boot["initrd_path"]),
        ("command line", &boot["boot_args"]),
        ("vCPUs", &machine["vcpu_count"]),
        memory,
        ("huge pages", &machine["huge_pages"]),
        ("serial", &config["serial"]["console"]),
    ]);
    let disks = items(&config["drives"]);
    if !disks.is_empty() {
        let mut rows = vec![row(&["disk", "model", "access", "root", "image"])];
        for disk in disks {
            rows.push(vec![
                cell(&disk["drive_id"]),
                cell(&disk["model"]),
                access(&disk["is_read_only"]),
                yes_or_no(&disk["is_root_device"]),
                cell(&disk["path_on_host"]),
            ]);
        }
        text.push('\n');
        text.push_str(&table(&rows));
    }
    let nics = items(&config["network-interfaces"]);
    if !nics.is_empty() {
        let mut rows = vec![row(&["card", "model", "queues", "host"])];
        for nic in nics {
            let host = [&nic["host_dev_name"], &nic["host_interface"], &nic["host_fds"]];
            let host = host.into_iter().find(|host| !host.is_null()).unwrap_or(&Value::Null);
            rows.push([&nic["iface_id"], &nic["model"], &nic["queues"], host].map(cell).to_vec());
        }
        text.push('\n');
        text.push_str(&table(&rows));
    }
    text
}

/// Whether a disk is written.
fn access(read_only: &Value) -> String {
    if *read_only == true { "ro" } else { "rw" }.to_string()
}

fn yes_or_no(value: &Value) -> String {
    if *value == true { "yes" } else { "no" }.to_string()
}

/// Bytes in a unit that people read.
fn size(bytes: &Value) -> String {
    bytes.as_u64().map_or_else(|| cell(bytes), |bytes| Size(bytes).to_string())
}

pub fn disks(disks: &Value) -> String {
    let head =
        ["disk", "model", "size", "access", "cache", "engine", "running", "in flight", "image"];
    let mut rows = vec![row(&head)];
    for disk in items(disks) {
        rows.push(vec![
            cell(&disk["drive_id"]),
            cell(&disk["model"]),
            size(&disk["size"]),
            access(&disk["is_read_only"]),
            cell(&disk["cache"]),
            cell(&disk["engine"]),
            yes_or_no(&disk["running"]),
            cell(&disk["in_flight"]),
            cell(&disk["path_on_host"]),
        ]);
    }
    table(&rows)
}

pub fn devices(devices: &Value) -> String {
    let mut rows = vec![row(&["device", "slot", "state"])];
    for device in items(devices) {
        let state = match device["state"].as_str() {
            Some("awaiting_consent") => "awaits the guest's consent to go",
            Some(state) => state,
            None => "",
        };
        rows.push(vec![cell(&device["device"]), cell(&device["slot"]), state.to_string()]);
    }
    table(&rows)
}

pub fn disk(disk: &Value) -> String {
    let (size, access) = (size(&disk["size"]).into(), access(&disk["is_read_only"]).into());
    let bases: Vec<_> = items(&disk["base_paths_on_host"]).iter().map(cell).collect();
    let bases = if bases.is_empty() { Value::Null } else { bases.join(" on ").into() };
    let faults: Vec<_> = items(&disk["faults"]).iter().map(cell).collect();
    let faults = if faults.is_empty() { Value::Null } else { faults.join(", ").into() };
    let mut rows = vec![
        ("disk", &disk["drive_id"]),
        ("model", &disk["model"]),
        ("image", &disk["path_on_host"]),
        ("size", &size),
        ("access", &access),
        ("serial", &disk["serial"]),
        ("cache", &disk["cache"]),
        ("direct", &disk["direct"]),
        ("engine", &disk["engine"]),
        ("bytes/s at most", &disk["limits"]["bw"]),
        ("requests/s at most", &disk["limits"]["iops"]),
        ("faults", &faults),
        ("running", &disk["running"]),
        ("in flight", &disk["in_flight"]),
    ];
    if !bases.is_null() {
        rows.splice(3..3, [("on", &bases), ("its own bytes", &disk["overlay_bytes"])]);
    }
    let mut text = pairs(&rows);
    text.push('\n');
    text.push_str(&disk_latency(disk));
    text.push_str(&counts(&disk["counters"]));
    text
}

/// How long requests take, whole and in parts.
fn disk_latency(disk: &Value) -> String {
    let stretches = &disk["stretches"];
    let mut rows = vec![row(&["stretch", "p50", "p90", "p99", "max"])];
    for (name, told) in [
        ("queue to submit", &stretches["queue_to_submit"]),
        ("submit to completion", &stretches["submit_to_completion"]),
        ("completion to interrupt", &stretches["completion_to_interrupt"]),
        ("from queue to completion", &disk["latency"]),
    ] {
        let time = |key: &str| told[key].as_u64().map_or("-".to_string(), duration);
        let mut cells = vec![name.to_string()];
        cells.extend(["p50_ns", "p90_ns", "p99_ns", "max_ns"].map(time));
        rows.push(cells);
    }
    table(&rows)
}

pub fn disk_size(answer: &Value) -> String {
    pairs(&[("size", &size(&answer["size"]).into())])
}

/// Those that have counted something, one a line below an empty one.
fn counts(counters: &Value) -> String {
    let told = counters.as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
    let rows: Vec<_> = told.map(|(name, count)| vec![name.to_string(), cell(count)]).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&rows)) }
}

pub fn nics(nics: &Value) -> String {
    let head = ["card", "model", "condition", "link", "queues", "rx frames", "tx frames", "resets"];
    let mut rows = vec![row(&head)];
    for nic in items(nics) {
        let link = if nic["link_up"] == true { "up" } else { "down" };
        rows.push(vec![
            cell(&nic["id"]),
            cell(&nic["model"]),
            cell(&nic["condition"]),
            link.to_string(),
            items(&nic["pairs"]).len().to_string(),
            cell(&nic["totals"]["rx_frames"]),
            cell(&nic["totals"]["tx_frames"]),
            cell(&nic["resets"]),
        ]);
    }
    table(&rows)
}

pub fn nic(nic: &Value) -> String {
    let mut text = pairs(&[
        ("card", &nic["id"]),
        ("model", &nic["model"]),
        ("host", &nic["backend"]),
        ("mac", &nic["mac"]),
        ("condition", &nic["condition"]),
        ("link up", &nic["link_up"]),
        ("mtu", &nic["mtu"]),
        ("driver", &nic["driver"]["about"]),
        ("steering", &nic["steering"]),
        ("resets", &nic["resets"]),
        ("last reset", &nic["last_reset"]["reason"]),
    ]);
    let mut rows = vec![row(&["queue", "ring", "entries", "vector", "frames", "bytes"])];
    for pair in items(&nic["pairs"]) {
        for way in ["rx", "tx"] {
            let (ring, count) = (&pair[way], |what| &pair["counters"][format!("{way}_{what}")]);
            rows.push(vec![
                cell(&pair["index"]),
                way.to_string(),
                cell(&ring["entries"]),
                cell(&ring["vector"]),
                cell(count("frames")),
                cell(count("bytes")),
            ]);
        }
    }
    text.push('\n');
    text.push_str(&table(&rows));
    text.push_str(&counts(&nic["totals"]));
    text
}

pub fn vsock(vsock: &Value) -> String {
    let mut text = pairs(&[
        ("guest CID", &vsock["guest_cid"]),
        ("socket", &vsock["socket"]),
        ("driver runs", &Value::from(yes_or_no(&vsock["running"]))),
    ]);
    let connections = items(&vsock["connections"]);
    if !connections.is_empty() {
        let head = ["by", "host port", "guest port", "state", "to guest", "from guest", "waiting"];
        let keys =
            ["origin", "host_port", "guest_port", "state", "to_guest", "from_guest", "waiting"];
        let mut rows = vec![row(&head)];
        rows.extend(connections.iter().map(|one| keys.map(|key| cell(&one[key])).to_vec()));
        text.push('\n');
        text.push_str(&table(&rows));
    }
    text + &counts(&vsock["counters"])
}

pub fn rss(rss: &Value) -> String {
    let mut text = pairs(&[("steering", &rss["steering"]), ("key", &rss["key"])]);
    let buckets = items(&rss["table"]);
    let mut rows = vec![row(&["buckets", "queue of each", "", "", "", "", "", "", "", "hits"])];
    for (at, chunk) in buckets.chunks(8).enumerate() {
        let mut cells = vec![format!("{}", at * 8)];
        cells.extend(chunk.iter().map(|bucket| cell(&bucket["queue"])));
        cells.resize(9, String::new());
        let hits: u64 = chunk.iter().filter_map(|bucket| bucket["hits"].as_u64()).sum();
        cells.push(hits.to_string());
        rows.push(cells);
    }
    text.push('\n');
    text.push_str(&table(&rows));
    text
}

pub fn explained(flow: &Value) -> String {
    let hash = flow["hash"].as_u64().map_or("-".to_string(), |hash| format!("{hash:#010x}"));
    let hash = Value::String(hash);
    pairs(&[
        ("protocol", &flow["protocol"]),
        ("hashed as", &flow["hash_type"]),
        ("hash", &hash),
        ("bucket", &flow["bucket"]),
        ("queue", &flow["queue"]),
        ("vector", &flow["vector"]),
        ("vCPUs", &flow["vcpus"]),
    ])
}

pub fn capture(state: &Value) -> String {
    let running = Value::String("still running".to_string());
    let ended = if state["ended"].is_null() { &running } else { &state["ended"] };
    pairs(&[
        ("ended", ended),
        ("frames", &state["frames"]),
        ("bytes", &state["bytes"]),
        ("dropped", &state["dropped"]),
        ("overwritten", &state["overwritten"]),
    ])
}

/// The stretches that are measured, and how they are called.
pub const STRETCHES: [(&str, &str); 4] = [
    ("doorbell_to_tap", "doorbell to tap"),
    ("tap_to_completion", "tap to completion"),
    ("tap_to_guest", "tap to guest"),
    ("completion_to_interrupt", "completion to interrupt"),
];

/// Nanoseconds in a unit that people read.
pub fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1_000),
        _ => format!("{} ms", ns / 1_000_000),
    }
}

pub fn latency(latency: &Value) -> String {
    let head = ["queue", "stretch", "count", "p50", "p90", "p99", "p99.9", "max"];
    let mut rows = vec![row(&head)];
    for pair in items(&latency["pairs"]) {
        for (field, name) in STRETCHES {
            let told = &pair[field];
            let time = |key: &str| duration(told[key].as_u64().unwrap_or(0));
            let mut cells = vec![cell(&pair["index"]), name.to_string(), cell(&told["count"])];
            cells.extend(["p50", "p90", "p99", "p999", "max"].map(time));
            rows.push(cells);
        }
    }
    let mut text = table(&rows);
    if latency["on"] == false {
        let _ = writeln!(text, "\nno longer measured");
    }
    text
}

/// Bytes in MiB, as there are seldom whole ones.
fn mib(bytes: &Value) -> Value {
    match bytes.as_u64() {
        Some(bytes) => Value::String(format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))),
        None => bytes.clone(),
    }
}

pub fn memory(memory: &Value) -> String {
    let (balloon, hotplug) = (&memory["balloon"], &memory["hotplug"]);
    pairs(&[
        ("memory of the guest", &mib(&memory["size"])),
        ("resident", &mib(&memory["resident"])),
        ("of that anonymous", &mib(&memory["anonymous"])),
        ("swapped", &mib(&memory["swapped"])),
        ("balloon is to hold", &mib(&balloon["target"])),
        ("balloon holds", &mib(&balloon["actual"])),
        ("given back so far", &mib(&balloon["given_back"])),
        ("can be plugged", &mib(&hotplug["total"])),
        ("is to be plugged", &mib(&hotplug["requested"])),
        ("is plugged", &mib(&hotplug["plugged"])),
    ])
}

pub fn balloon(balloon: &Value) -> String {
    let mut text = pairs(&[
        ("amount in MiB", &balloon["amount_mib"]),
        ("deflates on OOM", &balloon["deflate_on_oom"]),
        ("free page reporting", &balloon["free_page_reporting"]),
        ("free page hinting", &balloon["free_page_hinting"]),
        ("seconds between statistics", &balloon["stats_polling_interval_s"]),
    ]);
    if let Some(statistics) = balloon["statistics"].as_object() {
        let rows: Vec<_> = statistics.iter().map(|(name, value)| (name.as_str(), value)).collect();
        text.push('\n');
        text.push_str(&pairs(&rows));
    }
    text
}
