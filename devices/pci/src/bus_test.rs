//! Tests of the bus of slots, through ECAM and ports as systems use them.

use device_core::bus::BusView;
use proptest::prelude::*;

use super::*;
use crate::config::{BAR0, CAPABILITIES, COMMAND, COMMAND_MASTER, COMMAND_MEMORY};
use crate::test_card::{HIGH, Heard, LOW, MSIX_BAR, TestCard, VECTORS, mmio, windows};

use Width::{B1, B2, B4, B8};

const ECAM: u64 = 0xd000_0000;

/// A machine's two buses with a PCI bus on them.
struct Machine {
    pci: Arc<PciBus>,
    memory: BusView,
    ports: BusView,
}

/// What lies beneath the address port: bytes that are kept.
#[derive(Default)]
struct Beneath([AtomicU32; 4]);

impl BusDevice for Beneath {
    fn read(&self, offset: u64, width: Width) -> u64 {
        assert_eq!(width, B1);
        self.0[offset as usize].load(Ordering::Relaxed).into()
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        assert_eq!(width, B1);
        self.0[offset as usize].store(value as u32, Ordering::Relaxed);
    }
}

fn machine() -> Machine {
    let (mmio, memory) = mmio();
    let pci = PciBus::new(mmio.clone(), windows()).unwrap();
    mmio.insert(ECAM, ECAM_SIZE, pci.ecam()).unwrap();
    let ports = Bus::new();
    ports.insert(PORTS, PORTS_LEN, pci.ports(Arc::new(Beneath::default()))).unwrap();
    Machine { pci, memory, ports: ports.view() }
}

fn machine_with(cards: usize) -> (Machine, Vec<Arc<TestCard>>) {
    let machine = machine();
    let cards: Vec<_> =
        (0..cards).map(|number| Arc::new(TestCard::new(&format!("card{number}")))).collect();
    for card in &cards {
        machine.pci.attach(card.clone()).unwrap();
    }
    (machine, cards)
}

fn ecam(slot: u64, register: u16) -> u64 {
    ECAM + (slot << 15) + u64::from(register)
}

impl Machine {
    fn read(&mut self, slot: u64, register: u16, width: Width) -> u64 {
        self.memory.read(ecam(slot, register), width).unwrap()
    }

    fn write(&mut self, slot: u64, register: u16, width: Width, value: u64) {
        assert!(self.memory.write(ecam(slot, register), width, value));
    }

    /// An access of mechanism 1, as Linux's `pci_conf1_read`.
    fn read_by_ports(&mut self, slot: u64, register: u16, width: Width) -> u64 {
        self.ports.write(0xcf8, B4, 0x8000_0000 | slot << 11 | u64::from(register & 0xfc));
        self.ports.read(0xcfc + u64::from(register & 3), width).unwrap()
    }

    fn write_by_ports(&mut self, slot: u64, register: u16, width: Width, value: u64) {
        self.ports.write(0xcf8, B4, 0x8000_0000 | slot << 11 | u64::from(register & 0xfc));
        self.ports.write(0xcfc + u64::from(register & 3), width, value);
    }

    fn bar(&mut self, slot: u64, index: u16) -> u64 {
        let low = self.read(slot, BAR0 + 4 * index, B4);
        let high = if low & 4 != 0 { self.read(slot, BAR0 + 4 * index + 4, B4) } else { 0 };
        high << 32 | low & !0xf
    }
}

#[test]
fn a_system_finds_the_bridge_and_each_card_and_nothing_else() {
    let (mut machine, _) = machine_with(2);
    for slot in 0..32 {
        let expected = match slot {
            0 => 0x0008_1b36,
            1 | 2 => 0xec20_1d0f,
            _ => 0xffff_ffff,
        };
        assert_eq!(machine.read(slot, 0, B4), expected, "slot {slot}");
        assert_eq!(machine.read_by_ports(slot, 0, B4), expected, "slot {slot}");
        for function in 1..8 {
            let other = ecam(slot, 0) + (function << 12);
            assert_eq!(machine.memory.read(other, B4), Some(0xffff_ffff));
            assert!(machine.memory.write(other, B4, 0));
        }
    }
    assert_eq!(machine.read(0, 0x08, B4) >> 8, 0x06_0000);
    assert_eq!(machine.read(0, CAPABILITIES, B1), 0, "the bridge has no capabilities");
}

