//! Tests of bodies: what they come to, and how their mistakes are told.

use std::num::NonZeroU64;

use device_core::rate::{Bucket, Quota};
use devices::block::spec::{Allowed as DiskAllowed, Cache, DiskSpec, Engine, Fault as DiskFault};
use devices::block::spec::{Model as DiskModel, Root};
use devices::net::spec::{BackendSpec, Fault, Model, Mover, NicSpec, Rehearsal, SpecError};
use devices::net::stage::limiter::Allowed;
use proptest::prelude::*;

use super::drives::{DiskFaultBody, Drive, DrivePatch};
use super::machine::{BootSource, MachineConfig, MachinePatchBody};
use super::network::{NetworkInterface, NetworkInterfacePatch};
use super::*;
use crate::vm::patch::MachinePatch;
use crate::vm::spec::{DeviceBus, MachineSpec};
fn nic(text: &str) -> Result<NicSpec, BodyError> {
    read::<NetworkInterface>(text.as_bytes())?.into_spec("eth0")
}

fn bucket(size: u64, refill_time: u64, one_time_burst: u64) -> Option<Quota> {
    let (size, refill_time) = NonZeroU64::new(size).zip(NonZeroU64::new(refill_time))?;
    Some(Quota::Bucket(Bucket { size, refill_time, one_time_burst }))
}

fn any_quota() -> impl Strategy<Value = Option<Quota>> {
    let bucket = any::<[u64; 3]>().prop_map(|[size, time, once]| bucket(size, time, once));
    prop_oneof![any::<u64>().prop_map(Quota::per_second), bucket]
}

