//! Tests of one function: header, BARs, capabilities, reset.

use std::sync::atomic::{AtomicBool, Ordering};

use device_core::bus::BusView;

use super::*;
use crate::config::{bar_register as register_of, *};
use crate::device::Capability;
use crate::test_card::{Elsewhere, HIGH, Heard, LOW, MSIX_BAR, TestCard, mmio, windows};

use Width::{B1, B2, B4, B8};

struct Setup {
    card: Arc<TestCard>,
    function: PciFunction,
    mmio: Arc<Bus>,
    cpu: BusView,
}

fn setup() -> Setup {
    setup_with(TestCard::new("card"))
}

fn setup_with(card: TestCard) -> Setup {
    let card = Arc::new(card);
    let (mmio, cpu) = mmio();
    let function = PciFunction::new(card.clone(), mmio.clone(), windows()).unwrap();
    Setup { card, function, mmio, cpu }
}

impl Setup {
    fn command(&self, bits: u16) {
        self.function.write_config(COMMAND, B2, bits.into());
    }

    /// The offset of the capability `id`, found as a driver finds it.
    fn capability(&self, id: u64) -> u16 {
        let mut at = self.function.read_config(CAPABILITIES, B1) as u16;
        while at != 0 && self.function.read_config(at, B1) != id {
            at = self.function.read_config(at + 1, B1) as u16;
        }
        assert_ne!(at, 0, "no capability {id:#x}");
        at
    }

    fn function_level_reset(&self) {
        let control = self.capability(0x10) + 8;
        let value = self.function.read_config(control, B2);
        self.function.write_config(control, B2, value | 1 << 15);
    }
}

impl PciFunction {
    /// A word of the MSI-X BAR, mapped or not.
    pub(crate) fn read_msix(&self, offset: u64) -> u64 {
        self.msix.as_ref().unwrap().read(offset, B4)
    }
}

fn try_new(card: TestCard) -> Result<PciFunction, FunctionError> {
    PciFunction::new(Arc::new(card), mmio().0, windows())
}

#[test]
fn the_header_shows_the_identity_and_cannot_be_written() {
    let setup = setup();
    for offset in (0..0x10).chain(0x28..0x3c).step_by(4) {
        setup.function.write_config(offset, B4, u32::MAX.into());
    }
    setup.function.write_config(COMMAND, B4, 0);
    setup.function.write_config(CACHE_LINE, B4, 0);

    let header: Vec<_> =
        (0..0x40).step_by(4).map(|at| setup.function.read_config(at, B4)).collect();
    let (capabilities, class) = (0x40, 0x0200_0007);
    assert_eq!(header[..4], [0xec20_1d0f, 0x0010_0000, class, 0]);
    assert_eq!(header[10..], [0, 0x2222_1111, 0, capabilities, 0, 0]);
}

#[test]
fn the_command_register_has_no_io_space_and_keeps_what_drivers_set() {
    let setup = setup();
    setup.command(0xffff);
    assert_eq!(setup.function.read_config(COMMAND, B2), 0x0546);
}

#[test]
fn each_bar_tells_its_size_to_a_driver_that_writes_ones() {
    let setup = setup();
    let sizes: Vec<_> = (0..BARS)
        .map(|index| {
            setup.function.write_config(register_of(index), B4, u32::MAX.into());
            setup.function.read_config(register_of(index), B4)
        })
        .collect();
    assert_eq!(sizes, [0xffff_c000, 0, 0xfff0_000c, 0xffff_ffff, 0xffff_e000, 0]);
    assert_eq!(setup.function.read_config(0x30, B4), 0, "there is no expansion ROM");
}

#[test]
fn bars_appear_with_memory_space_and_vanish_without() {
    let mut setup = setup();
    setup.function.assign(0, LOW.start);
    setup.function.assign(2, HIGH.start);
    assert_eq!(setup.cpu.read(LOW.start, B4), None);

    setup.command(COMMAND_MEMORY);
    assert!(setup.cpu.write(LOW.start + 8, B4, 0x1234));
    assert_eq!(setup.cpu.read(LOW.start + 8, B4), Some(0x1234));
    assert!(setup.cpu.write(HIGH.start + 0xf_fff8, B8, 5));
    assert!(!setup.cpu.write(HIGH.start + 0x10_0000, B4, 5));
    assert_eq!(
        setup.card.heard(),
        [Heard::Mapped(0, Some(LOW.start)), Heard::Mapped(2, Some(HIGH.start))]
    );

    setup.command(0);
    assert_eq!(setup.cpu.read(LOW.start + 8, B4), None);
    assert_eq!(setup.card.heard(), [Heard::Mapped(0, None), Heard::Mapped(2, None)]);
}

