//! The serial port, driven as Linux's 8250 driver does, and by a hostile guest.

use proptest::prelude::*;

use super::*;
use crate::testing::*;

const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

const IER_RX: u8 = 1;
const IER_THRE: u8 = 2;
const LSR_READY: u8 = 1;
const LSR_EMPTY: u8 = 0x60;
const LOOP: u8 = 0x10;

struct Machine {
    serial: Serial,
    line: Arc<Line>,
    irq: Arc<TestLine>,
}

fn machine() -> Machine {
    let irq = Arc::new(TestLine::default());
    let line = Line::new(1 << 20).unwrap();
    Machine { serial: Serial::new(irq.clone(), line.clone()), line, irq }
}

impl Machine {
    fn output(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let (_, count) = self.line.copy_from(0, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    /// An interrupt handler: takes input until there is none.
    fn take_input(&self) -> Vec<u8> {
        let ready = || self.serial.inb(LSR) & LSR_READY != 0;
        std::iter::from_fn(|| ready().then(|| self.serial.inb(DATA))).collect()
    }

    fn input_is_asked_for(&self) -> bool {
        self.line.bell_rang()
    }
}

#[test]
fn the_probe_of_linux_finds_a_16550a() {
    let s = machine().serial;
    // autoconfig: interrupts can be enabled and disabled.
    let ier = s.inb(IER);
    s.outb(IER, 0);
    assert_eq!(s.inb(IER) & 0x0f, 0);
    s.outb(IER, 0x0f);
    assert_eq!(s.inb(IER) & 0x0f, 0x0f);
    s.outb(IER, ier);
    // Loopback: RTS and OUT2 come back as CTS and DCD.
    let (mcr, lcr) = (s.inb(MCR), s.inb(LCR));
    s.outb(MCR, LOOP | 0x0a);
    assert_eq!(s.inb(MSR) & 0xf0, 0x90);
    s.outb(MCR, mcr);
    // No EFR of a 16650 or later behind the divisor latch.
    s.outb(LCR, 0xbf);
    s.outb(FCR, 0);
    s.outb(LCR, 0);
    // A FIFO that works.
    s.outb(FCR, 1);
    assert_eq!(s.inb(IIR) >> 6, 3);
    // Not a 16750: no 64-byte mode; not an XScale: no unit enable bit.
    s.outb(LCR, 0x80);
    s.outb(FCR, 0x21);
    assert_eq!(s.inb(IIR) & 0x20, 0);
    s.outb(LCR, 0);
    s.outb(IER, 0x40);
    assert_eq!(s.inb(IER) & 0x40, 0);
    s.outb(LCR, lcr);
    s.outb(IER, 0);
}

#[test]
fn the_scratch_register_and_the_divisor_keep_what_is_written() {
    let s = machine().serial;
    s.outb(SCR, 0xa5);
    assert_eq!(s.inb(SCR), 0xa5);
    s.outb(LCR, 0x83);
    s.outb(0, 0x01);
    s.outb(1, 0x02);
    assert_eq!(s.read(0, Width::B2), 0x0201);
    s.outb(LCR, 0x03);
    assert_ne!(s.inb(IER), 0x02, "the divisor is behind its latch only");
}

#[test]
fn what_is_sent_in_loopback_comes_back_and_goes_nowhere_else() {
    let m = machine();
    m.serial.outb(MCR, LOOP);
    (0..200).for_each(|byte| m.serial.outb(DATA, byte));
    assert_eq!(m.take_input(), (0..64).collect::<Vec<u8>>(), "the FIFO is bounded");
    assert_eq!(m.output(), b"");
}

#[test]
fn a_console_that_polls_sends_at_once() {
    let m = machine();
    for byte in *b"Linux version\r\n" {
        assert_eq!(m.serial.inb(LSR) & LSR_EMPTY, LSR_EMPTY);
        m.serial.outb(DATA, byte);
    }
    assert_eq!(m.output(), b"Linux version\r\n");
    assert_eq!(m.irq.take(), 0);
}

#[test]
fn a_driver_that_sends_by_interrupts_gets_one_for_each_batch() {
    let m = machine();
    m.serial.outb(IER, IER_THRE);
    for batch in b"a batch of sixteen bytes, and then another".chunks(16) {
        assert!(m.irq.take() > 0, "the transmitter is empty: more may come");
        assert_eq!(m.serial.inb(IIR) & 0x0f, 0x02);
        assert_eq!(m.serial.inb(IIR) & 0x01, 0x01, "reading acknowledges");
        batch.iter().for_each(|&byte| m.serial.outb(DATA, byte));
    }
    m.serial.outb(IER, 0);
    assert_eq!(m.output(), b"a batch of sixteen bytes, and then another");
}

#[test]
fn input_interrupts_the_guest_and_is_read_in_order() {
    let m = machine();
    m.serial.outb(IER, IER_RX);
    assert_eq!(m.serial.receive(b"ls -l\n"), 6);
    assert_eq!(m.irq.take(), 1);
    assert_eq!(m.serial.inb(IIR) & 0x0f, 0x04);
    assert_eq!(m.take_input(), b"ls -l\n");
    assert_eq!(m.serial.inb(LSR) & LSR_READY, 0);
}

#[test]
fn input_that_came_while_interrupts_were_off_interrupts_when_they_are_on() {
    let m = machine();
    assert_eq!(m.serial.receive(b"x"), 1);
    assert_eq!(m.irq.take(), 0);
    m.serial.outb(IER, IER_RX);
    assert_eq!(m.irq.take(), 1);
}

#[test]
fn a_full_fifo_takes_no_more_and_says_when_it_is_drained() {
    let m = machine();
    assert_eq!(m.serial.receive(&[b'x'; 100]), 64);
    assert_eq!(m.serial.receive(b"y"), 0);
    m.line.wait_for_room();
    assert!(!m.input_is_asked_for());
    assert_eq!(m.take_input().len(), 64);
    assert!(m.input_is_asked_for());
    assert_eq!(m.serial.receive(b"y"), 1);
}

#[test]
fn input_refused_in_loopback_is_asked_for_at_its_end() {
    let m = machine();
    m.serial.outb(MCR, LOOP);
    assert_eq!(m.serial.receive(b"x"), 0);
    m.line.wait_for_room();
    m.serial.outb(MCR, 0x0b);
    assert!(m.input_is_asked_for());
    assert_eq!(m.serial.receive(b"x"), 1);
}

#[test]
fn wide_accesses_go_to_ports_in_a_row_and_stop_at_the_last() {
    let m = machine();
    m.serial.write(0, Width::B2, u64::from(IER_RX) << 8 | u64::from(b'x'));
    assert_eq!(m.output(), b"x");
    assert_eq!(m.serial.inb(IER), IER_RX);
    assert_eq!(m.serial.read(SCR, Width::B2), 0xff00);
    m.serial.write(SCR, Width::B8, 0x1234);
    assert_eq!(m.serial.inb(SCR), 0x34);
    assert_eq!(m.serial.read(u64::MAX, Width::B8), u64::MAX);
}

#[test]
fn two_vcpus_and_the_host_at_once_lose_nothing() {
    let m = machine();
    m.serial.outb(IER, IER_RX);
    let taken = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..10_000).for_each(|_| m.serial.outb(DATA, b'o')));
        }
        let host = scope.spawn(|| {
            let mut left = 10_000;
            while left > 0 {
                left -= m.serial.receive(&vec![b'i'; left]);
            }
        });
        let mut taken = 0;
        while !host.is_finished() {
            taken += m.take_input().len();
        }
        taken + m.take_input().len()
    });
    assert_eq!(taken, 10_000);
    assert_eq!(m.output().len(), 20_000);
}

