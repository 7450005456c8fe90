//! The API's description, printed from the table that serves it and from the types of its bodies.

use std::collections::BTreeMap;

use devices::net::spec::ENA_MTU_RANGE;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::routes;
use crate::dialect::{
    balloon, cpu, drives, entropy, flow, full, hot_memory, machine, mmds, network, pmem, snapshot,
    vsock, watch,
};
use crate::vm::hotplug;

/// Adds the schemas of a type and of all that it refers to.
fn add<T: ToSchema>(all: &mut BTreeMap<String, RefOr<Schema>>) {
    let mut others = Vec::new();
    T::schemas(&mut others);
    all.insert(T::name().into_owned(), T::schema());
    all.extend(others);
}

fn schemas() -> Value {
    let mut all = BTreeMap::new();
    add::<routes::InstanceInfo>(&mut all);
    add::<routes::VmPatch>(&mut all);
    add::<routes::ActionBody>(&mut all);
    add::<full::FullConfig>(&mut all);
    add::<cpu::CpuConfig>(&mut all);
    add::<machine::BootSource>(&mut all);
    add::<machine::MachineConfig>(&mut all);
    add::<machine::MachinePatchBody>(&mut all);
    add::<drives::Drive>(&mut all);
    add::<drives::DrivePatch>(&mut all);
    add::<drives::DiskFaultBody>(&mut all);
    add::<pmem::Pmem>(&mut all);
    add::<pmem::PmemPatchBody>(&mut all);
    add::<balloon::Balloon>(&mut all);
    add::<balloon::BalloonPatch>(&mut all);
    add::<balloon::BalloonStatsPatch>(&mut all);
    add::<balloon::HintingStart>(&mut all);
    add::<routes::HintingStop>(&mut all);
    add::<entropy::Entropy>(&mut all);
    add::<hotplug::DeviceView>(&mut all);
    add::<hot_memory::MemoryHotplug>(&mut all);
    add::<hot_memory::MemoryHotplugPatch>(&mut all);
    add::<network::NetworkInterface>(&mut all);
    add::<network::NetworkInterfacePatch>(&mut all);
    add::<vsock::Vsock>(&mut all);
    add::<flow::Flow>(&mut all);
    add::<flow::Capture>(&mut all);
    add::<flow::FaultBody>(&mut all);
    add::<flow::Link>(&mut all);
    add::<flow::Measuring>(&mut all);
    add::<mmds::MmdsConfig>(&mut all);
    add::<watch::Logger>(&mut all);
    add::<watch::Metrics>(&mut all);
    add::<watch::Serial>(&mut all);
    add::<snapshot::SnapshotCreate>(&mut all);
    add::<snapshot::SnapshotLoad>(&mut all);
    add::<crate::dialect::fork::Fork>(&mut all);
    add::<crate::fork::view::Forked>(&mut all);
    add::<crate::dialect::migration::Migration>(&mut all);
    add::<crate::migration::view::Migrated>(&mut all);
    let mut all = serde_json::to_value(all).expect("schemas are JSON");
    bound(&mut all);
    // One of its variants may be a word alone, and else is an object of exactly one field.
    let alone = json!({ "type": "string", "enum": ["swallow-tx"] });
    all["NicFault"]["oneOf"].as_array_mut().expect("a choice").push(alone);
    for variant in all["NicFault"]["oneOf"].as_array_mut().into_iter().flatten() {
        if variant["type"] == "object" {
            variant["additionalProperties"] = json!(false);
        }
    }
    let texts = |names: &[&str]| -> Value {
        let properties: serde_json::Map<_, _> =
            names.iter().map(|name| (name.to_string(), json!({ "type": "string" }))).collect();
        json!({ "type": "object", "required": names, "properties": properties })
    };
    all["Fault"] = texts(&["fault_message"]);
    all["Version"] = texts(&["firecracker_version", "vmm_version"]);
    all["Vm"] = texts(&["state"]);
    all["MmdsContents"] = json!({ "description": "Any JSON; nearly always an object." });
    all["OpenApi"] = json!({ "type": "object" });
    all["Exposition"] = json!({ "type": "string", "description": "OpenMetrics 1.0 text." });
    let mut state = shown(&[
        ("id", "string", "The disk's name."),
        ("model", "string", "`virtio`, `nvme` or `nvme-instance`."),
        ("path", "string", "The image."),
        ("bases", "array", "What is below it, the nearest first, if it is an overlay."),
        ("overlay_bytes", "integer", "Bytes of the disk that the overlay itself has."),
        ("size", "integer", "Bytes of it that the guest sees."),
        ("read_only", "boolean", "It is never written."),
        ("cache", "string", "What a completed write or flush promises."),
        ("direct", "boolean", "Reads and writes go past the host's page cache."),
        ("engine", "string", "`uring` or `threads`: how requests reach the host."),
        ("serial", "string", "What the guest reads as its serial number."),
        ("limits", "object", "What it may do at most."),
        ("faults", "array", "What goes wrong on purpose."),
        ("running", "boolean", "A driver has its queues at work."),
        ("in_flight", "integer", "Requests that the host works on."),
        ("counters", "object", "All queues' counters by name, since the machine was built."),
        ("latency", "object", "How long requests take, in nanoseconds."),
        ("stretches", "object", "How long they take on each stretch of their way, likewise."),
    ]);
    // The state's fields are there only once the machine is started.
    let mut disk = all["Drive"].clone();
    if let (Some(fields), Value::Object(more)) =
        (disk["properties"].as_object_mut(), state["properties"].take())
    {
        fields.extend(more);
    }
    all["DiskInspection"] = disk;
    let each = json!({ "$ref": "#/components/schemas/DiskInspection" });
    all["DiskInspections"] = json!({ "type": "array", "items": each });
    let each = json!({ "$ref": "#/components/schemas/DeviceView" });
    all["Devices"] = json!({ "type": "array", "items": each });
    all["DiskSize"] = shown(&[("size", "integer", "Bytes that the guest sees now.")]);
    all["Inspection"] = shown(&[
        ("id", "string", "The card's name."),
        ("model", "string", "`virtio` or `ena`."),
        ("backend", "string", "The host's side of the cable."),
        ("mac", "string", "The card's own address, as its driver set it last."),
        ("condition", "string", "`idle`, `running`, `resetting` or `failed`."),
        ("link_up", "boolean", "As the guest sees it."),
        ("mtu", "integer|null", "As the driver set it last."),
        ("max_mtu", "integer|null", "The largest that the card offers."),
        ("driver", "object", "What the driver says of itself, and what it negotiated."),
        ("management", "array", "Rings besides those for frames."),
        ("pairs", "array", "Rings, vectors and counters of each queue pair."),
        ("steering", "string|null", "How well the host follows the guest's hash table."),
        ("totals", "object", "All pairs' counters added up, since the machine was built."),
        ("allowed", "object", "Limits of the card."),
        ("allowances", "object", "How often it went beyond them."),
        ("resets", "integer", "Resets by the driver."),
        ("last_reset", "object|null", "Code and reason of the last one."),
        ("faults", "array", "What goes wrong on purpose."),
        ("capture", "object|null", "The capture that runs, or the last one."),
        ("measures_latency", "boolean", "Whether latencies are measured."),
    ]);
    all["Rss"] = shown(&[
        (
            "steering",
            "string",
            "`exact`, `sorted` or `by_flow`: how well the host follows the table.",
        ),
        ("key", "string", "In hex, as `ethtool -x` shows it."),
        ("initial", "integer", "What the hash of no input would be."),
        ("hashed", "array", "What is hashed, for each kind of frame that is."),
        ("table", "array", "Queue and hits of each bucket."),
        ("unhashed", "object", "Queue and hits of frames without a hash."),
    ]);
    all["ExplainedFlow"] = shown(&[
        ("protocol", "string", "The kind of frame it is."),
        ("hash", "integer|null", "The hash, null if the guest wants none."),
        ("hash_type", "string|null", "The kind of frame it is hashed as."),
        ("bucket", "integer|null", "The entry of the table."),
        ("queue", "integer", "The queue pair."),
        ("vector", "integer|null", "The interrupt vector of its receive ring."),
        ("vcpus", "array|null", "vCPUs that the vector may interrupt."),
    ]);
    all["VsockInspection"] = shown(&[
        ("guest_cid", "integer", "The guest's address."),
        ("uds_path", "string", "The socket, as it was given."),
        ("socket", "string", "The same for whoever has another working directory."),
        ("running", "boolean", "A driver has its queues at work."),
        ("connections", "array", "Each connection: who began it, ports, state, bytes."),
        ("most_connections", "integer", "Most that there can be."),
        ("counters", "object", "Counters by name, since the machine was built."),
    ]);
    all["CaptureState"] = shown(&[
        ("spec", "object", "What is captured, and how much."),
        ("ended", "string|object|null", "Why it ended; null while it runs."),
        ("frames", "integer", "Frames written, or kept to be written."),
        ("bytes", "integer", "Their bytes."),
        ("dropped", "integer", "Frames that the writer was too slow for."),
        ("overwritten", "integer", "Frames that newer ones took the place of."),
    ]);
    all["Latency"] = shown(&[
        ("on", "boolean", "Still measured."),
        ("pairs", "array", "Percentiles of each queue pair, in nanoseconds."),
    ]);
    all["BalloonStats"] = shown(&[
        ("target_pages", "integer", "Pages of 4 KiB that the guest is to give up."),
        ("actual_pages", "integer", "Pages of 4 KiB that it says it gave up."),
        ("target_mib", "integer", "The same in MiB."),
        ("actual_mib", "integer", "The same in MiB."),
    ]);
    for (name, about) in [
        ("swap_in", "Bytes that were read from swap."),
        ("swap_out", "Bytes that were written to swap."),
        ("major_faults", "Page faults that waited for a disk."),
        ("minor_faults", "Other page faults."),
        ("free_memory", "Bytes that are not used at all."),
        ("total_memory", "Bytes that the guest's kernel has."),
        ("available_memory", "Bytes that new programs could have without swapping."),
        ("disk_caches", "Bytes that could be had back at once."),
        ("hugetlb_allocations", "Huge pages of the guest's pool that were given out."),
        ("hugetlb_failures", "Those that could not be given out."),
        ("oom_kill", "Processes that were killed for lack of memory."),
        ("alloc_stall", "Times that a process had to wait for memory."),
        ("async_scan", "Pages that were looked at in the background."),
        ("direct_scan", "Pages that a process in need of memory looked at."),
        ("async_reclaim", "Pages that were had back in the background."),
        ("direct_reclaim", "Pages that a process in need of memory had back."),
    ] {
        let about = format!("{about} Only if the guest tells it.");
        all["BalloonStats"]["properties"][name] =
            json!({ "type": "integer", "description": about });
    }
    all["HintingStatus"] = shown(&[
        (
            "host_cmd",
            "integer",
            "The run that is asked for; 0 before the first, 1 when it is over.",
        ),
        (
            "guest_cmd",
            "integer|null",
            "The run that the guest is in, or 0; null if it said nothing.",
        ),
    ]);
    all["MemoryReport"] = shown(&[
        ("size", "integer", "Bytes of the guest's RAM."),
        ("resident", "integer|null", "Bytes of the host's memory that the process has."),
        ("anonymous", "integer|null", "Of these all but pages of files."),
        ("swapped", "integer|null", "Bytes that the host has moved to swap."),
        ("balloon", "object|null", "What it is to hold, holds, and has given back, in bytes."),
        ("hotplug", "object|null", "What can be plugged, is to be, and is, in bytes."),
    ]);
    all["MemoryHotplugStatus"] = shown(&[
        ("total_size_mib", "integer", "All that the guest can have of it, in MiB."),
        ("block_size_mib", "integer", "What it comes and goes in, in MiB."),
        (
            "slot_size_mib",
            "integer",
            "What the guest cannot reach if it has nothing of it, in MiB.",
        ),
        ("requested_size_mib", "integer", "What the guest is to have, in MiB."),
        ("plugged_size_mib", "integer", "What it has, in MiB."),
    ]);
    all["Event"] = json!({
        "type": "object",
        "required": ["timestamp_ms", "event"],
        "properties": {
            "timestamp_ms": { "type": "integer", "description": "Milliseconds since 1970." },
            "event": { "type": "string" },
        },
    });
    all
}

