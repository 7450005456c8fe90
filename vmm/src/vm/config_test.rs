//! Tests of settings: what is refused changes nothing.

use std::fs;

use devices::net::spec::BackendSpec;

use super::*;
use crate::memory::{Pages, Size};
use crate::vm::kernels::KernelCache;
use crate::vm::seed::SeedSpec;
use crate::vm::spec::BootFrom;

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

/// A folder of images, and disks on them.
struct Images(tempfile::TempDir);

impl Images {
    fn new() -> Images {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(name), [0; 4096]).unwrap();
        }
        std::os::unix::fs::symlink("a", folder.path().join("link-to-a")).unwrap();
        fs::hard_link(folder.path().join("a"), folder.path().join("same-as-a")).unwrap();
        Images(folder)
    }

    fn disk(&self, text: &str) -> DiskSpec {
        let mut disk: DiskSpec = text.parse().unwrap();
        disk.path = self.0.path().join(&disk.path);
        disk
    }
}

fn ids(config: &Config) -> Vec<&str> {
    config.disks.iter().map(|disk| disk.id.as_str()).collect()
}

#[test]
fn disks_keep_their_order_but_for_the_root_which_is_first() {
    let images = Images::new();
    let mut config = Config::default();
    let mut set = |text: &str| {
        config.set_disk(images.disk(text)).unwrap();
        ids(&config).join(" ")
    };
    assert_eq!(set("a,id=x"), "x");
    assert_eq!(set("b,id=y"), "x y");
    assert_eq!(set("c,id=z,root"), "z x y");
    // A second wish for one keeps its place, unless it makes it the root.
    assert_eq!(set("a,id=x,ro"), "z x y");
    assert_eq!(set("c,id=z"), "z x y");
    assert_eq!(set("b,id=y,root,ro"), "y z x");
    config.boot = Some(BootSpec {
        kernel: std::path::PathBuf::from("k").into(),
        initrd: None,
        cmdline: Some("quiet".into()),
        kernel_cache: KernelCache::Off,
    });
    config.set_nic(nic("tap=t,id=x")).unwrap();
    let spec = config.to_spec().unwrap();
    let found: Vec<_> = spec.devices.iter().map(|device| (device.kind(), device.id())).collect();
    assert_eq!(found, [(Kind::Disk, "y"), (Kind::Disk, "z"), (Kind::Disk, "x"), (Kind::Nic, "x")]);
    assert_eq!(spec.boot.cmdline(), "quiet root=/dev/vda ro");
    assert_eq!(config.boot.unwrap().cmdline(), "quiet", "what was said is still so");
}

#[test]
fn two_disks_share_no_id_serial_root_or_written_image() {
    let images = Images::new();
    let mut config = Config::default();
    config.set_disk(images.disk("a,id=x,serial=s,root")).unwrap();
    for (text, key, said) in [
        ("a,id=y", Key::Path, "is in use by disk \"x\""),
        ("a,id=y,ro", Key::Path, "two disks can have one image if both are read-only"),
        ("link-to-a,id=y", Key::Path, "is in use by disk \"x\""),
        ("same-as-a,id=y", Key::Path, "is in use by disk \"x\""),
        ("b,id=y,serial=s", Key::Serial, "\"s\" belongs to disk \"x\""),
        ("b,id=s", Key::Serial, "\"s\" belongs to disk \"x\""),
        ("b,id=y,serial=s,model=nvme", Key::Serial, "\"s\" belongs to disk \"x\""),
        ("b,id=y,root", Key::Root, "disk \"x\" is the root already"),
        ("nowhere,id=y", Key::Path, "nowhere"),
        (".,id=y", Key::Path, "neither a regular file nor a block device"),
        ("b,id=y,queues=0", Key::Queues, "0 queues"),
    ] {
        let error =
            crate::action::ActionError::from(config.set_disk(images.disk(text)).unwrap_err());
        assert_eq!(error.setting(), Some(Setting::Disk(images.disk(text).id, Some(key))), "{text}");
        let line = crate::words::one_line(None, &error);
        assert!(line.contains(said), "{text}: {line}");
        assert_eq!(ids(&config), ["x"]);
    }
    // Readers share one.
    config.set_disk(images.disk("a,id=x,ro")).unwrap();
    config.set_disk(images.disk("same-as-a,id=y,ro")).unwrap();
}

