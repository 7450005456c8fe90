//! Tests of what is asked in which state; those of a machine that runs need `/dev/kvm`, of any kind.

use std::fs;

use devices::Kind;
use devices::block::spec::DiskSpec;
use devices::pmem::PmemSpec;

use super::*;
use crate::face::OURS;
use crate::memory::Size;
use crate::vm::kernels::KernelCache;
use crate::vm::samples::disks;
use crate::vm::spec::{BootFrom, BootSpec, DeviceBus, MachineSpec};

fn controller() -> Controller {
    let events = Arc::new(Events::default());
    let log = Log::start(OURS.log, "test");
    let (times, requests) = (StartTimes::default(), Arc::default());
    let manners = Manners { metrics: OURS.metrics, requests, leave: OURS.leave };
    let walls = Walls { shield: Shield::none(), late: Late::default(), zygote: None };
    Controller::new("test".into(), Config::default(), log, events, times, manners, walls).unwrap()
}

/// A 64-bit ELF whose only code is `jmp $`, entered by Linux's protocol.
fn endless_kernel(folder: &std::path::Path) -> BootSpec {
    let mut elf = vec![0u8; 0x1000];
    elf[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    elf[16..20].copy_from_slice(&[2, 0, 0x3e, 0]); // an executable for x86-64
    elf[20] = 1;
    elf[24..32].copy_from_slice(&0x100_0000u64.to_le_bytes()); // entry
    elf[32] = 64; // program headers
    elf[52] = 64;
    elf[54..58].copy_from_slice(&[56, 0, 1, 0]);
    elf[64..72].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]); // to load
    elf[72..80].copy_from_slice(&0x800u64.to_le_bytes());
    for at in [80, 88] {
        elf[at..at + 8].copy_from_slice(&0x100_0000u64.to_le_bytes());
    }
    for at in [96, 104] {
        elf[at..at + 8].copy_from_slice(&0x800u64.to_le_bytes());
    }
    elf[0x800..0x802].copy_from_slice(&[0xeb, 0xfe]);
    let kernel = folder.join("vmlinux");
    fs::write(&kernel, elf).unwrap();
    BootSpec {
        kernel: kernel.into(),
        initrd: None,
        cmdline: Some(String::new()),
        kernel_cache: KernelCache::Off,
    }
}

/// Every action but those that end the machine, and those that set something.
fn later_actions() -> [Action; 5] {
    use Action::*;
    [Pause, Resume, PressPowerButton, PressCtrlAltDel, Reset]
}

fn setting_actions() -> [Action; 4] {
    [
        Action::SetMachine(MachineSpec::default()),
        Action::SetBoot(BootSpec {
            kernel: BootFrom::Kernel("/nowhere".into()),
            initrd: None,
            cmdline: Some(String::new()),
            kernel_cache: KernelCache::Off,
        }),
        Action::SetSerial(devices::legacy::ConsoleSpec::None),
        Action::SetLog(Default::default()),
    ]
}

#[test]
fn what_needs_a_machine_is_refused_before_there_is_one() {
    let mut controller = controller();
    for action in later_actions() {
        let name = action.name();
        let error = controller.act(action).unwrap_err().to_string();
        assert_eq!(error, format!("{name} is not possible: the machine is not started"));
    }
    assert!(matches!(controller.act(Action::Start), Err(ActionError::NoKernel)));
    assert_eq!(controller.state(), State::Configuring);
}

#[test]
fn a_machine_is_started_paused_and_resumed_and_refuses_what_is_too_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut controller = controller();
    let serial = Action::SetSerial(devices::legacy::ConsoleSpec::None);
    for action in [serial, Action::SetBoot(endless_kernel(folder.path())), Action::Start] {
        controller.act(action).unwrap();
    }
    for (state, why) in [(State::Running, "running"), (State::Paused, "paused")] {
        if state == State::Paused {
            controller.act(Action::Pause).unwrap();
        }
        assert_eq!(controller.state(), state);
        for action in setting_actions().into_iter().chain([Action::Start]) {
            let name = action.name();
            let error = controller.act(action).unwrap_err().to_string();
            assert_eq!(error, format!("{name} is not possible: the machine is {why}"));
        }
    }
    let error = controller.act(Action::PressPowerButton).unwrap_err().to_string();
    assert!(error.ends_with("the machine is paused"), "{error}");
    // What is so already is no mistake.
    for (action, state) in [
        (Action::Pause, State::Paused),
        (Action::Resume, State::Running),
        (Action::Resume, State::Running),
    ] {
        controller.act(action).unwrap();
        assert_eq!(controller.state(), state);
    }
    controller.act(Action::PressPowerButton).unwrap();
    for _ in 0..1000 {
        controller.act(Action::Pause).unwrap();
        controller.act(Action::Resume).unwrap();
    }
    controller.act(Action::Kill).unwrap();
    let end = controller.ends.take().unwrap();
    controller.finish(&end);
    assert_eq!(end.exit_code(), 0);
}

