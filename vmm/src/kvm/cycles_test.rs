//! A guest in real mode that is saved at random times and goes on in another VM, again and again; it needs
//! `/dev/kvm`, of any kind.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use device_core::GuestRam;
use kvm_bindings::kvm_xcr;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::kvm;
use crate::kvm::vcpu::{Accesses, BoundVcpu, Exit, Vcpu, kick_signal};
use crate::kvm::vcpu_state::{HostFacts, VcpuState};

const CODE: u64 = 0x1000;
const HANDLER: u64 = 0x2000;
/// Where the guest counts its rounds, and the interrupts of its timer.
const ROUNDS: u64 = 0x6000;
const TICKS: u64 = 0x6002;

/// A port that counts how often it is read, one that is told each count, and one for what must not be.
const COUNTS: u16 = 0x10;
const TOLD: u16 = 0x11;
const BAD: u16 = 0x12;

/// Interrupt of the PIT by the first PIC, as the guest sets it.
const TIMER_VECTOR: u64 = 8;

/// Sets PIC and PIT up, the latter for 5 ms, and fills registers; then it reads the count, looks whether that is the
/// next, and registers are as they were, counts the round and tells it.
fn program() -> Vec<u8> {
    let mut code = Vec::new();
    let outs = [
        (0x11, 0x20),
        (0x08, 0x21),
        (0x04, 0x21),
        (0x01, 0x21),
        (0xfe, 0x21),
        (0x34, 0x43),
        (0x4d, 0x40),
        (0x17, 0x40),
    ];
    outs.iter().for_each(|(value, port)| code.extend([0xb0, *value, 0xe6, *port]));
    // xor bx, bx; mov cx, dx, si, di, bp; sti
    code.extend([0x31, 0xdb, 0xb9, 0x34, 0x12, 0xba, 0x78, 0x56, 0xbe, 0xbc, 0x9a]);
    code.extend([0xbf, 0xf0, 0xde, 0xbd, 0x11, 0x47, 0xfb]);
    let again = code.len();
    // in al, COUNTS; inc bl; cmp al, bl; jne
    code.extend([0xe4, COUNTS as u8, 0xfe, 0xc3, 0x38, 0xd8, 0x75, 0]);
    let mut jumps = vec![code.len()];
    for compare in [
        [0x81, 0xf9, 0x34, 0x12],
        [0x81, 0xfa, 0x78, 0x56],
        [0x81, 0xfe, 0xbc, 0x9a],
        [0x81, 0xff, 0xf0, 0xde],
        [0x81, 0xfd, 0x11, 0x47],
    ] {
        code.extend(compare);
        code.extend([0x75, 0]);
        jumps.push(code.len());
    }
    // inc word [ROUNDS]; out TOLD, al; jmp
    code.extend([0xff, 0x06, ROUNDS as u8, (ROUNDS >> 8) as u8, 0xe6, TOLD as u8, 0xeb]);
    code.push((again as i64 - (code.len() as i64 + 1)) as u8);
    let bad = code.len();
    jumps.iter().for_each(|&from| code[from - 1] = (bad - from) as u8);
    // out BAD, al; and again
    code.extend([0xe6, BAD as u8, 0xeb, 0xfc]);
    code
}

/// push ax; inc word [TICKS]; end of interrupt; pop ax; iret
const HANDLER_CODE: [u8; 11] =
    [0x50, 0xff, 0x06, TICKS as u8, (TICKS >> 8) as u8, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];

/// The far end of the ports.
#[derive(Default)]
struct Ports {
    count: u8,
    /// It was read, and not told yet.
    owed: bool,
    told: u16,
}

impl Accesses for Ports {
    fn port_read(&mut self, port: u16, bytes: &mut [u8]) {
        assert_eq!((port, std::mem::replace(&mut self.owed, true)), (COUNTS, false), "read twice");
        self.count = self.count.wrapping_add(1);
        bytes.fill(self.count);
    }
    fn port_write(&mut self, port: u16, bytes: &[u8]) {
        assert_eq!(port, TOLD, "the guest is not what it was: {bytes:x?}, {}", self.count);
        assert_eq!(
            (bytes, std::mem::take(&mut self.owed)),
            (&[self.count][..], true),
            "told twice"
        );
        self.told = self.told.wrapping_add(1);
    }
    fn mmio_read(&mut self, address: u64, _: &mut [u8]) {
        panic!("a read at {address:#x}");
    }
    fn mmio_write(&mut self, address: u64, _: &[u8]) {
        panic!("a write at {address:#x}");
    }
}

/// A VM, on memory that outlives it.
struct Guest {
    // Dropped in this order.
    vcpu: BoundVcpu,
    vm: Arc<VmFd>,
    host: HostFacts,
}

fn host_facts(kvm: &kvm_ioctls::Kvm, vm: &VmFd) -> HostFacts {
    HostFacts::of(kvm, vm, !kvm::probe::has_hardware_virtualization()).unwrap()
}