#[test]
fn a_bar_moved_while_mapped_leaves_nothing_behind() {
    let mut setup = setup();
    setup.function.assign(0, LOW.start);
    setup.command(COMMAND_MEMORY);
    setup.card.heard();

    let new = LOW.start + 0x8000;
    setup.function.write_config(BAR0, B4, new);

    assert_eq!(setup.card.heard(), [Heard::Mapped(0, None), Heard::Mapped(0, Some(new))]);
    assert_eq!(setup.cpu.read(LOW.start, B4), None);
    assert_eq!(setup.cpu.read(new, B4), Some(0));
}

#[test]
fn a_64_bit_bar_moves_by_halves() {
    let mut setup = setup();
    setup.function.assign(2, HIGH.start);
    setup.command(COMMAND_MEMORY);

    setup.function.write_config(register_of(2), B4, LOW.start);
    setup.function.write_config(register_of(3), B4, 0);

    assert_eq!(setup.cpu.read(HIGH.start, B4), None);
    assert_eq!(setup.cpu.read(LOW.start, B4), Some(0));
}

#[test]
fn a_bar_outside_the_windows_is_nowhere_until_it_comes_back() {
    let mut setup = setup();
    setup.function.assign(0, LOW.start);
    setup.command(COMMAND_MEMORY);
    setup.card.heard();

    // RAM, the local APIC, one byte before and after the window.
    for bad in [0x10_0000, 0xfee0_0000, LOW.start - 0x4000, LOW.end - 0x2000, LOW.end] {
        setup.function.write_config(BAR0, B4, bad);
        let kept = bad & !0x3fff;
        assert_eq!(setup.function.read_config(BAR0, B4), kept);
        if kept + 0x4000 != LOW.end {
            assert_eq!(setup.cpu.read(kept, B4), None);
        }
    }
    setup.function.write_config(BAR0, B4, LOW.start);
    assert_eq!(setup.cpu.read(LOW.start, B4), Some(0));
}

#[test]
fn a_bar_over_something_else_is_refused_and_comes_when_moved_away() {
    let mut setup = setup();
    setup.mmio.insert(LOW.start + 0x1000, 0x1000, Arc::new(Elsewhere)).unwrap();
    setup.function.assign(0, LOW.start);
    setup.command(COMMAND_MEMORY);

    assert_eq!(setup.cpu.read(LOW.start, B4), None);
    assert_eq!(setup.cpu.read(LOW.start + 0x1000, B4), Some(0x5a));
    assert_eq!(setup.card.heard(), []);

    setup.function.write_config(BAR0, B4, LOW.start + 0x4000);
    assert_eq!(setup.card.heard(), [Heard::Mapped(0, Some(LOW.start + 0x4000))]);
}

#[test]
fn two_bars_of_one_card_do_not_overlap() {
    let mut setup = setup();
    setup.function.assign(0, LOW.start);
    setup.function.assign(2, LOW.start);
    setup.command(COMMAND_MEMORY);
    assert_eq!(setup.card.heard(), [Heard::Mapped(0, Some(LOW.start))]);
    assert_eq!(setup.cpu.read(LOW.start + 0x4000, B4), None);
}

#[test]
fn the_msix_table_is_in_a_bar_of_its_own() {
    let mut setup = setup();
    let msix = setup.capability(0x11);
    assert_eq!(setup.function.read_config(msix + 2, B2), 2, "three vectors, disabled");
    assert_eq!(setup.function.read_config(msix + 4, B4), u64::from(MSIX_BAR));
    assert_eq!(setup.function.read_config(msix + 8, B4), 0x1000 | u64::from(MSIX_BAR));

    setup.function.assign(MSIX_BAR, LOW.start);
    setup.command(COMMAND_MEMORY);
    assert!(setup.cpu.write(LOW.start + 8, B4, 0x4021));
    assert_eq!(setup.cpu.read(LOW.start + 8, B4), Some(0x4021));
    assert_eq!(setup.card.heard(), [], "the card has nothing to do with it");
}

