//! Tests of the table: whose figures stand where, and what is judged.

use super::*;

fn results(figures: &[(usize, Measure, f64)]) -> Results {
    let mut results = Results::default();
    for &(contestant, measure, figure) in figures {
        results.add(contestant, measure, figure);
    }
    results
}

fn line(what: &str) -> &'static Line {
    const { &LINES }.iter().find(|line| line.what.contains(what)).unwrap()
}

#[test]
fn a_ratio_is_ours_to_each_peers_and_the_first_is_judged() {
    let push = Measure::Load(Job::Push);
    let results = results(&[(0, push, 30.0), (1, push, 40.0), (2, push, 15.0)]);
    let cells = line("TCP host to guest").cells(&results, 3).unwrap();
    assert_eq!(cells[4..], ["0.75", "2.00", "≥ 1, missed"]);
}

#[test]
fn vsock_is_judged_by_tcp_of_the_same_machine() {
    let (vsock, tcp) = (Measure::Load(Job::VsockPush), Measure::Load(Job::Push));
    let results = results(&[(0, vsock, 30.0), (0, tcp, 60.0), (1, tcp, 1.0)]);
    let cells = line("vsock host to guest").cells(&results, 3).unwrap();
    assert_eq!(cells[2..], ["–", "–", "–", "–", "0.50 of its TCP: ≥ 0.8, missed"]);
}

#[test]
fn the_vmlinux_is_held_against_the_peers_bzimage() {
    let results = results(&[
        (0, Measure::Init(Format::Vmlinux), 3.0),
        (1, Measure::Init(Format::Vmlinux), 3.0),
        (1, Measure::Init(Format::BzImage), 6.0),
    ]);
    let cells = line("vmlinux against bzImage").cells(&results, 2).unwrap();
    assert_eq!(cells[3..], ["0.50", "≤ 0.65, met"]);
}

#[test]
fn memory_is_judged_by_itself() {
    let results = results(&[(0, Measure::Idle, 4.5), (1, Measure::Idle, 40.0)]);
    let cells = line("idle").cells(&results, 2).unwrap();
    assert_eq!(cells.last().unwrap(), "≤ 5, met");
}

#[test]
fn what_was_not_measured_is_not_told() {
    assert!(LINES.iter().all(|line| line.cells(&results(&[]), 2).is_none()));
}

#[test]
fn a_peer_is_known_by_its_name() {
    let qemu = Contestant::at(Path::new("/usr/bin/qemu-system-x86_64"), Model::Ena);
    assert_eq!(qemu.hypervisor, Hypervisor::Qemu("/usr/bin/qemu-system-x86_64".into()));
    assert_eq!(qemu.model, Model::Virtio, "the only one that a QEMU has");
    let vmm = Contestant::at(Path::new("/old/vmm"), Model::Ena);
    assert_eq!(vmm.hypervisor, Hypervisor::Vmm("/old/vmm".into()));
    assert_eq!(vmm.model, Model::Ena);
}