proptest! {
    #[test]
    fn any_accesses_are_survived_and_output_still_works(accesses in accesses(8, 300)) {
        let m = machine();
        for access in accesses {
            access.perform(&m.serial);
            m.serial.receive(b"input");
        }
        m.serial.outb(LCR, 3);
        m.serial.outb(MCR, 0);
        m.take_input();
        let before = m.output().len();
        m.serial.outb(DATA, b'!');
        prop_assert_eq!(m.output().split_off(before), b"!");
        prop_assert_eq!(m.serial.receive(&[0; 100]), 64);
    }
}

#[test]
fn an_edge_lost_to_a_masked_line_comes_again_when_the_driver_enables_the_interrupt_anew() {
    let m = machine();
    // As Linux starts the port: the line is masked, so this edge reaches nobody.
    m.serial.outb(IER, IER_THRE);
    assert!(m.irq.take() > 0);
    m.serial.outb(IER, 0);
    m.serial.outb(IER, IER_RX);
    assert_eq!(m.irq.take(), 0, "nothing is pending for the receiver");
    m.serial.outb(IER, IER_RX | IER_THRE);
    assert_eq!(m.irq.take(), 1);

    m.serial.receive(b"a");
    assert_eq!(m.irq.take(), 1);
    m.serial.receive(b"b");
    assert_eq!(m.irq.take(), 1, "more input is a new reason to look");
}

#[test]
fn a_driver_that_takes_only_so_much_at_once_is_told_of_the_rest() {
    let Machine { serial, irq, .. } = machine();
    serial.outb(IER, IER_RX);
    let sent: Vec<u8> = (0..600).map(|n| (n % 251) as u8).collect();
    let (mut rest, mut taken) = (&sent[..], Vec::new());
    // Input comes on whenever there is room, also while the handler runs.
    let mut refill = |serial: &Serial| rest = &rest[serial.receive(rest)..];
    refill(&serial);
    assert!(irq.take() > 0);
    // The handler of Linux: at most 256 bytes at once, and again while the port says that it is it.
    while serial.inb(IIR) & 1 == 0 {
        for _ in 0..256 {
            if serial.inb(LSR) & LSR_READY == 0 {
                break;
            }
            refill(&serial);
            taken.push(serial.inb(DATA));
        }
    }
    assert_eq!(taken, sent);
}