#[test]
fn both_ways_reach_the_same_registers_in_any_width() {
    let (mut machine, _) = machine_with(1);
    machine.write_by_ports(1, 0x3c, B1, 0x5a);
    assert_eq!(machine.read(1, 0x3c, B4), 0x5a);
    machine.write(1, COMMAND, B1, COMMAND_MEMORY.into());
    assert_eq!(machine.read_by_ports(1, COMMAND, B2), u64::from(COMMAND_MEMORY));

    for register in 0..0x100 {
        let byte = machine.read(1, register, B1);
        assert_eq!(machine.read_by_ports(1, register, B1), byte, "{register:#x}");
    }
    assert_eq!(machine.read_by_ports(1, 0x0a, B2), 0x0200);
    assert_eq!(machine.read(1, 0, B8), 0x0010_0002_ec20_1d0f);
}

#[test]
fn eight_bytes_are_written_as_two_registers() {
    let (mut machine, _) = machine_with(1);
    let place = HIGH.start + 0x100_0000;
    machine.write(1, BAR0 + 8, B8, place);
    assert_eq!(machine.bar(1, 2), place);
}

#[test]
fn the_address_port_answers_a_probe_and_needs_its_enable_bit() {
    let (mut machine, _) = machine_with(1);
    machine.ports.write(0xcf8, B4, 0x8000_0000);
    machine.ports.write(0xcfb, B1, 1);
    machine.ports.write(0xcf8, B2, 0x1234);
    assert_eq!(machine.ports.read(0xcf8, B4), Some(0x8000_0000));
    assert_eq!(machine.ports.read(0xcf8, B2), Some(0xffff));

    machine.ports.write(0xcf8, B4, 0x0000_0800);
    assert_eq!(machine.ports.read(0xcfc, B4), Some(0xffff_ffff), "not enabled");
    machine.ports.write(0xcf8, B4, 0x8001_0800);
    assert_eq!(machine.ports.read(0xcfc, B4), Some(0xffff_ffff), "no bus 1");
    machine.ports.write(0xcf8, B4, 0x8000_0900);
    assert_eq!(machine.ports.read(0xcfc, B4), Some(0xffff_ffff), "no function 1");
    assert_eq!(machine.ports.read(0xcfe, B4), None, "past the last port");
}

#[test]
fn single_bytes_of_the_address_port_are_those_of_what_lies_beneath() {
    let (mut machine, _) = machine_with(1);
    machine.ports.write(0xcf8, B4, 0x8000_0800);
    machine.ports.write(0xcf9, B1, 0x0e);
    assert_eq!(machine.ports.read(0xcf9, B1), Some(0x0e));
    assert_eq!(machine.ports.read(0xcf8, B1), Some(0));
    assert_eq!(machine.ports.read(0xcf8, B4), Some(0x8000_0800));
}

#[test]
fn firmware_has_given_every_bar_a_place_of_its_own() {
    let (mut machine, _) = machine_with(3);
    let mut ranges = Vec::new();
    for slot in 1..=3 {
        let (registers, memory, msix) =
            (machine.bar(slot, 0), machine.bar(slot, 2), machine.bar(slot, MSIX_BAR.into()));
        assert!(LOW.contains(&registers) && HIGH.contains(&memory) && LOW.contains(&msix));
        assert_eq!(machine.read(slot, COMMAND, B2), 0, "decoding is the system's to enable");
        ranges.extend([(registers, 0x4000), (memory, 0x10_0000), (msix, 0x2000)]);
    }
    ranges.sort_unstable();
    assert!(ranges.is_sorted_by(|a, b| a.0 + a.1 <= b.0));
    assert!(ranges.iter().all(|(start, len)| start % len == 0));
}

#[test]
fn a_reset_brings_the_first_places_back_and_resets_the_cards() {
    let (mut machine, cards) = machine_with(1);
    let first = machine.bar(1, 0);
    machine.write(1, COMMAND, B2, (COMMAND_MEMORY | COMMAND_MASTER).into());
    machine.write(1, BAR0, B4, first + 0x10_0000);
    cards[0].heard();

    machine.pci.reset();

    assert_eq!(machine.bar(1, 0), first);
    assert_eq!(machine.read(1, COMMAND, B2), 0);
    let heard = cards[0].heard();
    assert_eq!(heard.first(), Some(&Heard::BusMaster(false)));
    assert_eq!(heard.last(), Some(&Heard::Reset));
    assert_eq!(machine.memory.read(first + 0x10_0000, B4), None);
}

