//! Function, registers and phases, as a driver meets them (N1 to N19).

use block::control::DiskControl;
use block::spec::Fault;
use device_core::bus::Width;
use device_core::device::Device;

use crate::testing::bench::{BAR0, Bench};
use crate::testing::driver::{
    Driver, ENABLE, FATAL, READY, SHUT_DOWN, SHUTDOWN, SHUTTING_DOWN, blocks, cq_doorbell, reg,
    sq_doorbell,
};

const READ: u8 = 2;
const WRITE: u8 = 1;

/// A driver with a request that the disk holds.
fn with_a_request_held() -> (Driver, crate::testing::driver::Pair) {
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 16);
    driver.bench.disk.hold(true);
    let page = driver.page;
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    driver.ring(&pair);
    driver.bench.settle();
    assert_eq!(driver.bench.disk.held(), 1);
    (driver, pair)
}

#[test]
fn n1_class_bars_and_capabilities_are_what_drivers_bind_to() {
    let bench = Bench::new(4);
    assert_eq!(bench.function.read_config(0, Width::B4), 0x8061_1d0f);
    assert_eq!(bench.function.read_config(8, Width::B4), 0x0108_0200);
    assert_eq!(bench.function.read_config(0x2c, Width::B4), 0x8061_1d0f);
    let msix = bench.capability(0x11).unwrap();
    assert_eq!(bench.function.read_config(msix + 2, Width::B2), 4, "one less than vectors");
    assert_eq!(bench.function.read_config(msix + 4, Width::B4), 4, "BAR 4");
    let express = bench.capability(0x10).unwrap();
    assert_ne!(bench.function.read_config(express + 4, Width::B4) & 1 << 28, 0);
    bench.function.write_config(0x10, Width::B4, 0xffff_ffff);
    assert_eq!(bench.function.read_config(0x10, Width::B4), 0xffff_c000);
}

#[test]
fn n2_and_n3_capabilities_and_version_are_read_in_any_way_and_not_written() {
    let mut driver = Driver::ready(1);
    let bench = &mut driver.bench;
    for offset in [0, 4, 8] {
        bench.write(offset, 0);
    }
    bench.poke(0, Width::B8, 0);
    assert_eq!(bench.peek(0, Width::B8), 0x0000_0020_1401_03ff);
    assert_eq!((bench.read(0), bench.read(4)), (0x1401_03ff, 0x20));
    assert_eq!(bench.read(reg::VS), 0x0001_0400);
    for offset in (0x20..0x24).chain(0x38..0x70).chain(0xe00..0xe20).step_by(4) {
        bench.write(offset, u32::MAX);
        assert_eq!(bench.read(offset), 0, "{offset:#x}");
    }
}

#[test]
fn n4_queue_addresses_come_in_halves_or_whole_and_only_while_disabled() {
    let mut bench = Bench::new(1);
    bench.enable();
    for register in [reg::ASQ, reg::ACQ] {
        bench.write(register + 4, 0x12);
        bench.write(register, 0x3456_7fff);
        assert_eq!(bench.peek(register, Width::B8), 0x12_3456_7000);
        bench.write(register, 0x1000);
        bench.write(register + 4, 0x34);
        assert_eq!((bench.read(register), bench.read(register + 4)), (0x1000, 0x34));
        bench.poke(register, Width::B8, 0x5_0000_6fff);
        assert_eq!(bench.peek(register, Width::B8), 0x5_0000_6000);
    }
    let mut driver = Driver::on(bench).enabled();
    let before = driver.bench.peek(reg::ASQ, Width::B8);
    driver.bench.poke(reg::ASQ, Width::B8, 0x7000);
    driver.bench.write(reg::AQA, 0x0001_0001);
    assert_eq!(driver.bench.peek(reg::ASQ, Width::B8), before);
    assert_eq!(driver.bench.read(reg::AQA), 0x001f_001f);
}

#[test]
fn n5_the_interrupt_mask_is_set_and_cleared_by_bits() {
    let mut bench = Bench::new(1);
    bench.enable();
    bench.write(0x0c, 0xf0);
    bench.write(0x0c, 0x0f);
    bench.write(0x10, 0x18);
    assert_eq!((bench.read(0x0c), bench.read(0x10)), (0xe7, 0xe7));
}

#[test]
fn n6_other_widths_and_offsets_change_nothing() {
    let mut driver = Driver::ready(1);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    for width in [Width::B1, Width::B2, Width::B8] {
        driver.bench.poke(sq_doorbell(1), width, 1);
        driver.bench.poke(reg::CC, width, 0);
        assert_eq!(driver.bench.peek(reg::CC, width), 0);
    }
    for offset in (0..0x4000 - 8).step_by(7) {
        driver.bench.peek(offset, Width::B2);
        driver.bench.poke(offset, Width::B2, 0xffff);
    }
    driver.bench.settle();
    assert_eq!(driver.take(&mut pair), None);
    assert_eq!(driver.status(), READY);
}