/// What a guest is like before its first instruction, with vectors that it never touches.
fn first(kvm: &kvm_ioctls::Kvm, ram: &GuestRam) -> (VcpuState, VmState) {
    let vm = kvm::vm::create(kvm, ram).unwrap();
    let mut vcpu = Vcpu::new(&vm, 0).unwrap();
    let facts = arch::cpuid::CpuFacts { index: 0, count: 1, smt: false, tsc_deadline: false };
    let supported = kvm::vm::supported_cpuid(kvm).unwrap();
    let cpuid = arch::cpuid::guest_cpuid(&supported, &facts).unwrap();
    vcpu.init(&cpuid).unwrap();
    vcpu.real_mode(CODE).unwrap();
    let mut state = vcpu.bind().save(&host_facts(kvm, &vm)).unwrap();
    let has_avx = cpuid.as_slice().iter().any(|leaf| leaf.function == 1 && leaf.ecx >> 28 & 1 == 1);
    // Bits of XCR0 and of XSAVE's header (SDM volume 1, 13.4.2): x87, SSE, AVX.
    let parts: u8 = if has_avx { 7 } else { 3 };
    if state.xcrs.0.nr_xcrs > 0 {
        state.xcrs.0.xcrs[0] = kvm_xcr { value: parts.into(), ..state.xcrs.0.xcrs[0] };
    }
    state.xsave[512] = parts;
    // The lower and the upper halves of the registers.
    let halves = [160..416, 576..if has_avx { 832 } else { 576 }];
    for at in halves.into_iter().flatten() {
        state.xsave[at] = (at as u8).wrapping_mul(37) | 1;
    }
    (state, save(&vm).unwrap())
}

impl Guest {
    fn restore(kvm: &kvm_ioctls::Kvm, ram: &GuestRam, vcpu: &VcpuState, state: &VmState) -> Guest {
        let vm = kvm::vm::create(kvm, ram).unwrap();
        let host = host_facts(kvm, &vm);
        let mut new = Vcpu::new(&vm, 0).unwrap();
        new.load(vcpu, &host).unwrap();
        let passage = load(&vm, state, true).unwrap();
        new.load_time(vcpu, &passage, &host).unwrap();
        new.load_rest(vcpu, &passage, &host).unwrap();
        Guest { vcpu: new.bind(), vm, host }
    }

    /// Runs until `is_enough`, or is kicked.
    fn run(&mut self, ports: &mut Ports, mut is_enough: impl FnMut(&Ports) -> bool) {
        let begun = Instant::now();
        while !is_enough(ports) {
            match self.vcpu.run(ports).unwrap() {
                Exit::Access => {}
                Exit::Kicked => return,
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it stands still");
        }
    }

    fn save(&mut self, ports: &mut Ports) -> (VcpuState, VmState) {
        self.vcpu.settle(ports);
        (self.vcpu.save(&self.host).unwrap(), save(&self.vm).unwrap())
    }
}

/// Kicks this thread after a time.
fn kick_after(delay: Duration) -> thread::JoinHandle<()> {
    // SAFETY: it has no conditions.
    let me = unsafe { libc::pthread_self() };
    thread::spawn(move || {
        thread::sleep(delay);
        // SAFETY: the thread joins this one before it ends.
        let sent = unsafe { libc::pthread_kill(me, kick_signal()) };
        assert_eq!(sent, 0);
    })
}

/// Without what goes on while nobody runs.
fn at_rest(state: &VcpuState) -> String {
    let mut state = state.clone();
    state.msrs.retain(|msr| msr.index != arch::msr::IA32_TIME_STAMP_COUNTER);
    serde_json::to_string(&state).unwrap()
}

#[test]
fn a_guest_is_what_it_was_after_each_of_many_saves_at_random_times() {
    let rounds = if std::env::var_os("VMM_LONG").is_some() { 1000 } else { 20 };
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    kvm::vcpu::install_kick_handler().unwrap();
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    ram.write_slice(&program(), GuestAddress(CODE)).unwrap();
    ram.write_slice(&HANDLER_CODE, GuestAddress(HANDLER)).unwrap();
    ram.write_obj(HANDLER as u32, GuestAddress(TIMER_VECTOR * 4)).unwrap();
    let word = |at| ram.read_obj::<u16>(GuestAddress(at)).unwrap();

    let (mut vcpu, mut state) = first(&kvm, &ram);
    let vectors = vcpu.xsave[160..832].to_vec();
    let (mut ports, mut random) = (Ports::default(), 0x9e37_79b9_u64);
    for round in 0..rounds {
        let mut guest = Guest::restore(&kvm, &ram, &vcpu, &state);
        let (ticks, told) = (word(TICKS), ports.told);
        // It goes on, and so does its timer.
        guest.run(&mut ports, |ports| word(TICKS) != ticks && ports.told.wrapping_sub(told) >= 3);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let kicker = kick_after(Duration::from_micros(random >> 33 & 0x7ff));
        guest.run(&mut ports, |_| false);
        kicker.join().unwrap();
        (vcpu, state) = guest.save(&mut ports);
        // What was counted was told, or is to be.
        let ahead = word(ROUNDS).wrapping_sub(ports.told);
        assert!(ahead <= u16::from(ports.owed), "round {round}: {ahead} ahead");
        assert!(vcpu.xsave[160..416] == vectors[..256], "round {round}: vectors have changed");
        assert!(vcpu.xsave[576..832] == vectors[416..], "round {round}: vectors have changed");
        let (again, _) = guest.save(&mut ports);
        assert_eq!(at_rest(&again), at_rest(&vcpu), "round {round}: a save has changed something");
        // By way of its text, as in a file.
        let text = serde_json::to_string(&(&vcpu, &state)).unwrap();
        (vcpu, state) = serde_json::from_str(&text).unwrap();
    }
    crate::memory::release(ram);
}