#[test]
fn vectors_follow_enable_function_mask_and_bus_master() {
    let mut setup = setup();
    let control = setup.capability(0x11) + 2;
    setup.function.assign(MSIX_BAR, LOW.start);
    setup.command(COMMAND_MEMORY | COMMAND_MASTER);
    setup.cpu.write(LOW.start, B8, 0xfee0_1000);
    setup.cpu.write(LOW.start + 8, B8, 0x41);
    assert_eq!(setup.card.set.routed(0), None, "MSI-X is off");

    setup.function.write_config(control, B2, 0xc000);
    assert_eq!(setup.card.set.routed(0), None, "the function is masked");
    setup.function.write_config(control, B2, 0x8000);
    assert_eq!(setup.card.set.routed(0).map(|message| message.data), Some(0x41));
    assert_eq!(setup.card.set.routed(1), None, "this vector is masked");

    setup.command(COMMAND_MEMORY);
    assert_eq!(setup.card.set.routed(0), None, "no bus master, no MSI");
    assert_eq!(
        setup.card.heard(),
        [Heard::BusMaster(true), Heard::MsixEnabled(true), Heard::BusMaster(false)]
    );
}

#[test]
fn a_function_level_reset_resets_card_registers_and_vectors() {
    let mut setup = setup();
    let control = setup.capability(0x11) + 2;
    setup.function.assign(0, LOW.start);
    setup.function.assign(MSIX_BAR, LOW.start + 0x4000);
    setup.command(COMMAND_MEMORY | COMMAND_MASTER);
    setup.cpu.write(LOW.start + 0x400c, B4, 0);
    setup.function.write_config(control, B2, 0x8000);
    assert!(setup.card.set.routed(0).is_some());
    setup.card.heard();

    setup.function_level_reset();

    assert_eq!(
        setup.card.heard(),
        [Heard::BusMaster(false), Heard::MsixEnabled(false), Heard::Mapped(0, None), Heard::Reset]
    );
    assert_eq!(setup.card.set.routed(0), None);
    assert_eq!(setup.cpu.read(LOW.start, B4), None);
    let express = setup.capability(0x10) + 8;
    for (register, value) in [(COMMAND, 0), (BAR0, 0), (control, 2), (express, 0x2810)] {
        assert_eq!(setup.function.read_config(register, B2), value, "{register:#x}");
    }

    // The driver restores what it had; the table is masked again.
    setup.function.assign(MSIX_BAR, LOW.start);
    setup.command(COMMAND_MEMORY | COMMAND_MASTER);
    setup.function.write_config(control, B2, 0x8000);
    assert_eq!(setup.card.set.routed(0), None);
    assert_eq!(setup.cpu.read(LOW.start + 0xc, B4), Some(1));
}

#[test]
fn the_express_capability_is_a_root_complex_endpoint_with_reset() {
    let setup = setup();
    let at = setup.capability(0x10);
    assert_eq!(setup.function.read_config(at + 2, B2), 0x0092);
    assert_eq!(setup.function.read_config(at + 4, B4) >> 28 & 1, 1);
    setup.function.write_config(at + 8, B2, 0x7fff);
    assert_eq!(setup.function.read_config(at + 8, B2), 0x781f);
    assert_eq!(setup.card.heard(), []);
    assert_eq!(setup.function.read_config(0x100, B4), 0, "no extended capabilities");
}

#[test]
fn a_bridge_has_neither_express_capability_nor_reset() {
    let mut card = TestCard::new("bridge");
    card.identity.class = 0x06_00_00;
    let setup = setup_with(card);
    let mut at = setup.function.read_config(CAPABILITIES, B1) as u16;
    while at != 0 {
        assert_ne!(setup.function.read_config(at, B1), 0x10);
        at = setup.function.read_config(at + 1, B1) as u16;
    }
}

