//! Registers, reset handshake and probe, as a driver meets them (specification 11.1: PCI, REG, RST).

use device_core::bus::Width;

use crate::testing::bench::{Bench, MAC};
use crate::testing::driver::{AQ_DEPTH, Driver, FATAL, READY, RESET_FINISHED, RESETTING, reg};

#[test]
fn the_probe_of_linux_succeeds() {
    let mut driver = Driver::new(4);
    driver.probe();
    assert_eq!(driver.status(), READY | RESET_FINISHED);
}

#[test]
fn pci_1_and_2_identity_and_class_are_those_of_the_virtual_function() {
    let bench = Bench::new(1);
    assert_eq!(bench.function.read_config(0, Width::B4), 0xec20_1d0f);
    assert_eq!(bench.function.read_config(8, Width::B4), 0x0200_0000);
    assert_eq!(bench.function.read_config(0x2c, Width::B4), 0xec20_1d0f);
}

#[test]
fn pci_3_registers_and_vectors_have_their_bars() {
    let bench = Bench::new(1);
    let size = |register: u16| {
        bench.function.write_config(register, Width::B4, 0xffff_ffff);
        bench.function.read_config(register, Width::B4)
    };
    assert_eq!(size(0x10), 0xfff0_0000);
    assert_eq!(size(0x14), 0xffff_e000);
}

#[test]
fn pci_4_there_is_a_vector_for_each_pair_and_one_more() {
    let bench = Bench::new(8);
    let msix = bench.capability(0x11).unwrap();
    assert_eq!(bench.function.read_config(msix + 2, Width::B2), 8);
    assert_eq!(bench.function.read_config(msix + 4, Width::B4), 1);
    assert_eq!(bench.function.read_config(msix + 8, Width::B4), 0x1001);
}