#[test]
fn n7_a_configuration_without_enable_is_only_kept() {
    let mut bench = Bench::new(1);
    bench.enable();
    for value in [0x0046_0000, 0xffff_3ffe, 0] {
        bench.write(reg::CC, value);
        assert_eq!((bench.read(reg::CC), bench.read(reg::CSTS)), (value, 0));
    }
}

#[test]
fn n8_a_controller_is_ready_as_soon_as_it_is_enabled_whatever_it_was_before() {
    let mut driver = Driver::new(2);
    driver.bench.enable();
    driver.set_admin_queues();
    driver.bench.write(reg::CC, ENABLE);
    assert_eq!(driver.status(), READY);
    driver.get(7, 0).ok();
    // N91: as a kernel finds it that was started in another's place.
    driver.create_pair(1, 16);
    driver.request_event();
    driver.bench.write(reg::CC, ENABLE & !1);
    assert_eq!(driver.status(), 0);
    driver.enable();
    let mut pair = driver.create_pair(1, 16);
    let page = driver.page;
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    assert_eq!(driver.take_answer(), None, "the old one's request is forgotten");
}

#[test]
fn n17_the_status_is_never_all_ones_while_there_is_a_controller() {
    const NO_SUBSYSTEM_RESET: u32 = !(1 << 4);
    let (mut driver, _) = with_a_request_held();
    let mut seen = vec![driver.status()];
    for configuration in [SHUTDOWN, 0, ENABLE] {
        driver.bench.write(reg::CC, configuration);
        seen.push(driver.status());
    }
    driver.bench.disk.release();
    driver.bench.write(reg::CC, 0);
    driver.bench.write(reg::AQA, 0);
    driver.bench.write(reg::CC, ENABLE);
    seen.push(driver.status());
    driver.bench.write(reg::CSTS, u32::MAX);
    seen.push(driver.status());
    assert_eq!(seen.last(), Some(&FATAL));
    assert!(seen.iter().all(|status| *status & NO_SUBSYSTEM_RESET == *status && *status < 16));
}

#[test]
fn n9_a_configuration_that_cannot_be_is_fatal_until_it_is_taken_back() {
    let mut driver = Driver::new(1);
    driver.bench.enable();
    driver.set_admin_queues();
    for bad in [0x0046_0011, 0x0046_0081, 0x0046_0801, 0x0045_0001, 0x0056_0001] {
        driver.bench.write(reg::CC, bad);
        assert_eq!(driver.status(), FATAL, "{bad:#x}");
        driver.bench.write(reg::CC, 0);
        assert_eq!(driver.status(), 0);
    }
    driver.bench.write(reg::CC, ENABLE);
    assert_eq!(driver.status(), READY);
}

#[test]
fn n10_admin_queues_of_every_size_work_over_the_wrap() {
    for sizes in [[2, 2], [32, 32], [64, 256], [4096, 4096]] {
        let mut driver = Driver::with_admin(Bench::new(1), sizes).enabled();
        for _ in 0..2 * usize::from(sizes[1]) + 3 {
            driver.get(7, 0).ok();
        }
    }
}

#[test]
fn n10_and_n11_admin_queues_without_room_are_fatal() {
    for (register, value) in [
        (reg::AQA, 0x001f_0000),
        (reg::AQA, 0x0000_001f),
        (reg::ASQ, 0xf000_0000),
        (reg::ACQ, 0xf000_0000),
        (reg::ACQ + 4, 0xffff_ffff),
    ] {
        let mut driver = Driver::new(1);
        driver.bench.enable();
        driver.set_admin_queues();
        driver.bench.write(register, value);
        driver.bench.write(reg::CC, ENABLE);
        assert_eq!(driver.status(), FATAL, "{register:#x} {value:#x}");
        driver.enable();
        driver.get(7, 0).ok();
    }
}

#[test]
fn n12_a_reset_keeps_where_the_admin_queues_are_and_nothing_else() {
    let mut driver = Driver::ready(2);
    driver.create_pair(1, 16);
    driver.set(0x0b, 0x100).ok();
    driver.bench.write(0x0c, 3);
    let registers = [reg::AQA, reg::ASQ, reg::ACQ];
    let before = registers.map(|register| driver.bench.read(register));
    driver.bench.write(reg::CC, 0);
    assert_eq!(driver.status(), 0);
    assert_eq!(registers.map(|register| driver.bench.read(register)), before);
    assert_eq!(driver.bench.read(0x0c), 0);
    driver.enable();
    assert_eq!(driver.get(0x0b, 0).ok().result, 0);
    driver.create_pair(1, 16);
}