fn limits(text: &str) -> Result<Allowed, BodyError> {
    let text = format!(r#"{{"iface_id":"eth0","host_dev_name":"t",{text}}}"#);
    nic(&text).map(|nic| nic.limits)
}

#[test]
fn a_card_of_the_dialect_becomes_a_card_of_ours() {
    let text = r#"{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"06:00:00:00:00:01",
        "mtu":1500,"rx_rate_limiter":{"bandwidth":{"size":125000,"refill_time":1000}},
        "tx_rate_limiter":{"bandwidth":{"size":1000,"refill_time":1,"one_time_burst":5}}}"#;
    let mut expected: NicSpec = "tap=tap0,id=eth0,mac=06:00:00:00:00:01,mtu=1500".parse().unwrap();
    // A bit is a unit, and a byte a token.
    expected.limits.bw_in = bucket(1_000_000, 1000, 0);
    expected.limits.bw_out = bucket(8000, 1, 40);
    assert_eq!(nic(text), Ok(expected));
    let text = r#"{"iface_id":"eth0","host_fds":[3,4],"model":"ena","allowances":{"pps":9}}"#;
    let card = nic(text).unwrap();
    assert_eq!((card.backend, card.queues), (BackendSpec::Fd(vec![3, 4]), 2));
    assert_eq!((card.model, card.limits.pps), (Model::Ena, Quota::per_second(9)));
    let card = nic(r#"{"iface_id":"eth0","host_interface":"veth0"}"#).unwrap();
    assert_eq!((card.backend, card.queues), (BackendSpec::Dev("veth0".into()), 1));
}

fn drive(fields: &str) -> Result<DiskSpec, BodyError> {
    let text = format!(r#"{{"drive_id":"rootfs","path_on_host":"d",{fields}}}"#);
    read::<Drive>(text.as_bytes())?.into_spec("rootfs")
}

#[test]
fn a_drive_of_the_dialect_becomes_a_disk_of_ours() {
    let unsafe_disk = DiskSpec { cache: Cache::Unsafe, ..DiskSpec::on("rootfs", "d") };
    assert_eq!(drive(r#""is_root_device":false"#), Ok(unsafe_disk.clone()));
    // Firecracker's own configuration files say null for what is not given.
    let nulls = r#""is_root_device":false,"is_read_only":null,"partuuid":null,"cache_type":null,
        "io_engine":null,"rate_limiter":null,"socket":null"#;
    assert_eq!(drive(nulls), Ok(unsafe_disk.clone()));
    // Of no matter unless it is the root.
    assert_eq!(drive(r#""is_root_device":false,"partuuid":"a b""#), Ok(unsafe_disk));
    let text = r#""is_root_device":true,"is_read_only":true,"partuuid":"0eaa91a0-01",
        "cache_type":"Writeback","io_engine":"Async","rate_limiter":{
            "bandwidth":{"size":1000,"refill_time":100,"one_time_burst":5},
            "ops":{"size":3,"refill_time":1}}"#;
    let mut expected: DiskSpec =
        "d,id=rootfs,ro,partuuid=0eaa91a0-01,cache=writeback,engine=uring".parse().unwrap();
    expected.limits = DiskAllowed { bw: bucket(1000, 100, 5), iops: bucket(3, 1, 0) };
    assert_eq!(drive(text), Ok(expected));
    let text = r#""is_root_device":true,"io_engine":"Sync","model":"nvme","queues":3,
        "cache":"writethrough","direct":true,"serial":"vol-1","allowances":{"iops":7},
        "faults":["slow","fatal"]"#;
    let expected: DiskSpec = "d,id=rootfs,root,engine=threads,model=nvme,queues=3,\
        cache=writethrough,direct=on,serial=vol-1,iops=7,fault=slow,fault=fatal"
        .parse()
        .unwrap();
    assert_eq!(drive(text), Ok(expected));
}

#[test]
fn a_disk_is_patched_as_firecracker_does_it() {
    let patch = |text: &str| {
        let text = format!(r#"{{"drive_id":"rootfs",{text}}}"#);
        read::<DrivePatch>(text.as_bytes())?.into_patch("rootfs")
    };
    let before = DiskAllowed { bw: Quota::per_second(1), iops: Quota::per_second(2) };
    for (text, path, after) in [
        (r#""path_on_host":"new""#, Some("new"), before),
        (r#""rate_limiter":{}"#, None, before),
        (r#""rate_limiter":{"bandwidth":null,"ops":null}"#, None, before),
        (
            r#""rate_limiter":{"bandwidth":{"size":5,"refill_time":1000}}"#,
            None,
            DiskAllowed { bw: bucket(5, 1000, 0), ..before },
        ),
        (
            r#""path_on_host":"new","rate_limiter":{"ops":{"size":0,"refill_time":0}}"#,
            Some("new"),
            DiskAllowed { iops: None, ..before },
        ),
        (r#""allowances":{"iops":9}"#, None, DiskAllowed { bw: None, iops: Quota::per_second(9) }),
    ] {
        let patch = patch(text).unwrap();
        assert_eq!(patch.path.as_deref(), path.map(std::path::Path::new), "{text}");
        assert_eq!(patch.limits.apply(&before), after, "{text}");
    }
    for (text, said) in [
        (r#""path_on_host":null"#, "path_on_host: it is missing, and so is anything else"),
        (r#""allowances":{"iops":0}"#, "allowances.iops: 0 would let nothing through"),
    ] {
        let error = patch(text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
    for fixed in ["is_read_only", "cache_type", "is_root_device", "io_engine", "serial"] {
        let text = format!(r#"{{"drive_id":"rootfs","path_on_host":"d","{fixed}":null}}"#);
        let error = read::<DrivePatch>(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("unknown field `{fixed}`")), "{error}");
    }
}

#[test]
fn a_mistake_about_a_drive_is_told_with_its_field() {
    for (fields, said) in [
        (r#""is_read_only":false"#, "missing field `is_root_device`"),
        (r#""is_root_device":1"#, "is_root_device: invalid type: integer `1`"),
        (r#""is_root_device":true,"cache_type":"None""#, "cache_type: unknown variant `None`"),
        (r#""is_root_device":true,"cache_type":"unsafe""#, "cache_type: unknown variant `unsafe`"),
        (r#""is_root_device":true,"io_engine":"uring""#, "io_engine: unknown variant `uring`"),
        (r#""is_root_device":true,"model":"floppy""#, "model: unknown variant `floppy`"),
        (
            r#""is_root_device":true,"cache_type":"Unsafe","cache":"unsafe""#,
            "cache: cache_type is given too; give one of them",
        ),
        (
            r#""is_root_device":true,"io_engine":"Sync","engine":"auto""#,
            "engine: io_engine is given too; give one of them",
        ),
        (
            r#""is_root_device":true,"allowances":{"bw":1},
                "rate_limiter":{"bandwidth":{"size":1,"refill_time":1}}"#,
            "rate_limiter: allowances.bw says the same",
        ),
        (r#""is_root_device":true,"allowances":{"bw":0}"#, "allowances.bw: 0 would let nothing"),
        (r#""is_root_device":true,"faults":["explode"]"#, "faults[0]: unknown variant `explode`"),
        (r#""is_root_device":true,"socket":"s""#, "socket: it is not possible"),
    ] {
        let error = drive(fields).unwrap_err().to_string();
        assert!(error.contains(said), "{fields}: {error}");
    }
    let read = |text: &str| read::<Drive>(text.as_bytes()).unwrap().into_spec("rootfs");
    let error = read(r#"{"drive_id":"b","is_root_device":false,"path_on_host":"d"}"#).unwrap_err();
    assert_eq!(error.to_string(), r#"drive_id: "b" is not the id in the path, "rootfs""#);
    let error = read(r#"{"drive_id":"rootfs","is_root_device":false}"#).unwrap_err();
    assert_eq!(error.to_string(), "path_on_host: it is missing");
    let error = read(r#"{"drive_id":"rootfs","is_root_device":false,"socket":"s"}"#).unwrap_err();
    assert!(error.to_string().contains("vhost-user"), "{error}");
}

#[test]
fn a_bucket_without_size_or_time_is_no_limit() {
    for bucket in [r#"{"size":0,"refill_time":5}"#, r#"{"size":5,"refill_time":0}"#] {
        let text = format!(r#""rx_rate_limiter":{{"bandwidth":{bucket},"ops":{bucket}}}"#);
        assert_eq!(limits(&text), Ok(Allowed::default()));
    }
    assert_eq!(limits(r#""rx_rate_limiter":{}"#), Ok(Allowed::default()));
}

#[test]
fn a_patch_changes_what_it_names_and_leaves_the_rest() {
    let patch = |text: &str| {
        let text = format!(r#"{{"iface_id":"eth0",{text}}}"#);
        read::<NetworkInterfacePatch>(text.as_bytes()).unwrap().into_patch("eth0")
    };
    let before = Allowed {
        bw_in: Quota::per_second(1),
        bw_out: Quota::per_second(2),
        pps: Quota::per_second(3),
        conntrack: Some(4),
        ..Allowed::default()
    };
    let one = patch(r#""rx_rate_limiter":{"bandwidth":{"size":1,"refill_time":1}}"#).unwrap();
    assert_eq!(one.apply(&before), Allowed { bw_in: bucket(8, 1, 0), ..before });
    let off = patch(r#""tx_rate_limiter":{"bandwidth":{"size":0,"refill_time":0}}"#).unwrap();
    assert_eq!(off.apply(&before), Allowed { bw_out: None, ..before });
    let ops = r#"{"ops":{"size":5,"refill_time":100}}"#;
    let packets = patch(&format!(r#""rx_rate_limiter":{ops},"tx_rate_limiter":{ops}"#)).unwrap();
    let (pps_in, pps_out) = (bucket(5, 100, 0), bucket(5, 100, 0));
    assert_eq!(packets.apply(&before), Allowed { pps_in, pps_out, ..before });
    let all = patch(r#""allowances":{"pps":7}"#).unwrap();
    assert_eq!(all.apply(&before), Allowed { pps: Quota::per_second(7), ..Allowed::default() });
    // Firecracker's clients send all of these, and mean nothing by them.
    for nothing in [
        r#""rx_rate_limiter":{}"#,
        r#""rx_rate_limiter":null"#,
        r#""tx_rate_limiter":{"bandwidth":null,"ops":null},"allowances":null"#,
        r#""rx_rate_limiter":{"ops":{"size":0,"refill_time":0}}"#,
    ] {
        assert_eq!(patch(nothing).unwrap().apply(&before), before, "{nothing}");
    }
    let alone = read::<NetworkInterfacePatch>(br#"{"iface_id":"eth0"}"#).unwrap();
    assert_eq!(alone.into_patch("eth0").unwrap().apply(&before), before);
}

#[test]
fn a_machine_is_patched_field_by_field() {
    let patch = |text: &str| -> Result<MachinePatch, BodyError> {
        read::<MachinePatchBody>(text.as_bytes())?.try_into()
    };
    let before = MachineSpec::default();
    let after = patch(r#"{"mem_size_mib":512}"#).unwrap().apply(&before);
    assert_eq!((after.cpus, after.memory.0), (before.cpus, 512 << 20));
    assert_eq!(patch(r#"{"smt":false}"#).unwrap().apply(&before), before);
    assert_eq!(patch("{}"), Err(BodyError::Nothing));
}

#[test]
fn a_bus_is_one_of_two_words_and_is_shown_if_it_was_said() {
    let machine = |bus: &str| -> Result<MachineSpec, BodyError> {
        let text = format!(r#"{{"vcpu_count":1,"mem_size_mib":64{bus}}}"#);
        read::<MachineConfig>(text.as_bytes())?.try_into()
    };
    let shown =
        |machine: &MachineSpec| serde_json::to_string(&MachineConfig::from(machine)).unwrap();
    for (text, bus) in [
        ("", None),
        (r#","bus":null"#, None),
        (r#","bus":"pci""#, Some(DeviceBus::Pci)),
        (r#","bus":"mmio""#, Some(DeviceBus::Mmio)),
    ] {
        let machine = machine(text).unwrap();
        assert_eq!(machine.bus, bus);
        assert_eq!(shown(&machine).contains(r#""bus":"#), bus.is_some());
    }
    let error = machine(r#","bus":"MMIO""#).unwrap_err().to_string();
    assert!(error.contains("bus: unknown variant `MMIO`"), "{error}");
    let patch = read::<MachinePatchBody>(br#"{"bus":"mmio"}"#).unwrap();
    let patch = MachinePatch::try_from(patch).unwrap();
    assert_eq!(patch.apply(&MachineSpec::default()).bus, Some(DeviceBus::Mmio));
}

#[test]
fn memory_that_is_no_whole_number_of_mib_is_told_exactly() {
    let shown = |memory: &str| {
        let memory = memory.parse().unwrap();
        let machine = MachineSpec { memory, ..MachineSpec::default() };
        let shown = serde_json::to_string(&MachineConfig::from(&machine)).unwrap();
        let again = MachineSpec::try_from(read::<MachineConfig>(shown.as_bytes()).unwrap());
        assert_eq!(again, Ok(machine), "{shown}");
        shown
    };
    assert!(shown("65540K").contains(r#""mem_size_mib":64,"mem_size_kib":65540,"#));
    assert!(!shown("64M").contains("mem_size_kib"));

    let patch = |text: &str| -> Result<MachinePatch, BodyError> {
        read::<MachinePatchBody>(text.as_bytes())?.try_into()
    };
    let memory = |text| patch(text).map(|patch| patch.memory.unwrap().0 >> 10);
    assert_eq!(memory(r#"{"mem_size_mib":64,"mem_size_kib":65540}"#), Ok(65540));
    for (text, said) in [
        (r#"{"mem_size_kib":65540}"#, "mem_size_kib: mem_size_mib is missing"),
        (r#"{"mem_size_mib":65,"mem_size_kib":65540}"#, "mem_size_kib: 65540 KiB are 64 MiB"),
        (
            r#"{"mem_size_mib":18014398509481983,"mem_size_kib":18446744073709551615}"#,
            "mem_size_mib: 18014398509481983 MiB is too large",
        ),
    ] {
        let error = memory(text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
}

#[test]
fn a_machine_says_who_it_is_and_shows_it() {
    let machine = |smbios: &str| -> Result<MachineSpec, BodyError> {
        let text = format!(r#"{{"vcpu_count":1,"mem_size_mib":64,"smbios":{smbios}}}"#);
        read::<MachineConfig>(text.as_bytes())?.try_into()
    };
    let shown = |machine: &MachineSpec| {
        serde_json::to_value(MachineConfig::from(machine)).unwrap()["smbios"].clone()
    };
    let uuid = "ec2e1916-9099-7c05-8a4b-00a0c93ec93b";
    let said = format!(
        r#"{{"vendor":"Acme","product":"Box","version":"1","serial":"7","uuid":"{uuid}","asset_tag":"x"}}"#
    );
    let named = machine(&said).unwrap();
    assert_eq!(shown(&named), serde_json::from_str::<serde_json::Value>(&said).unwrap());
    let nobody = machine("{}").unwrap();
    assert_eq!(nobody.identity, MachineSpec::default().identity);
    assert_eq!(shown(&nobody), serde_json::Value::Null);

    let patch = read::<MachinePatchBody>(br#"{"smbios":{"serial":"8"}}"#).unwrap();
    let after = MachinePatch::try_from(patch).unwrap().apply(&named);
    assert_eq!(shown(&after), serde_json::json!({ "serial": "8" }));
    for (smbios, said) in [
        (r#"{"serial":""}"#, "smbios.serial: write 1 to 64 printable ASCII characters"),
        (r#"{"uuid":"1"}"#, "smbios.uuid: write 32 hexadecimal digits in groups"),
        (r#"{"maker":"x"}"#, "smbios.maker: unknown field `maker`"),
    ] {
        let error = machine(smbios).unwrap_err().to_string();
        assert!(error.starts_with(said), "{smbios}: {error}");
    }
}

#[test]
fn a_mistake_is_told_with_its_field_and_value() {
    for (text, said) in [
        (r#"{"vcpu_count":"two","mem_size_mib":1}"#, r#"vcpu_count: invalid type: string "two""#),
        (r#"{"vcpu_count":300,"mem_size_mib":1}"#, "vcpu_count: invalid value: integer `300`"),
        (r#"{"vcpu_count":1}"#, "missing field `mem_size_mib`"),
        (r#"{"vcpu_count":1,"mem_size_mib":1,"x":1}"#, "unknown field `x`"),
        (r#"{"vcpu_count":1,"vcpu_count":1,"mem_size_mib":1}"#, "duplicate field `vcpu_count`"),
        (r#"{"vcpu_count":1,"mem_size_mib":1} 7"#, "trailing characters"),
        (r#"{"vcpu_count":1"#, "EOF while parsing"),
        ("\u{1}", "expected value"),
        (r#"{"vcpu_count":1,"mem_size_mib":1,"huge_pages":"1G"}"#, "unknown variant `1G`"),
    ] {
        let error = read::<MachineConfig>(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    for (text, said) in [
        (
            r#""tx_rate_limiter":{"bandwidth":{"size":1,"size":2,"refill_time":1}}"#,
            "duplicate field `size`",
        ),
        (
            r#""allowances":{"bw_in":1},"rx_rate_limiter":{"bandwidth":{"size":1,"refill_time":1}}"#,
            "rx_rate_limiter: allowances.bw_in says the same",
        ),
        (
            r#""rx_rate_limiter":{"bandwidth":{"size":18446744073709551615,"refill_time":1}}"#,
            "rx_rate_limiter: bandwidth is too large",
        ),
        (
            r#""rx_rate_limiter":{"bandwidth":
                {"size":1,"refill_time":1,"one_time_burst":2305843009213693952}}"#,
            "rx_rate_limiter: bandwidth is too large",
        ),
        (r#""allowances":{"pps":{"size":0,"refill_time":1}}"#, "allowances.pps"),
        (r#""allowances":{"pps":"9"}"#, "a number per second, or a bucket"),
    ] {
        let error = limits(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let other = nic(r#"{"iface_id":"eth1","host_dev_name":"t"}"#).unwrap_err().to_string();
    assert_eq!(other, r#"iface_id: "eth1" is not the id in the path, "eth0""#);
}

#[test]
fn errors_speak_the_words_of_the_api() {
    use crate::vm::spec::SettingError;
    let error = ActionError::from(SettingError::Cpus(99));
    assert_eq!(complaint(&error), "vcpu_count: 99 vCPUs; a machine has 1 to 64");
    let zero = SpecError::NoConnections;
    let zero = SettingError::Card { id: "x".into(), why: zero };
    let said = "allowances.conntrack: 0 would let nothing through; leave it out for no limit";
    assert_eq!(complaint(&zero.into()), said);
}

/// Reads a body; gives the error, if it is refused.
type Refusal = fn(&[u8]) -> Option<BodyError>;

/// Bodies that say all they can. A word for one of their keys, said once more, must not win.
const WHOLE: &[(&str, Refusal)] = &[
    (
        r#"{"kernel_image_path":"k","initrd_path":"i","boot_args":"a","kernel_cache":"off"}"#,
        |text| read::<BootSource>(text).err(),
    ),
    (
        r#"{"vcpu_count":1,"mem_size_mib":1,"huge_pages":"None","bus":"mmio","smt":false,
            "track_dirty_pages":false,"cpu_template":"None"}"#,
        |text| read::<MachineConfig>(text).err().or(read::<MachinePatchBody>(text).err()),
    ),
    (
        r#"{"iface_id":"a","host_dev_name":"t","host_fds":[3],"guest_mac":"02:00:00:00:00:01",
            "mtu":99,"rx_rate_limiter":{"bandwidth":{"size":1,"refill_time":1,"one_time_burst":1},
            "ops":{"size":1,"refill_time":1}},"tx_rate_limiter":{},"model":"ena","queues":1,
            "allowances":{"bw_in":1,"bw_out":1,"pps":1,"conntrack":1},"llq":true,
            "faults":[{"kind":{"swallow-tx":1},"after_s":1}]}"#,
        |text| read::<NetworkInterface>(text).err(),
    ),
    (
        r#"{"drive_id":"a","is_root_device":true,"path_on_host":"d","is_read_only":true,
            "partuuid":"1-1","cache_type":"Unsafe","io_engine":"Sync","rate_limiter":{"bandwidth":
            {"size":1,"refill_time":1,"one_time_burst":1},"ops":{"size":1,"refill_time":1}},
            "socket":"s","model":"nvme","queues":1,"cache":"unsafe","direct":true,"engine":"auto",
            "serial":"s","allowances":{"bw":1,"iops":1},"faults":["slow"]}"#,
        |text| read::<Drive>(text).err(),
    ),
    (r#"{"drive_id":"a","path_on_host":"d","rate_limiter":{},"allowances":{"bw":1}}"#, |text| {
        read::<DrivePatch>(text).err()
    }),
    (r#"{"fault":"slow"}"#, |text| read::<DiskFaultBody>(text).err()),
    (
        r#"{"log_path":"l","level":"off","show_level":true,"show_log_origin":true,"module":"m"}"#,
        |text| read::<watch::Logger>(text).err(),
    ),
    (r#"{"metrics_path":"m"}"#, |text| read::<watch::Metrics>(text).err()),
    (r#"{"serial_out_path":"m","console":"none"}"#, |text| read::<watch::Serial>(text).err()),
    (
        r#"{"source":"192.0.2.1","destination":"192.0.2.2","protocol":"tcp","source_port":1,
            "destination_port":2}"#,
        |text| read::<flow::Flow>(text).err(),
    ),
    (
        r#"{"path":"p","queue":1,"direction":"in","snap_len":99,"max_bytes":99999,
            "max_seconds":1,"ring":true}"#,
        |text| read::<flow::Capture>(text).err(),
    ),
    (r#"{"fault":{"swallow-tx":1}}"#, |text| read::<flow::FaultBody>(text).err()),
    (r#"{"up":true}"#, |text| read::<flow::Link>(text).err()),
    (r#"{"on":true}"#, |text| read::<flow::Measuring>(text).err()),
];

#[test]
fn a_key_that_is_said_twice_is_refused_wherever_it_stands() {
    let mut keys = 0;
    for (text, error) in WHOLE {
        assert_eq!(error(text.as_bytes()), None, "{text}");
        for (at, _) in text.match_indices("\":") {
            let start = text[..at].rfind('"').unwrap();
            // Up to the comma or bracket that ends this value.
            let mut depth = 0;
            let (from, end) = (at + 2, text.len());
            let end = text[from..]
                .char_indices()
                .find(|(_, c)| {
                    depth += i32::from("{[".contains(*c)) - i32::from("}]".contains(*c));
                    depth < 0 || depth == 0 && *c == ','
                })
                .map_or(end, |(len, _)| from + len);
            let (key, pair) = (&text[start + 1..at], &text[start..end]);
            let twice = format!("{},{pair}{}", &text[..end], &text[end..]);
            let said = error(twice.as_bytes()).expect(&twice).to_string();
            let expected = [format!("duplicate field `{key}`"), "one fault and its number".into()];
            assert!(expected.iter().any(|part| said.contains(part)), "{twice}: {said}");
            keys += 1;
        }
    }
    assert!(keys > 50);
}

#[test]
fn a_list_of_all_fields_in_order_is_no_structure_wherever_it_stands() {
    for part in [
        r#""allowances":[1,2,3,4]"#,
        r#""rx_rate_limiter":[{"size":1,"refill_time":1}]"#,
        r#""tx_rate_limiter":{"bandwidth":[1,1,null]}"#,
        r#""model":"ena","faults":[["no-answer",1]]"#,
    ] {
        let said = limits(part).unwrap_err().to_string();
        assert!(said.contains("invalid type: sequence, expected an object"), "{said}");
    }
}

proptest! {
    #[test]
    fn what_a_card_is_shown_as_makes_the_same_card_again(
        queues in 1u16..=64, mtu in proptest::option::of(128u16..9000), bw in any_quota(),
        ena in any::<bool>(), kind in 0..3, llq in any::<Option<bool>>(), vhost in any::<bool>(),
        swallowed in any::<Option<u32>>(), after_s in any::<u32>(),
    ) {
        let backend = match kind {
            0 => BackendSpec::Fd((3..).take(queues.into()).collect()),
            1 => BackendSpec::Dev("veth0".into()),
            _ => BackendSpec::Tap("tap0".into()),
        };
        let nic = NicSpec {
            backend,
            queues,
            mtu,
            model: if ena { Model::Ena } else { Model::Virtio },
            mover: if vhost { Mover::Vhost } else { Mover::Vmm },
            llq: llq.filter(|_| ena),
            faults: swallowed
                .filter(|_| ena)
                .map(|frames| Rehearsal { kind: Fault::SwallowTx(frames), after_s })
                .into_iter()
                .collect(),
            limits: Allowed { bw_in: bw, ..Allowed::default() },
            ..NicSpec::on_tap("eth0", "tap0")
        };
        let text = serde_json::to_string(&NetworkInterface::from(&nic)).unwrap();
        let again = read::<NetworkInterface>(text.as_bytes()).unwrap().into_spec("eth0");
        prop_assert_eq!(again, Ok(nic));
    }

    #[test]
    fn what_a_disk_is_shown_as_makes_the_same_disk_again(
        read_only in any::<bool>(), direct in any::<bool>(), queues in any::<Option<u16>>(),
        root in proptest::option::of(proptest::option::of("[0-9a-f-]{1,64}")), model in 0usize..3,
        cache in 0usize..3, engine in 0usize..3, bw in any_quota(),
        serial in proptest::option::of("[ -~]{1,20}"), path in "[^\0]{1,40}",
    ) {
        use {Cache::*, DiskModel::*, Engine::*};
        let disk = DiskSpec {
            read_only,
            root: root.map(|uuid| uuid.map_or(Root::Disk, Root::Partition)),
            model: [Virtio, Nvme, NvmeInstance][model],
            queues,
            cache: [Writeback, Writethrough, Unsafe][cache],
            direct,
            engine: [Auto, Uring, Threads][engine],
            serial,
            limits: DiskAllowed { bw, iops: None },
            faults: if direct { vec![DiskFault::Slow] } else { Vec::new() },
            ..DiskSpec::on("rootfs", path)
        };
        let text = serde_json::to_string(&Drive::from(&disk)).unwrap();
        let again = read::<Drive>(text.as_bytes()).unwrap().into_spec("rootfs");
        prop_assert_eq!(again, Ok(disk));
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,200}", json in "[\\[{\"a-z0-9:,.}\\]]{0,200}") {
        for text in [text, json] {
            let _ = read::<NetworkInterface>(text.as_bytes()).map(|nic| nic.into_spec("x"));
            let _ = read::<Drive>(text.as_bytes()).map(|drive| drive.into_spec("x"));
            let _ = read::<MachineConfig>(text.as_bytes()).map(MachineSpec::try_from);
            let _ = read::<BootSource>(text.as_bytes());
        }
    }
}

#[test]
fn metadata_of_the_dialect_is_ours() {
    use std::net::Ipv4Addr;

    use devices::net::service::metadata::{Settings, Version};

    use super::mmds::{MmdsConfig, contents};
    use crate::vm::metadata::MetadataSpec;

    let spec = |text: &str| MetadataSpec::try_from(read::<MmdsConfig>(text.as_bytes())?);
    let settings = Settings::default();
    let usual = MetadataSpec { settings, cards: vec!["eth0".into()], later: false };
    assert_eq!(spec(r#"{"network_interfaces":["eth0"]}"#), Ok(usual));
    let all = r#"{"network_interfaces":["a","b"],"version":"V2","ipv4_address":"169.254.170.2","imds_compat":true,"hop_limit":2,"later_interfaces":true}"#;
    let settings = Settings {
        version: Version::V2,
        address: Ipv4Addr::new(169, 254, 170, 2),
        imds_compat: true,
        hop_limit: 2,
    };
    let expected = MetadataSpec { settings, cards: vec!["a".into(), "b".into()], later: true };
    assert_eq!(spec(all), Ok(expected.clone()));
    let back = serde_json::to_string(&MmdsConfig::from(&expected)).unwrap();
    assert_eq!(spec(&back), Ok(expected));
    for (text, field) in [
        ("{}", "network_interfaces"),
        (r#"{"network_interfaces":["a"],"version":"v2"}"#, "version"),
        (r#"{"network_interfaces":["a"],"ipv4_address":"fd00:ec2::254"}"#, "ipv4_address"),
        (r#"{"network_interfaces":["a"],"hop_limit":0}"#, "hop_limit"),
        (r#"{"network_interfaces":["a"],"speed":1}"#, "speed"),
    ] {
        let error = spec(text).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    assert_eq!(contents(b"[1]"), Ok(serde_json::json!([1])));
    assert!(contents(b"{").is_err() && contents(b"{} x").is_err());
    assert!(contents("[".repeat(5000).as_bytes()).is_err(), "too deep");
}