#[test]
fn there_are_no_more_devices_than_places_for_them() {
    let images = Images::new();
    let mut config = Config::default();
    for at in 0..MOST_DEVICES - 1 {
        config.set_nic(nic(&format!("tap=t{at},id=n{at}"))).unwrap();
    }
    config.set_disk(images.disk("a,id=x")).unwrap();
    // One in another's place needs none.
    config.set_disk(images.disk("a,id=x,ro")).unwrap();
    config.set_nic(nic("tap=other,id=n0")).unwrap();
    let disk = config.set_disk(images.disk("b,id=y")).unwrap_err();
    assert_eq!(
        disk.to_string(),
        "a machine has at most 31 cards, disks and other devices; leave some out"
    );
    let card = config.set_nic(nic("tap=t99,id=y")).unwrap_err();
    assert_eq!(card.setting(), Setting::Card("y".into(), None));
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
        kernel: BootFrom::Kernel("/nowhere/vmlinux".into()),
        initrd: None,
        cmdline: None,
        kernel_cache: KernelCache::Off,
    };
    config.set_boot(missing).unwrap_err();
    assert!(config.boot.is_none() && config.to_spec().is_none());
}

#[test]
fn a_bus_that_an_option_says_is_that_of_every_machine_that_says_none() {
    let mmio = Some(DeviceBus::Mmio);
    let machine = MachineSpec { bus: mmio, ..MachineSpec::default() };
    let mut config = Config { machine, bus: mmio, ..Config::default() };
    config.set_machine(MachineSpec { cpus: 2, ..MachineSpec::default() }).unwrap();
    assert_eq!((config.machine.cpus, config.machine.bus), (2, mmio));
    let pci = Some(DeviceBus::Pci);
    config.set_machine(MachineSpec { bus: pci, ..MachineSpec::default() }).unwrap();
    assert_eq!(config.machine.bus, pci);
}

fn machine_of(cards: &[&str], bus: Option<DeviceBus>) -> VmSpec {
    let mut config = Config::default();
    cards.iter().for_each(|card| config.set_nic(nic(card)).unwrap());
    config.machine.bus = bus;
    config.boot = Some(BootSpec {
        kernel: std::path::PathBuf::from("k").into(),
        initrd: None,
        cmdline: None,
        kernel_cache: KernelCache::Off,
    });
    config.to_spec().unwrap()
}

#[test]
fn the_bus_is_what_the_user_says_else_what_the_kernel_is_left() {
    use DeviceBus::{Mmio, Pci};
    for (said, cmdline, bus) in [
        (None, "quiet", Pci),
        (None, "quiet pci=off", Mmio),
        (Some(Mmio), "quiet", Mmio),
        (Some(Pci), "quiet pci=off", Pci),
    ] {
        let cmdline = arch::boot::Cmdline::new(cmdline).unwrap();
        assert_eq!(machine_of(&[], said).bus(&cmdline), bus);
    }
}

#[test]
fn a_pci_card_on_a_machine_without_pci_is_refused_by_name_and_reason() {
    let cards = ["tap=a,id=x", "tap=b,id=y,model=ena"];
    let refused = |said| machine_of(&cards, said).check_bus(DeviceBus::Mmio).unwrap_err();
    for (said, why) in
        [(None, "pci=off in the kernel's command line"), (Some(DeviceBus::Mmio), "bus mmio")]
    {
        let error = refused(said);
        assert_eq!(error.setting().option(), "--net: card \"y\"");
        let line = error.to_string();
        assert!(line.starts_with("model=ena is a PCI card, and ") && line.contains(why), "{line}");
    }
    machine_of(&cards, None).check_bus(DeviceBus::Pci).unwrap();
    let images = Images::new();
    let mut spec = machine_of(&[], None);
    spec.devices.push(DeviceSpec::Disk(images.disk("a,id=z,model=nvme")));
    let error = spec.check_bus(DeviceBus::Mmio).unwrap_err();
    assert_eq!(error.setting().option(), "--disk: disk \"z\"");
    machine_of(&cards[..1], None).check_bus(DeviceBus::Mmio).unwrap();
}

#[test]
fn a_machine_without_pci_has_a_slot_for_each_device_or_says_so() {
    let cards: Vec<_> = (0..18).map(|n| format!("tap=t{n},id=c{n}")).collect();
    let cards: Vec<_> = cards.iter().map(String::as_str).collect();
    machine_of(&cards[..17], None).check_bus(DeviceBus::Mmio).unwrap();
    let error = machine_of(&cards, None).check_bus(DeviceBus::Mmio).unwrap_err();
    assert_eq!(error, SettingError::NoSlot { kind: Kind::Nic, id: "c17".into() });
    machine_of(&cards, None).check_bus(DeviceBus::Pci).unwrap();
}