#[test]
fn n13_a_controller_is_ready_until_its_last_request_has_ended() {
    let (mut driver, pair) = with_a_request_held();
    driver.bench.store(driver.page, &[5; 512]);
    driver.bench.write(reg::CC, 0);
    driver.bench.settle();
    assert_eq!(driver.status(), READY);
    let (answers, interrupts) = (driver.bench.load(pair.answers, 256), driver.bench.interrupts(1));
    driver.bench.disk.release();
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.bench.load(driver.page, 512), [0; 512], "the data was the host's to have");
    assert_eq!(driver.bench.load(pair.answers, 256), answers, "but no completion");
    assert_eq!(driver.bench.interrupts(1), interrupts);
    assert!(!driver.bench.disk.is_plugged(0));
}

#[test]
fn n14_it_is_not_enabled_before_it_was_disabled() {
    let (mut driver, _) = with_a_request_held();
    driver.bench.write(reg::CC, 0);
    driver.bench.write(reg::CC, ENABLE);
    assert_eq!(driver.status(), READY);
    assert_eq!(driver.bench.read(reg::CC), ENABLE & !1);
    driver.bench.disk.release();
    assert_eq!(driver.status(), 0);
    driver.bench.disk.hold(false);
    driver.enable();
    driver.create_pair(1, 16);
}

#[test]
fn n15_a_shutdown_is_over_when_what_was_written_is_durable() {
    for how in [1, 2] {
        let mut driver = Driver::ready(2);
        let mut pair = driver.create_pair(1, 16);
        let page = driver.page;
        driver.io(&mut pair, blocks(WRITE, [page, 0], 0, 1, 0)).ok();
        driver.bench.disk.hold(true);
        driver.bench.write(reg::CC, ENABLE | how << 14);
        driver.bench.settle();
        assert_eq!(driver.status(), READY | SHUTTING_DOWN);
        driver.bench.disk.take_asked();
        driver.bench.disk.release();
        driver.bench.settle();
        assert_eq!(driver.status(), READY | SHUT_DOWN);
        let asked = driver.bench.disk.take_asked();
        assert_eq!(asked[0].operation, block::request::Operation::Flush);
        driver.get(7, 0).ok();
        driver.bench.disk.hold(false);
        driver.enable();
        let mut pair = driver.create_pair(1, 16);
        driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    }
}

#[test]
fn a_shutdown_waits_for_requests_in_flight_and_their_completions_come() {
    let (mut driver, mut pair) = with_a_request_held();
    driver.bench.write(reg::CC, SHUTDOWN);
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUTTING_DOWN);
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUT_DOWN);
    driver.take(&mut pair).unwrap().ok();
}

#[test]
fn a_shutdown_and_a_reset_in_one_go_do_both() {
    let (mut driver, _) = with_a_request_held();
    driver.bench.write(reg::CC, SHUTDOWN & !1);
    assert_eq!(driver.status(), READY | SHUTTING_DOWN);
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.settle();
    assert_eq!(driver.status(), SHUT_DOWN);
}

#[test]
fn a_shutdown_that_is_reset_is_forgotten() {
    let mut driver = Driver::ready(1);
    driver.bench.disk.hold(true);
    driver.bench.write(reg::CC, SHUTDOWN);
    driver.bench.settle();
    driver.bench.write(reg::CC, 0);
    assert_eq!(driver.status(), READY);
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.settle();
    assert_eq!(driver.status(), 0);
    driver.enable();
    driver.create_pair(1, 8);
}

#[test]
fn n16_a_function_level_reset_ends_after_the_last_request() {
    let (mut driver, _) = with_a_request_held();
    let disk = driver.bench.disk.clone();
    let helper = std::thread::spawn(move || {
        while !disk.is_leaving(0) {
            std::thread::yield_now();
        }
        disk.release();
    });
    driver.bench.function_reset();
    helper.join().unwrap();
    assert_eq!(driver.bench.disk.held(), 0);
    assert!(!driver.bench.disk.is_plugged(0));
    let msix = driver.bench.capability(0x11).unwrap();
    assert_eq!(driver.bench.function.read_config(msix + 2, Width::B2) >> 15, 0);
    driver.bench.disk.hold(false);
    driver.bench.function.assign(0, BAR0);
    driver.bench.set_bus_master(false);
    for register in [reg::CC, reg::CSTS, reg::AQA, reg::ASQ, reg::ACQ] {
        assert_eq!(driver.bench.read(register), 0, "{register:#x}");
    }
    driver.bench.restore();
    driver.enable();
}

