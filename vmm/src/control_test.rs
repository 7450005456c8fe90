//! Tests of what is asked in which state; those of a machine that runs need `/dev/kvm`, of any kind.

use std::fs;

use super::*;
use crate::face::OURS;
use crate::memory::Size;
use crate::vm::kernels::KernelCache;
use crate::vm::samples::disks;
use crate::vm::spec::{BootFrom, BootSpec, MachineSpec};

fn controller() -> Controller {
    let events = Arc::new(Events::default());
    let log = Log::start(OURS.log, "test");
    let (times, requests) = (StartTimes::default(), Arc::default());
    let manners = Manners { metrics: OURS.metrics, requests, leave: OURS.leave };
    let walls = Walls { shield: Shield::none(), late: Late::default() };
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

fn setting_actions() -> [Action; 5] {
    [
        Action::SetMachine(MachineSpec::default()),
        Action::SetBoot(BootSpec {
            kernel: BootFrom::Kernel("/nowhere".into()),
            initrd: None,
            cmdline: Some(String::new()),
            kernel_cache: KernelCache::Off,
        }),
        Action::SetSerial(devices::legacy::ConsoleSpec::None),
        Action::SetNic(Box::new("tap=a,id=x".parse().unwrap())),
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
        Action::SetBoot(BootSpec { kernel: BootFrom::Disk(disk), ..boot }),
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
