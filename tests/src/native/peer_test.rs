//! Tests of names and command lines.

use super::*;
use crate::native::job::Restore;

#[test]
fn the_begin_of_a_name_says_whose_command_line_it_has() {
    let kind = |text: &str| text.parse::<Peer>().map(|peer| peer.kind).ok();
    assert_eq!(kind("vmm-nvme-old=/bin/vmm"), Some(Kind::VmmNvme));
    assert_eq!(kind("vmm-old=/bin/vmm"), Some(Kind::Vmm));
    assert_eq!(kind("qemu-uring=/bin/qemu"), Some(Kind::QemuUring));
    assert_eq!(kind("firecracker-async=x"), Some(Kind::FirecrackerAsync));
    assert_eq!(kind("xen=/bin/xen"), None);
    assert_eq!(kind("vmm"), None);
}

#[test]
fn a_name_says_what_a_card_stands_on() {
    let line = |text: &str| text.parse::<Peer>().map(|peer| peer.line).ok();
    assert_eq!(line("vmm-ena=x"), Some(Line::Tap));
    assert_eq!(line("vmm-ena-veth=x"), Some(Line::Veth));
    assert_eq!(line("qemu-bridge=x"), Some(Line::Bridge));
    // Others have no cards on pairs, and disks stand on no line.
    assert_eq!(line("qemu-veth=x"), None);
    assert_eq!(line("vmm-nvme-bridge=x"), None);
    let peer: Peer = "vmm-bridge=x".parse().unwrap();
    for task in Task::all() {
        let stands_there = task.is_of_card() && !matches!(task, Task::Metadata(..));
        assert_eq!(peer.takes_part(task), stands_there, "{task:?}");
    }
}

#[test]
fn nobody_takes_part_in_what_he_cannot_do() {
    let names = |task: Task| {
        let names = [
            "vmm",
            "vmm-ena",
            "vmm-nvme",
            "qemu",
            "firecracker",
            "firecracker-async",
            "cloud-hypervisor",
        ];
        let peers = names.map(|name| format!("{name}=x").parse::<Peer>().unwrap());
        peers
            .into_iter()
            .filter(|peer| peer.takes_part(task))
            .map(|peer| peer.name)
            .collect::<Vec<_>>()
    };
    let restore = |at_once| Task::Restore(Restore { mib: 128, at_once, is_cold: false });
    assert_eq!(names(Task::Start), ["vmm", "vmm-ena", "qemu", "firecracker", "cloud-hypervisor"]);
    assert_eq!(names(restore(1)), ["vmm", "vmm-ena", "firecracker", "cloud-hypervisor"]);
    assert_eq!(names(restore(10)), ["vmm", "vmm-ena"]);
    assert_eq!(names(Task::Save(64)), ["vmm"]);
}

#[test]
fn a_machine_has_what_its_board_has() {
    let folder = tempfile::tempdir().unwrap();
    let line = |name: &str, board| {
        let peer: Peer = format!("{name}=hypervisor").parse().unwrap();
        let command = peer.command(Path::new("kernel"), "words", board, folder.path()).unwrap();
        let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
        arguments.collect::<Vec<_>>().join(" ")
    };
    let card = Board::Card { interface: "tap7", queues: 2 };
    let disk = Board::Disk { path: Path::new("/image"), queues: 2, options: "direct=on" };
    assert!(line("vmm", card).ends_with("--net tap=tap7,mac=02:00:00:00:00:01,queues=2"));
    let pair = line("vmm-veth", card);
    assert!(pair.contains("--net dev=tap7,") && pair.contains("vmm-veth.sock"));
    assert!(line("vmm-seccomp-off", card).ends_with("--seccomp off") && !pair.contains("seccomp"));
    assert!(line("vmm-bridge", card).contains("--net tap=tap7,"));
    assert!(line("vmm-nvme", disk).ends_with("--disk path=/image,queues=2,model=nvme,direct=on"));
    assert!(
        line("cloud-hypervisor", card).contains("boot=2") && !line("qemu", card).contains("file=")
    );
    assert!(line("cloud-hypervisor", disk).ends_with("path=/image,num_queues=2"));
    assert!(line("qemu", card).contains("queues=2") && line("qemu", card).contains("vectors=6"));
    assert!(line("qemu-uring", disk).contains("aio=io_uring"));
    let plain = Board::Disk { path: Path::new("/image"), queues: 1, options: "" };
    assert!(line("vmm", plain).ends_with("--disk path=/image,queues=1"));
    line("firecracker-async", plain);
    let config = fs::read_to_string(folder.path().join("firecracker.json")).unwrap();
    assert!(config.contains("\"Async\"") && !config.contains("network"));
}
