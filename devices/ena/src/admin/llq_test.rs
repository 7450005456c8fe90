//! Low-latency queues by the admin queue, with BAR 2 behind them (specification 11.1: LLQ, FEA-4, 5).

use crate::testing::driver::{Driver, FATAL};

#[test]
fn fea_4_the_offer_has_two_versions() {
    let mut driver = Driver::probed(4);
    driver.reset(0);
    driver.set_rings();
    let old = driver.get(4, 0).ok();
    assert_eq!((old.word(0), old.word(4)), (4, 1024));
    assert_eq!((old.word(24), old.half(8), old.half(12)), (0, 1, 5));
    let new = driver.get(4, 1).ok();
    assert_eq!((new.byte(24), new.byte(25), new.half(26)), (1, 1, 512));
    driver.set_llq(256).ok();
    let chosen = driver.get(4, 0).ok();
    assert_eq!([10, 14, 18, 22].map(|at| chosen.half(at)), [1, 4, 2, 2]);
}

#[test]
fn fea_5_acceleration_is_not_refused_and_odd_choices_are() {
    let mut driver = Driver::probed(1);
    driver.set_llq(128).ok();
    let with = |location: u32, entry: u32, before: u32, stride: u32| {
        [0, 0, location << 16, entry << 16, before << 16, stride << 16, 0, 3, 0]
    };
    for odd in [
        with(0, 1, 2, 2),
        with(2, 1, 2, 2),
        with(1, 0, 2, 2),
        with(1, 2, 2, 2),
        with(1, 5, 2, 2),
        with(1, 1, 8, 2),
        with(1, 1, 3, 2),
        with(1, 1, 2, 3),
    ] {
        assert_eq!(driver.set(4, &odd).status, 5, "{odd:x?}");
    }
    driver.create_llq(256, 1);
    assert_eq!(driver.set_llq(128).status, 7);
}

#[test]
fn que_11_rings_in_bar_2_do_not_overlap() {
    let mut driver = Driver::probed(4);
    let rings: Vec<u64> = (1..=4).map(|vector| driver.create_llq(1024, vector).ring).collect();
    assert_eq!(rings, [0, 0x2_0000, 0x4_0000, 0x6_0000]);
    let size = driver.bench.function.bars().iter().find(|bar| bar.index == 2).unwrap().size;
    assert_eq!(size, 0x8_0000);
}

#[test]
fn wide_entries_halve_the_depth() {
    let mut driver = Driver::probed(1);
    driver.set_llq(256).ok();
    let ring = driver.bench.allocate(0x4000);
    driver.create_cq(2, 1024, 1, ring).ok();
    assert_eq!(driver.create_sq(1, 3, 0, 1024, 0).status, 5);
    driver.create_sq(1, 3, 0, 512, 0).ok();
}

#[test]
fn llq_1_a_pushed_frame_goes_out_of_bar_2_alone() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_llq(256, 1);
    let mut entry = [0_u8; 128];
    let first: u32 = 1 << 24 | 1 << 26 | 1 << 27 | 1 << 28;
    entry[..4].copy_from_slice(&first.to_le_bytes());
    entry[4..8].copy_from_slice(&(9_u32 << 22).to_le_bytes());
    entry[15] = 60;
    entry[32..92].copy_from_slice(&[0x42; 60]);
    driver.bench.push(tx.ring, &entry);
    tx.posted = 1;
    driver.ring(&tx);
    assert_eq!(driver.bench.stages[0].take_sent()[0].bytes, [0x42; 60]);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 9);
    assert_eq!(driver.status() & FATAL, 0);
}

#[test]
fn pci_3_the_window_follows_its_bar() {
    let driver = Driver::probed(1);
    let window = driver.bench.machine.windows.window(0);
    assert_eq!(window.placed(), Some(0xe100_0000));
    driver.bench.function.write_config(4, device_core::bus::Width::B2, 0);
    assert_eq!(window.placed(), None);
}

#[test]
fn a_card_without_low_latency_queues_has_no_bar_2_and_is_driven_in_host_mode() {
    use net::spec::NicSpec;
    use pci::device::PciDevice;

    use crate::testing::bench::{ABLE, Bench, spec};
    let spec = NicSpec { llq: Some(false), ..spec() };
    let mut driver = Driver::on(Bench::of(&spec, ABLE));
    assert_eq!(driver.bench.card.bars().len(), 1);
    driver.probe();
    assert_eq!(driver.get(1, 0).ok().word(8) >> 4 & 1, 0);
    assert_eq!(driver.get(4, 0).status, 3);
    assert_eq!(driver.set_llq(128).status, 3);
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &[0x11; 60]);
    assert!(driver.take_completion(&mut tx).is_some());
}
