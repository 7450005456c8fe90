//! Tests of what a guest that has set nothing up hears of its lines; they need `/dev/kvm`, of any kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch::layout::{COM1_GSI, IOAPIC_PINS};
use device_core::GuestRam;
use device_core::interrupt::IrqLine;
use kvm_bindings::kvm_pic_state;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::kvm;
use crate::kvm::irq::{Line, Lines};
use crate::kvm::vcpu::{Accesses, BoundVcpu, Exit, Vcpu};

const CODE: u64 = 0x1000;
const HANDLERS: u64 = 0x2000;
const HANDLER_LEN: u64 = 8;

/// The guest says that it still runs; and which interrupt it took.
const RUNS: u16 = 0x10;
const TOOK: u16 = 0x11;

/// `sti; again: out 0x10, al; jmp again`
const LOOP: &[u8] = &[0xfb, 0xe6, RUNS as u8, 0xeb, 0xfc];

const NONE: [u8; 0] = [];

/// A guest in real mode with interrupts on, whose handlers tell which one runs.
struct Guest {
    vm: Arc<VmFd>,
    _ram: GuestRam,
    vcpu: BoundVcpu,
}

#[derive(Default)]
struct Heard {
    runs: bool,
    took: Vec<u8>,
}

impl Accesses for Heard {
    fn port_read(&mut self, _: u16, _: &mut [u8]) {}
    fn port_write(&mut self, port: u16, bytes: &[u8]) {
        match port {
            RUNS => self.runs = true,
            TOOK => self.took.extend(bytes),
            _ => panic!("a write to port {port:#x}"),
        }
    }
    fn mmio_read(&mut self, _: u64, _: &mut [u8]) {}
    fn mmio_write(&mut self, _: u64, _: &[u8]) {}
}

impl Guest {
    fn new() -> Guest {
        let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
        let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
        for vector in 0..=u8::MAX {
            let handler = HANDLERS + u64::from(vector) * HANDLER_LEN;
            // push ax; mov al, vector; out 0x11, al; pop ax; iret
            let code = [0x50, 0xb0, vector, 0xe6, TOOK as u8, 0x58, 0xcf];
            ram.write_slice(&code, GuestAddress(handler)).unwrap();
            // Offset and segment, in the real mode's table at 0.
            ram.write_obj(handler as u32, GuestAddress(u64::from(vector) * 4)).unwrap();
        }
        ram.write_slice(LOOP, GuestAddress(CODE)).unwrap();
        let vm = kvm::vm::create(&kvm, &ram).unwrap();
        kvm::vcpu::install_kick_handler().unwrap();
        let mut vcpu = Vcpu::new(&vm, 0).unwrap();
        let facts = arch::cpuid::CpuFacts { index: 0, count: 1, smt: false, tsc_deadline: false };
        let host = kvm::vm::supported_cpuid(&kvm).unwrap();
        vcpu.init(&arch::cpuid::guest_cpuid(&host, &facts).unwrap()).unwrap();
        vcpu.real_mode(CODE).unwrap();
        Guest { vm, _ram: ram, vcpu: vcpu.bind() }
    }

    /// Lets the guest go round its loop a few times; returns the vectors it took meanwhile.
    fn runs(&mut self) -> Vec<u8> {
        let mut heard = Heard::default();
        for _ in 0..4 {
            heard.runs = false;
            while !heard.runs {
                let exit = self.vcpu.run(&mut heard).unwrap();
                assert!(matches!(exit, Exit::Access | Exit::Kicked), "{exit:?}");
            }
        }
        heard.took
    }

    /// Pulses a line and waits until both kinds of controller have it: KVM does that on a thread of
    /// its own. A PIC remembers an edge also of a line that is closed.
    fn pulse(&self, gsi: u32, line: &Line) {
        line.pulse();
        let Some(&(chip_id, _)) = CHIPS.get(gsi as usize / 8) else { return };
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.pic(chip_id).irr & (1 << (gsi % 8)) == 0 {
            assert!(Instant::now() < deadline, "the edge of line {gsi} is lost");
            std::thread::yield_now();
        }
    }

    fn pic(&self, chip_id: u32) -> kvm_pic_state {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        self.vm.get_irqchip(&mut chip).unwrap();
        // SAFETY: KVM filled the state of a PIC, which is integers.
        unsafe { chip.chip.pic }
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        let lines = Lines::new(self.vm.clone());
        (0..IOAPIC_PINS).map(|gsi| lines.line(gsi).unwrap()).collect()
    }
}

#[test]
fn no_line_reaches_a_guest_that_has_set_nothing_up() {
    let mut guest = Guest::new();
    let lines = guest.lines();
    for (gsi, line) in (0..).zip(&lines) {
        guest.pulse(gsi, line);
        assert_eq!(guest.runs(), NONE, "line {gsi}");
    }
}

/// What KVM makes of itself does disturb such a guest: the test above can fail.
#[test]
fn a_line_that_is_open_at_the_pic_does_reach_it() {
    let mut guest = Guest::new();
    let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_PIC_MASTER, ..Default::default() };
    guest.vm.get_irqchip(&mut chip).unwrap();
    chip.chip.pic.imr = 0;
    guest.vm.set_irqchip(&chip).unwrap();
    Lines::new(guest.vm.clone()).line(COM1_GSI).unwrap().pulse();
    let deadline = Instant::now() + Duration::from_secs(20);
    let took = loop {
        let took = guest.runs();
        if !took.is_empty() || Instant::now() > deadline {
            break took;
        }
    };
    assert_eq!(took, [0x08 + COM1_GSI as u8]);
}

#[test]
fn both_controllers_are_closed_and_have_vectors_of_their_own() {
    let guest = Guest::new();
    for (chip_id, first_vector) in CHIPS {
        let pic = guest.pic(chip_id);
        assert_eq!((pic.imr, pic.irq_base), (ALL_MASKED, first_vector));
    }
}

#[test]
fn a_pulse_is_in_the_controller_once_lines_have_settled() {
    let guest = Guest::new();
    let lines = Lines::new(guest.vm.clone());
    let all: Vec<_> = (0..16).map(|gsi| lines.line(gsi).unwrap()).collect();
    for (gsi, line) in all.iter().enumerate().filter(|(gsi, _)| *gsi != 2) {
        line.pulse();
        lines.settle().unwrap();
        let (chip_id, _) = CHIPS[gsi / 8];
        assert_ne!(guest.pic(chip_id).irr & (1 << (gsi % 8)), 0, "line {gsi}");
    }
}