#[test]
fn a_machine_boots_what_is_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let boot = endless_kernel(folder.path());
    let BootFrom::Kernel(kernel) = &boot.kernel else { unreachable!() };
    let kernel = fs::read(kernel).unwrap();
    let files = [
        ("/boot/grub/grub.cfg", disks::Content::File(b"menuentry a { linux /boot/vmlinux ro }")),
        ("/boot/vmlinux", disks::Content::File(&kernel)),
    ];
    let disk = folder.path().join("disk.raw");
    let volume = disks::ext4(&files, disks::Mapping::Extents);
    fs::write(&disk, disks::gpt(&[(disks::LINUX, 1, &volume)])).unwrap();
    let mut controller = controller();
    for action in [
        Action::SetSerial(devices::legacy::ConsoleSpec::None),
        Action::SetBoot(BootSpec { kernel: BootFrom::Disk(disk, Vec::new()), ..boot }),
        Action::Start,
    ] {
        controller.act(action).unwrap();
    }
    assert_eq!(controller.state(), State::Running);
    controller.act(Action::Kill).unwrap();
    let end = controller.ends.take().unwrap();
    controller.finish(&end);
}

#[test]
fn a_start_that_fails_leaves_the_machine_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut controller = controller();
    for action in [
        Action::SetSerial(devices::legacy::ConsoleSpec::None),
        Action::SetBoot(endless_kernel(folder.path())),
        Action::SetNic(Box::new("fd=999,id=x".parse().unwrap())),
        Action::SetMachine(MachineSpec { memory: ODD_MEMORY, ..MachineSpec::default() }),
    ] {
        controller.act(action).unwrap();
    }
    for _ in 0..20 {
        let error = controller.act(Action::Start).unwrap_err();
        assert!(crate::words::one_line(None, &error).contains("999"));
        assert_eq!(controller.state(), State::Configuring);
    }
    // Neighbours count as one.
    let left = mappings().filter(|len| len.is_multiple_of(ODD_MEMORY.0)).count();
    assert_eq!(left, 0, "guest memory stays mapped");
}

/// Memory that no other test has.
const ODD_MEMORY: Size = Size(37 << 20);

/// Sizes of this process's mappings.
fn mappings() -> impl Iterator<Item = u64> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let sizes = maps.lines().filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        address(end)?.checked_sub(address(start)?)
    });
    sizes.collect::<Vec<_>>().into_iter()
}

/// A controller whose machine, on a bus, runs and does nothing.
fn started(folder: &std::path::Path, bus: DeviceBus) -> Controller {
    let mut controller = controller();
    for action in [
        Action::SetSerial(devices::legacy::ConsoleSpec::None),
        Action::SetMachine(MachineSpec { bus: Some(bus), ..MachineSpec::default() }),
        Action::SetBoot(endless_kernel(folder)),
        Action::SetDisk(Box::new(disk(folder, "boot,root"))),
        Action::Start,
    ] {
        controller.act(action).unwrap();
    }
    controller
}

/// A disk of the folder, by its id and what follows it.
fn disk(folder: &std::path::Path, text: &str) -> DiskSpec {
    let (id, rest) = text.split_once(',').unwrap_or((text, "engine=threads"));
    let path = folder.join(format!("{id}.raw"));
    fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    format!("path={},id={id},{rest}", path.display()).parse().unwrap()
}

fn pmem(folder: &std::path::Path, id: &str) -> PmemSpec {
    let path = folder.join(format!("{id}.pmem"));
    fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
    PmemSpec { id: id.into(), path, ..PmemSpec::default() }
}

