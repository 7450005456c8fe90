//! Tests of the common configuration and the status machine.

use super::*;
use crate::transport::interrupts::{Interrupts, Vectors};

const SIZES: [u16; 2] = [256, 64];
const OFFERED: u64 = 1 << 5;

fn bulletin() -> Arc<Bulletin> {
    Arc::new(Bulletin::new(Interrupts::Vectors(Arc::new(Vectors::new(Vec::new())))))
}

fn registers() -> Registers {
    Registers::new(OFFERED, &SIZES, bulletin())
}

fn accept(registers: &mut Registers, features: u64) {
    for select in 0..2 {
        registers.write(Register::DriverFeatureSelect, select);
        registers.write(Register::DriverFeature, word(features, select));
    }
}

fn status(registers: &Registers) -> u32 {
    registers.read(Register::DeviceStatus)
}

#[test]
fn a_device_cannot_offer_the_transports_features() {
    let mut registers = Registers::new(u64::MAX, &SIZES, bulletin());
    registers.write(Register::DeviceFeatureSelect, 0);
    assert_eq!(registers.read(Register::DeviceFeature), 0x30ff_ffff);
    registers.write(Register::DeviceFeatureSelect, 1);
    assert_eq!(registers.read(Register::DeviceFeature), 0xfffc_0001);
    registers.write(Register::DeviceFeatureSelect, 2);
    assert_eq!(registers.read(Register::DeviceFeature), 0);
}

#[test]
fn features_are_agreed_to_only_if_offered_and_modern() {
    for (features, agreed) in [
        (VERSION_1, true),
        (VERSION_1 | OFFERED | EVENT_IDX, true),
        (OFFERED, false),
        (0, false),
        (VERSION_1 | 1 << 6, false),
        (VERSION_1 | 1 << 33, false),
    ] {
        let mut registers = registers();
        registers.write(Register::DeviceStatus, 3);
        accept(&mut registers, features);
        let asked = registers.write(Register::DeviceStatus, 3 | 8);
        assert_eq!(asked, if agreed { Asked::Nothing } else { Asked::Refused });
        assert_eq!(status(&registers) & 8 != 0, agreed, "{features:#x}");
    }
}

#[test]
fn a_feature_past_bit_63_is_refused_but_zeroes_there_are_not() {
    for (word, agreed) in [(0, true), (1, false)] {
        let mut registers = registers();
        accept(&mut registers, VERSION_1);
        registers.write(Register::DriverFeatureSelect, 2);
        registers.write(Register::DriverFeature, word);
        registers.write(Register::DeviceStatus, 8);
        assert_eq!(status(&registers) & 8 != 0, agreed);
    }
}

#[test]
fn a_driver_may_try_again_with_fewer_features() {
    let mut registers = registers();
    accept(&mut registers, VERSION_1 | 1 << 7);
    registers.write(Register::DeviceStatus, 3 | 8);
    accept(&mut registers, VERSION_1);
    registers.write(Register::DeviceStatus, 3 | 8);
    assert_eq!(status(&registers), 11);
    assert_eq!(registers.features(), VERSION_1);
}

#[test]
fn agreed_features_stay_as_they_are() {
    let mut registers = registers();
    accept(&mut registers, VERSION_1);
    registers.write(Register::DeviceStatus, 8);
    assert_eq!(registers.write(Register::DriverFeature, 0xffff_ffff), Asked::Refused);
    assert_eq!(registers.features(), VERSION_1);
}

#[test]
fn a_device_runs_only_after_features_were_agreed() {
    let mut registers = registers();
    assert_eq!(registers.write(Register::DeviceStatus, 3 | 4), Asked::Refused);
    assert_eq!(status(&registers), 3);

    accept(&mut registers, VERSION_1);
    assert_eq!(registers.write(Register::DeviceStatus, 3 | 8 | 4), Asked::Run);
    assert_eq!(registers.write(Register::DeviceStatus, 3 | 8 | 4), Asked::Nothing, "once");
}

