//! Tests of what is made of two looks.

use std::time::Duration;

use super::*;

#[test]
fn threads_that_run_guests_are_known_by_their_names() {
    for name in ["vcpu0\n", "fc_vcpu 0\n", "CPU 0/KVM\n"] {
        assert!(runs_guest(name), "{name}");
    }
    for name in ["net-eth0-0\n", "firecracker\n", "_net0_qp0\n", "qemu-system-x86\n"] {
        assert!(!runs_guest(name), "{name}");
    }
}

#[test]
fn a_sample_is_the_difference_of_two_looks() {
    let now = Instant::now();
    let look = |at, lane, slow, vcpu, exits| Look {
        at: now + Duration::from_secs(at),
        threads: BTreeMap::from([(1, (false, lane)), (2, (false, slow)), (3, (true, vcpu))]),
        machine: Some([exits, 5]),
    };
    let second = 1_000_000_000;
    let before = look(0, 0, 0, 0, 50);
    let sample = look(2, second, second / 2, 2 * second, 150).since(&before, 1000);
    assert_eq!((sample.seconds, sample.rate, sample.cpu), (2.0, 500.0, 1_500_000.0));
    assert_eq!(sample.machine, Some([0.1, 0.0]));
    assert_eq!((sample.lane, sample.vcpu), (0.5, 1.0));
}