#[test]
fn a_cards_own_capability_is_writable_where_it_says_and_hears_of_it() {
    let setup = setup();
    let at = setup.capability(0x09);
    setup.function.write_config(at + 4, B4, 0x1122_3344);

    let body = vec![0xaa, 0xbb, 0x44, 0x33, 0xee, 0xff];
    assert_eq!(setup.card.heard(), [Heard::CapabilityWritten(0, 2, body)]);
    assert_eq!(setup.function.read_config(at + 4, B4), 0xffee_3344);

    *setup.card.capability_answer.lock().unwrap() = Some(0xdead_beef_0bad_cafe);
    assert_eq!(setup.function.read_config(at + 4, B4), 0x0bad_cafe);
    assert_eq!(setup.function.read_config(at + 4, B1), 0xfe);
    assert_eq!(setup.function.read_config(at, B2), u64::from(setup.next_after(at)) << 8 | 0x09);
}

impl Setup {
    fn next_after(&self, at: u16) -> u8 {
        self.function.read_config(at + 1, B1) as u8
    }
}

#[test]
fn accesses_out_of_line_or_range_read_ones_and_change_nothing() {
    let setup = setup();
    for (offset, width) in [(0x05, B2), (0x3d, B4), (0x1000, B1), (0xfff, B2), (0xffff, B8)] {
        assert_eq!(setup.function.read_config(offset, width), width.mask());
    }
    setup.function.write_config(0x3d, B4, u64::MAX);
    setup.function.write_config(0xffff, B8, u64::MAX);
    assert_eq!(setup.function.read_config(INTERRUPT_LINE, B4), 0);
    assert_eq!(setup.function.read_config(0xffc, B4), 0);
}

#[test]
fn cards_that_cannot_be_are_refused() {
    let with_bars = |bars: &[(u8, BarKind, u64)]| {
        let mut card = TestCard::new("odd");
        card.bars = bars.iter().map(|&(index, kind, size)| BarSpec { index, kind, size }).collect();
        try_new(card).err().map(|error| error.to_string())
    };
    let wide = BarKind::Memory64 { prefetchable: false };
    for bad in [
        (0, BarKind::Memory32, 0),
        (0, BarKind::Memory32, 8),
        (0, BarKind::Memory32, 0x3000),
        (0, BarKind::Memory32, 1 << 32),
        (5, wide, 0x1000),
        (6, BarKind::Memory32, 0x1000),
        (255, wide, 0x1000),
    ] {
        assert!(with_bars(&[bad]).is_some_and(|error| error.contains("no function")), "{bad:?}");
    }
    let twice = with_bars(&[(0, wide, 0x1000), (1, BarKind::Memory32, 0x1000)]);
    assert_eq!(twice.unwrap(), "card odd uses BAR 1 twice");
    let over_msix = with_bars(&[(MSIX_BAR, BarKind::Memory32, 0x1000)]);
    assert_eq!(over_msix.unwrap(), "card odd uses BAR 4 twice");

    for count in [0, 2049] {
        let error = try_new(TestCard::with_vectors("odd", count)).err();
        let id = "odd".to_owned();
        assert_eq!(error, Some(FunctionError::BadVectorCount { id, count }));
    }
    assert!(try_new(TestCard::with_vectors("most", 2048)).is_ok());

    let mut card = TestCard::new("odd");
    card.capabilities = vec![Capability { id: 9, body: vec![0; 200], writable: vec![] }];
    let id = "odd".to_owned();
    assert_eq!(try_new(card).err(), Some(FunctionError::CapabilitiesTooLong { id }));
}

#[test]
fn moves_and_accesses_race_without_harm() {
    let mut setup = setup();
    setup.function.assign(0, LOW.start);
    setup.command(COMMAND_MEMORY);
    let done = AtomicBool::new(false);
    let places = [LOW.start, LOW.start + 0x4000, 0x1000, LOW.start + 0x8000];

    std::thread::scope(|scope| {
        for mut cpu in [setup.mmio.view(), setup.mmio.view()] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for place in places {
                        cpu.write(place, B4, 1);
                        assert!(matches!(cpu.read(place, B4), None | Some(0 | 1)));
                    }
                }
            });
        }
        for round in 0..400 {
            setup.function.write_config(BAR0, B4, places[round % places.len()]);
            setup.command(if round % 7 == 0 { 0 } else { COMMAND_MEMORY });
        }
        done.store(true, Ordering::Relaxed);
    });

    setup.function.write_config(BAR0, B4, LOW.start);
    setup.command(COMMAND_MEMORY);
    assert!(setup.cpu.read(LOW.start, B4).is_some());
}