#[test]
fn n18_without_bus_mastering_nothing_is_touched_and_afterwards_all_is_done() {
    let mut driver = Driver::ready(1);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.bench.set_bus_master(false);
    driver.submit({
        let mut words = crate::testing::driver::command(0x0a, 0, [0; 2]);
        words[10] = 7;
        words
    });
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    driver.ring(&pair);
    driver.bench.settle();
    assert_eq!((driver.take_answer(), driver.take(&mut pair)), (None, None));
    driver.bench.set_bus_master(true);
    driver.bench.settle();
    driver.take_answer().unwrap().ok();
    driver.take(&mut pair).unwrap().ok();
}

#[test]
fn n19_doorbells_of_no_queue_do_nothing_and_their_upper_bits_count_not() {
    let mut bench = Bench::new(2);
    bench.enable();
    for queue in [0, 1, 2, 3, 0x5ff] {
        bench.write(sq_doorbell(queue), 1);
        bench.write(cq_doorbell(queue), 1);
    }
    let mut driver = Driver::on(bench).enabled();
    let mut pair = driver.create_pair(2, 8);
    let page = driver.page;
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    driver.bench.write(sq_doorbell(2), 0xffff_0001);
    driver.bench.settle();
    driver.take(&mut pair).unwrap().ok();
}

#[test]
fn a_rested_machine_touches_nothing_and_goes_on_where_it_was() {
    let mut driver = Driver::ready(1);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.bench.disk.throttle(true);
    for n in 0..3 {
        driver.enqueue(&mut pair, blocks(READ, [page, 0], n, 1, 0));
    }
    driver.ring(&pair);
    driver.bench.settle();
    driver.bench.card.stop();
    let memory = driver.bench.load(0, 0x10_0000);
    driver.bench.disk.throttle(false);
    driver.bench.settle();
    assert!(!driver.bench.disk.is_plugged(0));
    assert!(driver.bench.load(0, 0x10_0000) == memory);
    driver.bench.card.start();
    driver.bench.settle();
    for _ in 0..3 {
        driver.take(&mut pair).unwrap().ok();
    }
}

#[test]
fn a_shutdown_goes_on_after_a_rest() {
    let mut driver = Driver::ready(1);
    driver.bench.card.stop();
    driver.bench.write(reg::CC, SHUTDOWN);
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUTTING_DOWN);
    driver.bench.card.start();
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUT_DOWN);
}

#[test]
fn a_controller_that_vanished_reads_all_ones_and_comes_back_as_new() {
    let (mut driver, _) = with_a_request_held();
    driver.bench.card.inject(Fault::Vanish).unwrap();
    for (offset, width) in [(reg::CSTS, Width::B4), (0, Width::B8), (0x1000, Width::B4)] {
        assert_eq!(driver.bench.peek(offset, width), width.mask());
    }
    driver.bench.write(reg::CC, ENABLE);
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.card.clear_faults();
    assert_eq!(driver.status(), 0);
    driver.enable();
    driver.create_pair(1, 8);
}

#[test]
fn a_controller_that_is_enabled_too_early_is_ready_when_its_last_request_has_ended() {
    let (mut driver, _) = with_a_request_held();
    driver.bench.card.inject(Fault::Vanish).unwrap();
    driver.bench.card.clear_faults();
    driver.set_admin_queues();
    driver.bench.write(reg::CC, ENABLE);
    assert_eq!((driver.status(), driver.bench.read(reg::CC)), (0, ENABLE));
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    assert_eq!(driver.status(), READY);
    driver.get(7, 0).ok();
}

#[test]
fn a_queue_that_its_lane_does_not_take_is_fatal_until_a_reset() {
    let mut driver = Driver::ready(1);
    driver.bench.disk.refuse(true);
    driver.create_pair(1, 8);
    assert_eq!(driver.status(), READY | FATAL);
    driver.bench.disk.refuse(false);
    driver.enable();
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
}

#[test]
fn a_controller_that_failed_says_so_until_it_is_reset() {
    let mut driver = Driver::ready(1);
    let event = driver.request_event();
    driver.bench.card.inject(Fault::Fatal).unwrap();
    driver.bench.settle();
    assert_eq!(driver.status(), READY | FATAL);
    let told = driver.take_answer().unwrap().ok();
    assert_eq!((told.id, told.result), (event, 0x0001_0300));
    assert_eq!(driver.take_answer(), None);
    // It fails again, until it is told not to.
    driver.bench.write(reg::CC, 0);
    driver.bench.write(reg::CC, ENABLE);
    assert_eq!(driver.status(), READY | FATAL);
    driver.bench.card.clear_faults();
    driver.enable();
    driver.get(7, 0).ok();
}

#[test]
fn a_thousand_resets_leave_a_controller_as_new() {
    let mut driver = Driver::ready(2);
    for _ in 0..1000 {
        driver.enable();
        driver.get(7, 0).ok();
    }
    let mut pair = driver.create_pair(2, 8);
    let page = driver.page;
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
}