fn devices_of(controller: &mut Controller) -> Vec<(String, Option<u8>)> {
    match controller.act(Action::ShowDevices) {
        Ok(Reply::Devices(devices)) => {
            devices.into_iter().map(|view| (view.device, view.slot)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(controller: &mut Controller, action: Action) -> String {
    let error = controller.act(action).unwrap_err();
    crate::words::one_line(error.setting().map(|setting| setting.field()), &error)
}

fn end(mut controller: Controller) {
    controller.act(Action::Kill).unwrap();
    let end = controller.ends.take().unwrap();
    controller.finish(&end);
}

#[test]
fn devices_come_into_a_machine_that_lives_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut controller = started(folder, DeviceBus::Pci);
    controller.act(Action::Pause).unwrap();
    let held = |path: &std::path::Path| {
        let fds = fs::read_dir("/proc/self/fd").unwrap();
        fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).any(|held| held == path)
    };
    let boot = ("drives/boot".to_string(), Some(1));
    for round in 0..20 {
        controller.act(Action::SetDisk(Box::new(disk(folder, "v")))).unwrap();
        controller.act(Action::SetDisk(Box::new(disk(folder, "n,model=nvme")))).unwrap();
        controller.act(Action::SetPmem(Box::new(pmem(folder, "p")))).unwrap();
        let places = ["drives/v", "drives/n", "pmem/p"].map(str::to_string);
        let places = places.into_iter().zip([2, 3, 4].map(Some));
        let wanted: Vec<_> = std::iter::once(boot.clone()).chain(places).collect();
        assert_eq!(devices_of(&mut controller), wanted, "round {round}");
        assert_eq!(controller.live_config().disks.len(), 3);
        // In a machine that rests, and whose guest has no driver, there is nobody to ask.
        for (kind, id) in [(Kind::Disk, "v"), (Kind::Disk, "n"), (Kind::Pmem, "p")] {
            controller.act(Action::Unplug(kind, id.into())).unwrap();
        }
        assert_eq!(devices_of(&mut controller), std::slice::from_ref(&boot), "round {round}");
        for file in ["v.raw", "n.raw", "p.pmem"] {
            assert!(!held(&folder.join(file)), "{file} is still open");
        }
    }
    assert_eq!(controller.live_config().disks.len(), 1);
    controller.act(Action::Resume).unwrap();
    end(controller);
}

#[test]
fn a_guest_that_does_not_use_a_device_is_given_notice_and_no_veto() {
    let folder = tempfile::tempdir().unwrap();
    let mut controller = started(folder.path(), DeviceBus::Pci);
    controller.act(Action::SetDisk(Box::new(disk(folder.path(), "v")))).unwrap();
    controller.act(Action::Unplug(Kind::Disk, "v".into())).unwrap();
    assert_eq!(devices_of(&mut controller).len(), 2, "the guest has some time");
    let why = refusal(&mut controller, Action::Unplug(Kind::Disk, "v".into()));
    assert_eq!(why, "drives/v: it is being unplugged already");
    let asked = controller.act(Action::ShowDevices).unwrap();
    assert!(format!("{asked:?}").contains("AwaitingConsent"));
    while let Some(due) = controller.unplugs.due() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        controller.settle_unplugs();
    }
    assert_eq!(devices_of(&mut controller).len(), 1);
    end(controller);
}

#[test]
fn what_cannot_be_plugged_or_unplugged_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut controller = started(folder, DeviceBus::Pci);
    let plug = |text| Action::SetDisk(Box::new(disk(folder, text)));
    let mut missing = disk(folder, "m");
    missing.path = "/nowhere/disk".into();
    let nic = |text: &str| Action::SetNic(Box::new(text.parse().unwrap()));
    for (action, said) in [
        (
            plug("boot"),
            "drives/boot: another one has this id; unplug that first, or take another id",
        ),
        (plug("r,root"), "drives/r: the machine has booted"),
        (Action::SetDisk(Box::new(missing)), "path_on_host: cannot open /nowhere/disk"),
        (nic("fd=999,id=x"), "network-interfaces/x: "),
        (Action::Unplug(Kind::Disk, "none".into()), "drives/none: there is no such device"),
        (
            Action::Unplug(Kind::Nic, "boot".into()),
            "network-interfaces/boot: there is no such device",
        ),
        (
            Action::Unplug(Kind::Disk, "boot".into()),
            "drives/boot: it has the guest's root file system",
        ),
    ] {
        let why = refusal(&mut controller, action);
        assert!(why.starts_with(said) && !why.contains('\n'), "{why}");
    }
    assert_eq!(devices_of(&mut controller).len(), 1);
    assert_eq!((controller.config.disks.len(), controller.config.nics.len()), (1, 0));
    end(controller);

    let other = tempfile::tempdir().unwrap();
    let mut controller = started(other.path(), DeviceBus::Mmio);
    for action in [plug("v"), Action::Unplug(Kind::Disk, "boot".into())] {
        let why = refusal(&mut controller, action);
        assert!(why.contains("PCI is not enabled in this machine"), "{why}");
    }
    end(controller);
}