#[test]
fn pci_5_and_6_without_bus_mastering_nothing_is_touched_and_afterwards_all_is_done() {
    let mut driver = Driver::probed(1);
    driver.bench.set_bus_master(false);
    let interrupts = driver.bench.interrupts(0);
    driver.enqueue([8 << 16, 0, 0, 0, 1 << 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    driver.kick();
    assert_eq!(driver.read(reg::DEV_STS), None);
    assert_eq!(driver.take_answer(), None);
    driver.bench.set_bus_master(true);
    assert_eq!(driver.take_answer().unwrap().status, 0);
    assert_eq!(driver.bench.interrupts(0), interrupts + 1);
}

#[test]
fn pci_7_a_function_level_reset_leads_back_to_power_on() {
    let mut driver = Driver::probed(2);
    driver.create_tx(256, 1);
    driver.bench.function_reset();
    driver.bench.function.assign(0, 0xe000_0000);
    driver.bench.function.write_config(4, Width::B2, 2);
    assert_eq!(driver.bench.read(reg::DEV_STS), READY);
    driver.kick();
    assert_eq!(driver.take_answer(), None);
    driver.bench.function.assign(1, 0xe010_0000);
    driver.probe();
    assert_eq!(driver.create_tx(256, 1).sq, 0);
}

#[test]
fn pci_8_a_masked_vector_is_pending_and_delivers_once_when_unmasked() {
    let mut driver = Driver::probed(1);
    driver.bench.mask_vector(0, true);
    let before = driver.bench.interrupts(0);
    driver.get(1, 0).ok();
    driver.get(1, 0).ok();
    assert_eq!(driver.bench.interrupts(0), before);
    assert_eq!(driver.bench.pending() & 1, 1);
    driver.bench.mask_vector(0, false);
    assert_eq!(driver.bench.interrupts(0), before + 1);
    assert_eq!(driver.bench.pending() & 1, 0);
}

#[test]
fn reg_1_to_3_the_card_is_ready_after_power_on() {
    let mut bench = Bench::new(1);
    bench.enable();
    assert_eq!(bench.read(reg::DEV_STS), READY);
    assert_eq!(bench.read(reg::CAPS), 0x303d);
    assert_eq!(bench.read(reg::CONTROLLER_VERSION), 0x0100_0001);
    assert_eq!(bench.read(reg::VERSION), 0xa);
}

#[test]
fn reg_4_a_readless_read_answers_id_offset_and_value() {
    let mut bench = Bench::new(1);
    bench.enable();
    let cell = bench.allocate(8);
    bench.write(reg::MMIO_RESP, cell as u32);
    bench.write(reg::MMIO_RESP + 4, 0);
    bench.write(reg::MMIO_READ, 0x0058_0001);
    assert_eq!(bench.load_words(cell), [0x0058_0001, READY]);
}

#[test]
fn reg_5_every_id_is_echoed_over_the_wrap() {
    let mut driver = Driver::new(1);
    driver.bench.enable();
    driver.set_response(driver.cell());
    for _ in 0..70_000 {
        assert_eq!(driver.read(reg::DEV_STS), Some(READY));
    }
}

#[test]
fn reg_7_without_a_response_address_nothing_is_answered() {
    let mut driver = Driver::new(1);
    driver.bench.enable();
    assert_eq!(driver.read(reg::DEV_STS), None);
    driver.set_response(driver.cell());
    assert!(driver.read(reg::DEV_STS).is_some());
    driver.set_response(0);
    assert_eq!(driver.read(reg::DEV_STS), None);
    assert_eq!(driver.bench.load_words(0), [0, 0]);
}

#[test]
fn reg_8_both_ways_of_reading_agree_and_unknown_offsets_are_all_ones() {
    let mut driver = Driver::probed(1);
    for offset in [0, 4, 8, 0xc, 0x30, 0x44, 0x4c, 0x58] {
        let plain = driver.bench.read(offset);
        assert_eq!(driver.read(offset), Some(plain), "{offset:#x}");
    }
    for offset in [0x1c, 0x48, 0x59, 0x100, 0xfffc] {
        assert_eq!(driver.read(offset), Some(u32::MAX), "{offset:#x}");
    }
}

#[test]
fn reg_9_other_widths_and_offsets_do_nothing() {
    let mut driver = Driver::probed(1);
    for width in [Width::B1, Width::B2, Width::B8] {
        driver.poke(reg::DEV_CTL & !7, width, width.mask());
        driver.poke(reg::DEV_CTL, Width::B2, 1);
        assert_eq!(driver.bench.peek(reg::DEV_STS & !7, width), 0);
    }
    driver.poke(reg::DEV_CTL + 1, Width::B4, 1);
    driver.poke(0x3ffc, Width::B4, 1);
    assert_eq!(driver.bench.peek(reg::DEV_STS + 2, Width::B4), 0);
    assert_eq!(driver.status() & RESETTING, 0);
}

#[test]
fn reg_10_odd_depths_and_entry_sizes_leave_the_queue_off() {
    for caps in [64 << 16 | 33, 32 << 16 | 32, 64 << 16, 64 << 16 | 1, 64 << 16 | 8192] {
        let mut driver = Driver::new(1);
        driver.attach();
        driver.bench.write(reg::AQ_CAPS, caps);
        driver.enqueue([8 << 16, 0, 0, 0, 1 << 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        driver.kick();
        assert_eq!(driver.take_answer(), None, "{caps:#x}");
        assert_eq!(driver.status() & FATAL, 0, "{caps:#x}");
    }
}

#[test]
fn reg_11_the_order_of_ipxe_works_as_well() {
    let mut driver = Driver::new(1);
    driver.bench.enable();
    for (base, ring) in [(0x20, driver.acq), (0x10, driver.aq), (0x38, driver.aenq)] {
        driver.bench.write(base, ring as u32);
        driver.bench.write(base + 4, 0);
        let caps = if base == 0x38 { reg::AENQ_CAPS } else { base + 8 };
        driver.bench.write(caps, 64 << 16 | u32::from(AQ_DEPTH));
    }
    assert_eq!(driver.get(1, 0).ok().word(8) >> 26 & 1, 1);
}

#[test]
fn rst_1_to_3_a_reset_lasts_until_the_driver_ends_it() {
    let mut driver = Driver::probed(1);
    driver.bench.write(reg::DEV_CTL, 1);
    assert_eq!(driver.read(reg::DEV_STS), None, "the response address is forgotten");
    driver.set_response(driver.cell());
    for _ in 0..10 {
        assert_eq!(driver.status(), READY | RESETTING);
    }
    driver.bench.write(reg::DEV_CTL, 1);
    assert_eq!(driver.status(), READY | RESETTING);
    driver.bench.write(reg::DEV_CTL, 0);
    assert_eq!(driver.status(), READY | RESET_FINISHED);
    driver.bench.write(reg::DEV_CTL, 0);
    assert_eq!(driver.status(), READY | RESET_FINISHED);
}

#[test]
fn rst_5_after_a_reset_there_are_no_queues() {
    let mut driver = Driver::probed(2);
    let tx = driver.create_tx(256, 1);
    driver.create_rx(256, 1);
    driver.reset(1);
    driver.ring(&tx);
    driver.probe();
    assert_eq!(driver.create_tx(256, 1).sq, 0);
    assert_eq!(driver.create_rx(256, 1).sq, 0);
}

#[test]
fn rst_6_a_reset_changes_nothing_that_the_card_is() {
    let mut driver = Driver::probed(2);
    let facts = |driver: &mut Driver| {
        [1, 7, 2].map(|feature| driver.get(feature, 1).ok().words[2..].to_vec())
    };
    let before = facts(&mut driver);
    driver.reset(11);
    driver.probe();
    assert_eq!(facts(&mut driver), before);
    let [attributes, ..] = before;
    let mac: Vec<u8> = attributes[6..8].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(mac[..6], MAC.0);
}

#[test]
fn rst_7_a_reset_clears_what_the_driver_set() {
    let mut driver = Driver::probed(2);
    let buffer = driver.bench.allocate(512);
    driver.bench.store_words(buffer, &[1; 128]);
    driver.set_from(12, &[0, 7, u32::MAX, 0], buffer, 512).ok();
    driver.reset(0);
    driver.set_rings();
    assert_eq!(driver.get(26, 0).ok().word(4), 0);
    driver.get_into(12, 0, buffer, 512).ok();
    assert_eq!(driver.bench.load(buffer, 512), vec![0; 512]);
    driver.bench.store(buffer, &[0xaa; 48]);
    driver.get_into(10, 0, buffer, 48).ok();
    assert_eq!(driver.bench.load(buffer, 48), vec![0xaa; 48]);
}

#[test]
fn rst_9_the_fatal_state_ends_with_a_reset() {
    let mut driver = Driver::probed(1);
    driver.bench.write(reg::AQ_DB, u32::from(driver.submitted) + 40);
    assert_eq!(driver.status(), READY | RESET_FINISHED | FATAL);
    driver.reset(2);
    assert_eq!(driver.status(), READY | RESET_FINISHED);
    driver.probe();
    driver.create_tx(256, 1);
}

#[test]
fn rst_10_a_thousand_resets_leave_a_card_as_new() {
    let mut driver = Driver::probed(2);
    for _ in 0..1000 {
        driver.reset(1);
        driver.set_rings();
        driver.get(1, 0).ok();
    }
    driver.probe();
    driver.create_tx(256, 1);
    driver.create_rx(256, 1);
}
