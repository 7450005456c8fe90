//! Tests of vCPU threads with a few bytes of real-mode code; they need `/dev/kvm`, of any kind.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::Duration;

use arch::boot::{Entry, EntryMode};
use device_core::bus::{Bus, BusDevice, Width};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::kvm;
use crate::vcpu::run::Unmapped;

const CODE: u64 = 0x1000;
const LONG: Duration = Duration::from_secs(20);

/// Counts writes to a port and keeps the last value.
#[derive(Default)]
struct Port {
    writes: AtomicU64,
    last: AtomicU64,
}

impl BusDevice for Port {
    fn read(&self, _: u64, _: Width) -> u64 {
        0x5a
    }
    fn write(&self, _: u64, _: Width, value: u64) {
        self.last.store(value, Ordering::SeqCst);
        self.writes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Port {
    fn wait_for_more_than(&self, writes: u64) {
        let deadline = std::time::Instant::now() + LONG;
        while self.writes.load(Ordering::SeqCst) <= writes {
            assert!(std::time::Instant::now() < deadline, "the guest does not run");
            std::thread::yield_now();
        }
    }
}

/// A machine of one vCPU that runs `code` in real mode at 0x1000, with a port at 0x10.
fn guest(code: &[u8]) -> (VcpuThread, Arc<Port>, mpsc::Receiver<End>) {
    guest_from(code, |vcpu| vcpu.real_mode(CODE))
}

/// The same, with the start state that `start` sets.
fn guest_from(
    code: &[u8],
    start: impl FnOnce(&Vcpu) -> io::Result<()>,
) -> (VcpuThread, Arc<Port>, mpsc::Receiver<End>) {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    ram.write_slice(code, GuestAddress(CODE)).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    kvm::vcpu::install_kick_handler().unwrap();
    let vcpu = Vcpu::new(&vm, 0).unwrap();
    start(&vcpu).unwrap();
    let (ports, mmio) = (Bus::new(), Bus::new());
    let port = Arc::new(Port::default());
    ports.insert(0x10, 1, port.clone()).unwrap();
    let spaces = AddressSpaces::new(&ports, &mmio, Arc::new(Unmapped::default()));
    let (told, heard) = mpsc::channel();
    let on_end: OnEnd = Arc::new(move |end| {
        // The memory must outlive the guest, and the closure lives as long as the thread.
        let _keep = (&ram, &vm);
        told.send(end).unwrap();
    });
    (VcpuThread::spawn("vcpu", 0, vcpu, spaces, on_end).unwrap(), port, heard)
}

/// `again: in al, 0x10; out 0x10, al; jmp again`
const LOOP: &[u8] = &[0xe4, 0x10, 0xe6, 0x10, 0xeb, 0xfa];

#[test]
fn a_guest_runs_only_between_resume_and_park_a_thousand_times() {
    let (thread, port, _heard) = guest(LOOP);
    assert_eq!(port.writes.load(Ordering::SeqCst), 0);
    for _ in 0..1000 {
        thread.resume();
        port.wait_for_more_than(port.writes.load(Ordering::SeqCst));
        thread.park();
        thread.wait_parked();
        let parked_at = port.writes.load(Ordering::SeqCst);
        std::thread::yield_now();
        assert_eq!(port.writes.load(Ordering::SeqCst), parked_at);
    }
    assert_eq!(port.last.load(Ordering::SeqCst), 0x5a);
}

#[test]
fn a_guest_without_a_single_exit_is_parked_by_the_kick() {
    // `jmp $`
    let (thread, _port, _heard) = guest(&[0xeb, 0xfe]);
    for _ in 0..50 {
        thread.resume();
        thread.park();
        thread.wait_parked();
    }
    thread.resume();
    drop(thread);
}

#[test]
fn string_output_reaches_the_port_item_by_item() {
    // mov si, 0x1000; mov dx, 0x10; mov cx, 5; rep outsb; jmp $
    let code = [0xbe, 0, 0x10, 0xba, 0x10, 0, 0xb9, 5, 0, 0xf3, 0x6e, 0xeb, 0xfe];
    let (thread, port, _heard) = guest(&code);
    thread.resume();
    port.wait_for_more_than(4);
    thread.park();
    thread.wait_parked();
    assert_eq!(port.writes.load(Ordering::SeqCst), 5);
    assert_eq!(port.last.load(Ordering::SeqCst), u64::from(code[4]));
}

#[test]
fn a_triple_fault_ends_the_guest_for_good() {
    // `ud2`, with an interrupt table of zeros, whose gates are not present.
    let (thread, port, heard) = guest_from(&[0x0f, 0x0b], |vcpu| {
        vcpu.boot(&Entry { rip: CODE, boot_data: 0, mode: EntryMode::Pvh32 })
    });
    thread.resume();
    let end = heard.recv_timeout(LONG).unwrap();
    assert!(matches!(end, End::TripleFault { cpu: 0, .. }), "{end}");
    thread.park();
    thread.wait_parked();
    thread.resume();
    assert!(heard.recv_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(port.writes.load(Ordering::SeqCst), 0);
}