#[test]
fn a_bar_over_another_cards_or_over_ecam_is_harmless() {
    let (mut machine, cards) = machine_with(2);
    let (first, second) = (machine.bar(1, 0), machine.bar(2, 0));
    for slot in 1..=2 {
        machine.write(slot, COMMAND, B2, COMMAND_MEMORY.into());
    }
    machine.memory.write(first, B4, 1);
    machine.memory.write(second, B4, 2);
    cards[1].heard();

    for bad in [first, ECAM, 0xfee0_0000] {
        machine.write(2, BAR0, B4, bad);
        assert_eq!(machine.memory.read(first, B4), Some(1));
        assert_eq!(machine.read(1, 0, B4), 0xec20_1d0f);
    }
    assert_eq!(cards[1].heard(), [Heard::Mapped(0, None)]);
    machine.write(2, BAR0, B4, second);
    assert_eq!(machine.memory.read(second, B4), Some(2));
}

#[test]
fn a_full_bus_and_full_windows_are_clear_errors() {
    let machine = machine();
    for number in 1..SLOTS {
        let slot = machine.pci.attach(Arc::new(TestCard::new(&format!("card{number}"))));
        assert_eq!(slot, Ok(number));
    }
    let error = machine.pci.attach(Arc::new(TestCard::new("late"))).unwrap_err();
    assert!(error.to_string().starts_with("no slot is left for card late"), "{error}");

    let tiny = Windows { low: LOW.start..LOW.start + 0x8000, high: 0..0 };
    let pci = PciBus::new(Bus::new(), tiny).unwrap();
    let error = pci.attach(Arc::new(TestCard::new("big"))).unwrap_err();
    let (id, bar, size) = ("big".to_owned(), 2, 0x10_0000);
    assert_eq!(error, AttachError::NoSpace { id, bar, size });
}

#[test]
fn wide_bars_go_low_where_there_is_no_high_window() {
    let (mmio, _) = mmio();
    let pci = PciBus::new(mmio, Windows { low: LOW, high: 0..0 }).unwrap();
    pci.attach(Arc::new(TestCard::new("card"))).unwrap();
    let function = pci.function(1).unwrap();
    assert!(LOW.contains(&(function.read_config(BAR0 + 8, B4) & !0xf)));
    assert_eq!(function.read_config(BAR0 + 12, B4), 0);
}

/// One thing a hostile guest may do.
#[derive(Clone, Debug)]
enum Act {
    Ecam {
        at: u64,
        width: Width,
        value: u64,
    },
    Port {
        at: u64,
        width: Width,
        value: u64,
    },
    /// A write to the place where a card believes a BAR to be.
    Bar {
        slot: u64,
        index: u16,
        at: u64,
        width: Width,
        value: u64,
    },
    /// A move of a BAR to somewhere near the windows.
    Move {
        slot: u64,
        index: u16,
        to: u64,
    },
    Command {
        slot: u64,
        value: u64,
    },
    Msix {
        slot: u64,
        value: u64,
    },
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(B1), Just(B2), Just(B4), Just(B8)]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0u64..0x1_0000]
}

fn act() -> impl Strategy<Value = Act> {
    let place = prop_oneof![LOW, HIGH, LOW.start..LOW.start + 0x2_0000, any::<u64>()];
    let slot = || 1u64..3;
    let bar = || prop_oneof![Just(0u16), Just(2), Just(4)];
    // Registers of the first slots mostly; all of the region at times.
    let within = prop_oneof![0u64..0x2000, (0u64..12).prop_map(|word| word * 4)];
    let at = prop_oneof![0x8000u64..0x8100, 0x1_0000u64..0x1_0100, 0u64..ECAM_SIZE];
    prop_oneof![
        3 => (at, width(), value()).prop_map(|(at, width, value)| Act::Ecam { at, width, value }),
        1 => (0u64..8, width(), value()).prop_map(|(at, width, value)| Act::Port { at, width, value }),
        4 => (slot(), bar(), within, width(), value())
            .prop_map(|(slot, index, at, width, value)| Act::Bar { slot, index, at, width, value }),
        1 => (slot(), bar(), place).prop_map(|(slot, index, to)| Act::Move { slot, index, to }),
        2 => (slot(), prop_oneof![Just(6u64), 0u64..8]).prop_map(|(slot, value)| Act::Command { slot, value }),
        2 => (slot(), prop_oneof![Just(0x8000u64), Just(0xc000), Just(0)])
            .prop_map(|(slot, value)| Act::Msix { slot, value }),
    ]
}