fn seed() -> File {
    let spec = SeedSpec { user_data: "/dev/null".into(), ..SeedSpec::default() };
    spec.disk("x").unwrap()
}

#[test]
fn without_a_kernel_the_root_is_booted_or_the_first_disk_but_no_seed() {
    let images = Images::new();
    let mut config = Config::default();
    let booted = |config: &Config| {
        config.to_spec().map(|spec| (spec.boot.kernel.clone(), spec.boot.cmdline().to_owned()))
    };
    config.set_seed(seed()).unwrap();
    assert_eq!(booted(&config), None);
    for text in ["a,id=x", "b,id=y,root"] {
        let disk = images.disk(text);
        let wanted = (BootFrom::disk(&disk), String::new());
        config.set_disk(disk).unwrap();
        assert_eq!(booted(&config), Some(wanted));
    }
}

#[test]
fn there_is_one_seed_that_nobody_writes_to() {
    let mut config = Config::default();
    config.set_seed(seed()).unwrap();
    assert_eq!(ids(&config), ["cidata"]);
    assert!(config.disks[0].read_only);
    let error = config.set_seed(seed()).unwrap_err().to_string();
    assert_eq!(error, "\"cidata\" is given twice; each disk needs its own");
    // The copy that shows the wish holds it as well.
    let copy = config.clone();
    drop(config);
    assert!(fs::metadata(&copy.disks[0].path).is_ok());
}

fn balloon(amount_mib: u32) -> BalloonSpec {
    BalloonSpec { amount_mib, ..BalloonSpec::default() }
}

#[test]
fn a_balloon_and_the_memory_that_it_is_of_hold_each_other() {
    let mut config = Config::default();
    let larger = config.set_balloon(balloon(129)).unwrap_err();
    assert_eq!(larger.setting(), Setting::Balloon);
    assert!(larger.to_string().contains("requested is too large: 129 MiB of 128M"), "{larger}");
    assert_eq!(config.balloon, None);
    config.set_balloon(balloon(128)).unwrap();
    let less = MachineSpec { memory: Size(127 << 20), ..MachineSpec::default() };
    let less = config.set_machine(less).unwrap_err();
    assert_eq!(less.setting(), Setting::Memory);
    assert!(less.to_string().starts_with("127M is less than the balloon's 128 MiB"), "{less}");
    assert_eq!(config.machine.memory, Size(128 << 20));
}

#[test]
fn a_machine_has_entropy_last_where_it_is_asked_for_and_there_is_room() {
    let mut config = Config { boot: Some(boot_of("k")), ..Config::default() };
    let ids = |config: &Config| {
        let spec = config.to_spec().unwrap();
        spec.devices.iter().map(|device| device.id().to_string()).collect::<Vec<_>>()
    };
    assert!(ids(&config).is_empty(), "nobody asked for any");
    config.set_nic(nic("tap=a,id=x")).unwrap();
    config.set_balloon(balloon(0)).unwrap();
    config.set_entropy(EntropyWish::Given(EntropySpec::default())).unwrap();
    assert_eq!(ids(&config), ["x", "balloon", "rng"]);
    config.set_entropy(EntropyWish::Off).unwrap();
    assert_eq!(ids(&config), ["x", "balloon"]);

    config.set_entropy(EntropyWish::Usual).unwrap();
    for nth in 2..17 {
        config.set_nic(nic(&format!("tap=t{nth},id=n{nth}"))).unwrap();
    }
    assert_eq!(ids(&config).len(), 17);
    assert_eq!(ids(&config).len(), 17);
    // Who asks for it is told that there is none.
    config.set_entropy(EntropyWish::Given(EntropySpec::default())).unwrap();
    let spec = config.to_spec().unwrap();
    let refused = spec.check_bus(DeviceBus::Mmio).unwrap_err();
    assert_eq!(refused.setting(), Setting::Entropy);
    for nth in 17..30 {
        config.set_nic(nic(&format!("tap=t{nth},id=n{nth}"))).unwrap();
    }
    assert!(config.set_nic(nic("tap=t99,id=n99")).is_err(), "no place is left");
    config.set_entropy(EntropyWish::Usual).unwrap();
    config.set_nic(nic("tap=t99,id=n99")).unwrap();
    assert!(!ids(&config).contains(&"rng".to_string()));
    assert!(config.set_entropy(EntropyWish::Given(EntropySpec::default())).is_err());
}

fn boot_of(kernel: &str) -> BootSpec {
    BootSpec {
        kernel: std::path::PathBuf::from(kernel).into(),
        initrd: None,
        cmdline: None,
        kernel_cache: KernelCache::Off,
    }
}
