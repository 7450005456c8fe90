//! State files of snapshots: of a machine with one vCPU and a card, and such as have a mistake.

use serde_json::{Value, json};

use crate::Seed;

pub fn all() -> Vec<Seed> {
    let head = json!({
        "vmm_version": "0.1.0", "architecture": "x86_64", "kind": "full", "created_s": 1,
        "vcpus": 1, "memory_bytes": 0x800_0000, "memory_data_bytes": 4096,
        "parts": [{ "id": "eth0", "kind": "virtio-net", "version": 1 }],
    });
    let body = body();
    let (mut no_vcpu, mut bad_blob, mut bad_config) = (body.clone(), body.clone(), body.clone());
    no_vcpu["state"]["vcpus"] = json!([]);
    bad_blob["state"]["vcpus"][0]["regs"] = json!("0");
    bad_config["config"]["drives"] = json!([{ "drive_id": 7 }]);
    let later = [("later-format", 9, &head, &body)];
    let of_today = [
        ("whole", 1, &head, &body),
        ("no-vcpu", 1, &head, &no_vcpu),
        ("bad-blob", 1, &head, &bad_blob),
        ("bad-config", 1, &head, &bad_config),
        ("no-head", 1, &Value::Null, &body),
    ];
    let seeds = of_today.into_iter().chain(later);
    seeds.map(|(name, format, head, body)| (name, file(format, head, body))).collect()
}

/// A file but for its digest, which the target makes.
fn file(format: u32, head: &Value, body: &Value) -> Vec<u8> {
    let (head, body) = (head.to_string(), body.to_string());
    let mut bytes = b"vmm-snap".to_vec();
    bytes.extend(format.to_le_bytes());
    bytes.extend((head.len() as u32).to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend([0; 32]);
    bytes.extend(head.bytes().chain(body.bytes()));
    bytes
}

pub fn body() -> Value {
    let zeroes = |bytes: usize| "00".repeat(bytes);
    json!({
        "config": {
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 128, "bus": "pci" },
            "boot-source": { "kernel_image_path": "vmlinux" },
            "drives": [{ "drive_id": "d", "path_on_host": "d.raw", "is_root_device": false }],
            "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": "tap0" }],
        },
        "state": {
            "vcpus": [{
                "mp_state": 0, "regs": zeroes(144), "sregs": zeroes(312), "xsave": zeroes(64),
                "xcrs": zeroes(392), "debug_registers": zeroes(128), "lapic": zeroes(1024),
                "tsc_khz": 2_000_000, "tsc_offset": 7, "cpuid": [zeroes(40)],
                "msrs": [{ "index": 16, "data": 5 }], "events": zeroes(64),
            }],
            "kvm": {
                "pic_master": zeroes(520), "pic_slave": zeroes(520), "ioapic": zeroes(520),
                "pit": zeroes(112), "clock": zeroes(48),
            },
            "board": [],
            "devices": [{
                "id": "eth0",
                "saved": { "kind": "virtio-net", "version": 1, "state": { "a": [1, "b", null] } },
            }],
        },
        "kept": { "seed": "00ff", "metadata": { "machine": null, "user": { "a": 1 } } },
        "memory": { "bytes": 0x800_0000, "data_bytes": 4096, "pieces": [[0, 7]] },
    })
}