/// An object that cards and disks show: name, types and meaning of each field that it always has.
fn shown(fields: &[(&str, &str, &str)]) -> Value {
    let names: Vec<_> = fields.iter().map(|(name, ..)| *name).collect();
    let property = |(name, types, about): &(&str, &str, &str)| {
        let types: Vec<_> = types.split('|').collect();
        let types = match types[..] {
            [one] => json!(one),
            _ => json!(types),
        };
        (name.to_string(), json!({ "type": types, "description": about }))
    };
    let properties: serde_json::Map<_, _> = fields.iter().map(property).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// Gives numbers the format's name as it is registered, and its maximum unless they have one.
fn bound(schema: &mut Value) {
    let named = match schema["format"].as_str() {
        Some("u-int8") => Some(("uint8", u8::MAX.into())),
        Some("u-int16") => Some(("uint16", u16::MAX.into())),
        Some("u-int32") => Some(("uint32", u32::MAX.into())),
        Some("u-int64") => Some(("uint64", u64::MAX)),
        _ => None,
    };
    if let Some((name, maximum)) = named {
        schema["format"] = json!(name);
        if schema["maximum"].is_null() {
            schema["maximum"] = json!(maximum);
        }
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(bound),
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

fn description() -> Value {
    let schemas = schemas();
    let mut paths = serde_json::Map::new();
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let fault = |about: &str| {
        json!({
            "description": about,
            "content": { "application/json": { "schema": reference("Fault") } },
        })
    };
    for route in routes::all() {
        let mut operation = json!({
            "summary": route.about,
            "responses": {
                "400": fault("The request makes no sense, or none in this state; nothing has changed."),
                "408": fault("The body took too long to come."),
                "413": fault("The body is too large."),
                "500": fault("The host or the VMM failed; nothing has changed."),
                "503": fault("As many clients are connected as can be."),
            },
        });
        let kind = match route.answer {
            Some("Event") => "application/jsonl",
            Some("Exposition") => "application/openmetrics-text",
            _ => "application/json",
        };
        let (status, response) = match route.answer {
            Some(name) => (
                "200",
                json!({
                    "description": "As asked.",
                    "content": { kind: { "schema": reference(name) } },
                }),
            ),
            None => ("204", json!({ "description": "Done." })),
        };
        operation["responses"][status] = response;
        if route.path.contains("{id}") {
            let id = match route.path {
                path if path.starts_with("/drives") => &schemas["Drive"]["properties"]["drive_id"],
                path if path.starts_with("/pmem") => &schemas["Pmem"]["properties"]["id"],
                _ => &schemas["NetworkInterface"]["properties"]["iface_id"],
            };
            operation["parameters"] = json!([{
                "name": "id", "in": "path", "required": true, "schema": id,
            }]);
        }
        if let Some(name) = route.body {
            operation["requestBody"] = json!({
                "required": !route.may_lack_body(),
                "content": { "application/json": { "schema": reference(name) } },
            });
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.to_string().to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vmm",
            "description": "A virtual machine, configured, started, watched and stopped over HTTP on a Unix socket, in Firecracker's dialect.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Prints the description again with `UPDATE_GENERATED=1` in the environment.
#[test]
fn the_description_that_is_served_is_that_of_the_table() {
    let text = format!("{:#}\n", description());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/openapi.json");
        std::fs::write(path, &text).expect("the source tree can be written");
        return;
    }
    assert!(text == routes::OPENAPI, "resources/openapi.json is old; UPDATE_GENERATED=1 renews it");
}

/// Which is the TAP's for a virtio card alone.
#[test]
fn the_largest_packet_of_an_ena_card_is_the_one_that_is_described() {
    let description = description();
    let card = &description["components"]["schemas"]["NetworkInterface"]["properties"];
    let about = card["mtu"]["description"].as_str().expect("a text");
    let (least, most) = (ENA_MTU_RANGE.start(), ENA_MTU_RANGE.end());
    assert!(about.contains(&format!("{most} for an ENA card if not given")), "{about}");
    assert!(about.contains(&format!("An ENA card takes {least} to {most}")), "{about}");
}

#[test]
fn every_reference_has_a_schema_and_every_schema_is_referred_to() {
    let description = description();
    let schemas = description["components"]["schemas"].as_object().expect("an object");
    let text = description.to_string();
    let prefix = "#/components/schemas/";
    let mut referred: Vec<&str> = text
        .match_indices(prefix)
        .map(|(at, _)| text[at + prefix.len()..].split('"').next().unwrap_or_default())
        .collect();
    referred.sort_unstable();
    referred.dedup();
    assert_eq!(referred, schemas.keys().map(String::as_str).collect::<Vec<_>>());
}