#[test]
fn status_bits_are_cleared_by_a_reset_only() {
    let mut registers = registers();
    registers.write(Register::DeviceStatus, 3);
    assert_eq!(registers.write(Register::DeviceStatus, 1), Asked::Refused);
    assert_eq!(status(&registers), 3);
    assert_eq!(registers.write(Register::DeviceStatus, 0x40 | 3), Asked::Nothing);
    assert_eq!(status(&registers), 3, "NEEDS_RESET is the device's to say");
    assert_eq!(registers.write(Register::DeviceStatus, 0), Asked::Reset);
}

#[test]
fn a_driver_that_gave_up_cannot_start() {
    let mut registers = registers();
    accept(&mut registers, VERSION_1);
    assert_eq!(registers.write(Register::DeviceStatus, 0x80), Asked::GiveUp);
    assert_eq!(registers.write(Register::DeviceStatus, 0x8f), Asked::Refused);
    assert_eq!(status(&registers), 0x8b);
}

#[test]
fn queue_registers_hold_what_is_written_until_the_device_runs() {
    let mut registers = registers();
    registers.write(Register::QueueSelect, 1);
    assert_eq!(registers.read(Register::QueueSize), 64);
    let written = [
        (Register::QueueSize, 32),
        (Register::DescriptorsLow, 0x1000),
        (Register::DescriptorsHigh, 1),
        (Register::AvailableLow, 0x2000),
        (Register::AvailableHigh, 2),
        (Register::UsedLow, 0x3000),
        (Register::UsedHigh, 3),
        (Register::QueueEnable, 1),
    ];
    for (register, value) in written {
        assert_eq!(registers.write(register, value), Asked::Nothing);
    }
    accept(&mut registers, VERSION_1);
    registers.write(Register::DeviceStatus, 8 | 4);
    for (register, value) in written {
        assert_eq!(registers.write(register, 0x40), Asked::Refused);
        assert_eq!(registers.read(register), value, "{register:?}");
    }
    let enabled: Vec<_> = registers.enabled_queues().map(|(index, _, max)| (index, max)).collect();
    assert_eq!(enabled, [(1, 64)]);
}

#[test]
fn a_queue_cannot_be_disabled_and_enabled_only_by_one() {
    let mut registers = registers();
    for value in [0, 2, 0xffff] {
        assert_eq!(registers.write(Register::QueueEnable, value), Asked::Refused);
        assert_eq!(registers.read(Register::QueueEnable), 0);
    }
    registers.write(Register::QueueEnable, 1);
    registers.write(Register::QueueEnable, 0);
    assert_eq!(registers.read(Register::QueueEnable), 1);
}

#[test]
fn a_ready_queue_may_be_taken_back_until_the_device_runs() {
    let mut registers = registers();
    for (value, asked, ready) in
        [(1, Asked::Nothing, 1), (2, Asked::Refused, 1), (0, Asked::Nothing, 0)]
    {
        assert_eq!(registers.write(Register::QueueReady, value), asked);
        assert_eq!(registers.read(Register::QueueReady), ready);
    }
    registers.write(Register::QueueReady, 1);
    accept(&mut registers, VERSION_1);
    registers.write(Register::DeviceStatus, 8 | 4);
    assert_eq!(registers.write(Register::QueueReady, 0), Asked::Refused);
    assert_eq!(registers.read(Register::QueueReady), 1);
}

#[test]
fn what_sixteen_bits_do_not_hold_is_no_queue_and_no_size() {
    let mut registers = registers();
    registers.write(Register::QueueSize, 0x1_0040);
    assert_eq!(registers.read(Register::QueueSize), 0xffff);
    registers.write(Register::QueueSelect, 0x1_0000);
    assert_eq!(registers.read(Register::QueueSizeMax), 0);
    registers.write(Register::QueueSelect, 1);
    assert_eq!(registers.read(Register::QueueSizeMax), 64);
    assert_eq!(registers.write(Register::QueueSizeMax, 8), Asked::Nothing);
    assert_eq!(registers.read(Register::QueueSizeMax), 64);
}

#[test]
fn queues_that_are_not_there_read_as_size_zero() {
    let mut registers = registers();
    assert_eq!(registers.read(Register::QueueCount), 2);
    registers.write(Register::QueueSelect, 2);
    assert_eq!(registers.read(Register::QueueSize), 0);
    assert_eq!(registers.write(Register::QueueSize, 16), Asked::Refused);
    assert_eq!(registers.read(Register::QueueNotifyOffset), 0);
}
