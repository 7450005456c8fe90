//! Tests of settings: what is refused changes nothing.

use super::*;
use crate::memory::{Pages, Size};
use crate::vm::kernels::KernelCache;

fn nic(text: &str) -> NicSpec {
    text.parse().unwrap()
}

#[test]
fn cards_come_in_order_and_a_second_wish_for_one_replaces_the_first() {
    let mut config = Config::default();
    for text in ["tap=a,id=x", "tap=b,id=y", "tap=a,id=x,queues=4"] {
        config.set_nic(nic(text)).unwrap();
    }
    let ids: Vec<_> = config.nics.iter().map(|nic| (nic.id.as_str(), nic.queues)).collect();
    assert_eq!(ids, [("x", 4), ("y", 1)]);
}

#[test]
fn two_cards_share_neither_tap_nor_address() {
    let mut config = Config::default();
    config.set_nic(nic("tap=a,id=x,mac=02:00:00:00:00:01")).unwrap();
    let tap = config.set_nic(nic("tap=a,id=y")).unwrap_err();
    assert_eq!(tap, SettingError::TapTwice { tap: "a".into(), id: "y".into(), other: "x".into() });
    let mac = config.set_nic(nic("tap=b,id=y,mac=02:00:00:00:00:01")).unwrap_err();
    assert!(mac.to_string().contains("02:00:00:00:00:01"), "{mac}");
    assert_eq!(config.nics.len(), 1);
    config.set_nic(nic("fd=7:8,id=y")).unwrap();
    config.set_nic(nic("dev=a,id=v")).unwrap();
    let dev = config.set_nic(nic("dev=a,id=w")).unwrap_err();
    assert_eq!(dev, SettingError::DevTwice { dev: "a".into(), id: "w".into(), other: "v".into() });
    let fd = config.set_nic(nic("fd=9:8,id=z")).unwrap_err();
    assert_eq!(fd, SettingError::FdTwice { fd: 8, id: "z".into(), other: "y".into() });
}

#[test]
fn a_refused_setting_changes_nothing() {
    let mut config = Config::default();
    let before = config.machine.clone();
    let huge = |memory| MachineSpec { pages: Pages::Huge, memory: Size(memory), ..before.clone() };
    for wrong in [
        MachineSpec { cpus: 0, ..before.clone() },
        MachineSpec { cpus: 65, ..before.clone() },
        MachineSpec { memory: Size(0), ..before.clone() },
        MachineSpec { memory: Size(65537 << 10), ..before.clone() },
        MachineSpec { memory: Size((8 << 40) + 4096), ..before.clone() },
        MachineSpec { memory: Size(u64::MAX), ..before.clone() },
        huge(3 << 20),
    ] {
        config.set_machine(wrong).unwrap_err();
    }
    assert_eq!(config.machine, before);
    config.set_machine(huge(4 << 20)).unwrap();

    config.set_nic(nic("tap=a,id=x")).unwrap();
    config.set_nic(NicSpec { queues: 0, ..nic("tap=b,id=x") }).unwrap_err();
    assert_eq!(config.nics[0].backend, BackendSpec::Tap("a".into()));

    let missing = BootSpec {
        kernel: "/nowhere/vmlinux".into(),
        initrd: None,
        cmdline: String::new(),
        kernel_cache: KernelCache::Off,
    };
    config.set_boot(missing).unwrap_err();
    assert!(config.boot.is_none() && config.to_spec().is_none());
}