/// Where the MSI-X capability is: the first, at the start of the list.
const MSIX_AT: u16 = 0x40;

impl Machine {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Ecam { at, width, value } => {
                self.memory.write(ECAM + at, width, value);
                self.memory.read(ECAM + at, width);
            }
            Act::Port { at, width, value } => {
                self.ports.write(PORTS + at, width, value);
                self.ports.read(PORTS + at, width);
            }
            Act::Bar { slot, index, at, width, value } => {
                let bar = self.bar(slot, index);
                // A BAR that was put over ECAM is not there.
                if !(ECAM..ECAM + ECAM_SIZE).contains(&bar) {
                    self.memory.write(bar.wrapping_add(at), width, value);
                    self.memory.read(bar.wrapping_add(at), width);
                }
            }
            Act::Move { slot, index, to } => {
                self.write(slot, BAR0 + 4 * index, B4, to & 0xffff_ffff);
                if index == 2 {
                    self.write(slot, BAR0 + 12, B4, to >> 32);
                }
            }
            Act::Command { slot, value } => self.write(slot, COMMAND, B2, value),
            Act::Msix { slot, value } => self.write(slot, MSIX_AT + 2, B2, value),
        }
    }

    /// Whether a driver that reads the registers would expect this vector to reach it.
    fn is_open(&mut self, slot: u64, vector: u16) -> bool {
        let control = self.read(slot, MSIX_AT + 2, B2);
        let master = self.read(slot, COMMAND, B2) & u64::from(COMMAND_MASTER) != 0;
        let table = self.pci.function(slot as u8).unwrap();
        let masked = table.read_msix(u64::from(vector) * 16 + 12) != 0;
        control >> 14 == 0b10 && master && !masked
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_guest_breaks_the_bus(acts in prop::collection::vec(act(), 1..120)) {
        let (mut machine, cards) = machine_with(2);
        let mut mapped = std::collections::BTreeMap::new();
        let fixed = |machine: &mut Machine| -> Vec<u64> {
            let read_only = [0, 2, 6, 8, 10, 0x2c, 0x2e, 0x34, 0x3e, 0x40, 0x44, 0x48, 0x4c, 0x50];
            let mut read = |slot| read_only.map(|at| machine.read(slot, at, B2));
            [read(0), read(1), read(2)].concat()
        };
        let before = fixed(&mut machine);
        for act in &acts {
            machine.act(act);

            prop_assert_eq!(&fixed(&mut machine), &before);
            for (number, card) in cards.iter().enumerate() {
                for heard in card.heard() {
                    match heard {
                        Heard::Mapped(bar, Some(at)) => {
                            let size = card.bars.iter().find(|spec| spec.index == bar).unwrap().size;
                            prop_assert!(mapped.insert((number, bar), at..at + size).is_none());
                        }
                        Heard::Mapped(bar, None) => {
                            prop_assert!(mapped.remove(&(number, bar)).is_some());
                        }
                        _ => {}
                    }
                }
                for vector in 0..VECTORS {
                    let double = card.set.test_vector(vector);
                    let before = double.delivered();
                    device_core::interrupt::Interrupt::fire(&*double);
                    let reached = double.delivered() - before;
                    let open = machine.is_open(number as u64 + 1, vector);
                    prop_assert_eq!(reached, u64::from(open));
                }
            }
            let mut ranges: Vec<_> = mapped.values().cloned().collect();
            ranges.sort_by_key(|range| range.start);
            prop_assert!(ranges.is_sorted_by(|a, b| a.end <= b.start));
            for range in ranges {
                prop_assert!(windows().hold(range.start, range.end - range.start));
            }
        }
    }
}
