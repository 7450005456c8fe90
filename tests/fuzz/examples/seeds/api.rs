//! Requests to the API.

use crate::Seed;

pub fn all() -> Vec<Seed> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let with = |method: &str, path: &str, body: &str| {
        format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let nic = r#"{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"06:00:00:00:00:01","mtu":1500,
        "rx_rate_limiter":{"bandwidth":{"size":1000,"refill_time":100,"one_time_burst":5}},
        "model":"ena","queues":4,"allowances":{"bw_out":1000000,"pps":1000,"conntrack":9},
        "llq":false,"faults":[{"kind":"no-answer","after_s":5}]}"#;
    let drive = r#"{"drive_id":"rootfs","path_on_host":"/nowhere/d","is_root_device":true,"is_read_only":true,
        "partuuid":"0eaa91a0-01","cache_type":"Writeback","io_engine":"Async",
        "rate_limiter":{"ops":{"size":10,"refill_time":100}},"model":"nvme","queues":2,
        "direct":true,"serial":"vol1","allowances":{"bw":1000},"faults":["slow"]}"#;
    let template = r#"{"kvm_capabilities":["121","!56"],
        "cpuid_modifiers":[{"leaf":"0x7","subleaf":"0","flags":1,"modifiers":[{"register":"ebx","bitmap":"0bx_01"}]}],
        "msr_modifiers":[{"addr":"0x10a","bitmap":"0b1"}]}"#;
    let balloon = r#"{"amount_mib":64,"deflate_on_oom":true,"stats_polling_interval_s":1,"free_page_hinting":true,"free_page_reporting":true}"#;
    let entropy = r#"{"rate_limiter":{"ops":{"size":1,"refill_time":1}},"enabled":true}"#;
    let pmem = r#"{"id":"a","path_on_host":"/nowhere/p","read_only":true,"root_device":true}"#;
    let memory =
        r#"{"total_size_mib":1024,"block_size_mib":2,"slot_size_mib":128,"requested_size_mib":4}"#;
    let flow =
        r#"{"source":"192.0.2.1","destination":"192.0.2.2","protocol":"tcp","source_port":1}"#;
    let chunked =
        "PUT /vm HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"sta\r\n2\r\nte\r\n0\r\n\r\n";
    let seeds = [
        ("get", get("/")),
        ("version-twice", get("/version") + &get("/version")),
        ("openapi", get("/openapi.json")),
        ("unknown", get("/vsock/a?b=c")),
        ("drive", with("PUT", "/drives/rootfs", drive)),
        ("drive-patch", with("PATCH", "/drives/rootfs", drive)),
        ("drive-refresh", "POST /drives/a/refresh HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        ("drive-fault", with("PUT", "/drives/a/faults", r#"{"fault":"swallow"}"#)),
        ("boot", with("PUT", "/boot-source", r#"{"kernel_image_path":"k","boot_args":"a=b"}"#)),
        ("machine", with("PUT", "/machine-config", r#"{"vcpu_count":2,"mem_size_mib":512}"#)),
        ("cpu-config", with("PUT", "/cpu-config", template)),
        ("patch", with("PATCH", "/machine-config", r#"{"huge_pages":"2M","smt":false}"#)),
        ("nic", with("PUT", "/network-interfaces/eth0", nic)),
        ("nic-patch", with("PATCH", "/network-interfaces/eth0", nic)),
        ("flow", with("POST", "/network-interfaces/eth0/explain-flow", flow)),
        ("fault", with("PUT", "/network-interfaces/a/faults", r#"{"fault":{"swallow-tx":9}}"#)),
        ("link", with("PUT", "/network-interfaces/a/link", r#"{"up":false}"#)),
        ("balloon", with("PUT", "/balloon", balloon)),
        ("hinting", with("PATCH", "/balloon/hinting/start", r#"{"acknowledge_on_stop":false}"#)),
        ("entropy", with("PUT", "/entropy", entropy)),
        ("pmem", with("PUT", "/pmem/a", pmem)),
        ("memory", with("PUT", "/hotplug/memory", memory)),
        ("memory-patch", with("PATCH", "/hotplug/memory", r#"{"requested_size_mib":64}"#)),
        ("action", with("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#)),
        ("logger", with("PUT", "/logger", r#"{"log_path":"l","level":"Info","show_level":true}"#)),
        ("serial", with("PUT", "/serial", r#"{"console":"socket=/tmp/s"}"#)),
        (
            "mmds-config",
            with("PUT", "/mmds/config", r#"{"network_interfaces":["eth0"],"version":"V2"}"#),
        ),
        ("mmds", with("PUT", "/mmds", r#"{"a":{"b":[1,null,"c"]}}"#)),
        ("mmds-patch", with("PATCH", "/mmds", r#"{"a":{"b":null}}"#)),
        ("chunked", chunked.to_string()),
        (
            "expect",
            "PUT /vm HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}".into(),
        ),
        ("old", "GET / HTTP/1.0\r\n\r\n".into()),
        ("upgrade", "GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n".into()),
        ("cut", "PUT /vm HTTP/1.1\r\nContent-Length: 99\r\n\r\n{".into()),
    ];
    seeds.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}
