//! Tests of the configuration, and of what the owner asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::memory::MemoryEvent;
use crate::testing::memory::{ACK, BLOCK, BLOCKS, PLUG, START, TestHotMemory, UNPLUG};

const MIB: u64 = 1 << 20;

/// Block size, address, region, usable part, plugged and requested.
fn config(device: &HotMemory) -> [u64; 6] {
    [0, 16, 24, 32, 40, 48].map(|at| device.read_config(at, Width::B8))
}

#[test]
fn it_is_device_24_and_says_where_its_blocks_are() {
    let test = TestHotMemory::without_driver(0);
    let device = &test.device;
    assert_eq!((device.kind(), device.features(), device.queue_sizes().len()), (24, 2, 1));
    assert_eq!(config(device), [BLOCK, START, BLOCKS * BLOCK, 0, 0, 0]);
    assert_eq!(device.read_config(8, Width::B8), 0, "no node");
    assert_eq!(device.read_config(24, Width::B4), 256 << 20);
    assert_eq!([56, 1 << 40, u64::MAX].map(|at| device.read_config(at, Width::B8)), [0; 3]);
    device.write_config(48, Width::B8, u64::MAX);
    assert_eq!(config(device)[5], 0, "the driver does not write it");
}

#[test]
fn the_driver_is_told_what_it_is_to_have_and_the_usable_part_never_shrinks() {
    let mut test = TestHotMemory::new(2);
    assert_eq!(config(&test.device)[3..], [128 * MIB, 0, 2 * MIB]);
    test.device.request(130).unwrap();
    assert_eq!(test.guest.notice.config_changes(), 1);
    assert_eq!(config(&test.device)[3..], [256 * MIB, 0, 130 * MIB]);
    assert_eq!(test.ask(PLUG, 0, 65).0, ACK);
    assert_eq!(config(&test.device)[3..], [256 * MIB, 130 * MIB, 130 * MIB]);
    assert_eq!(test.guest.notice.config_changes(), 1, "it knows what it plugged");
    test.device.request(0).unwrap();
    assert_eq!(config(&test.device)[3..], [256 * MIB, 130 * MIB, 0]);
    for refused in [3, 258, u32::MAX] {
        assert_eq!(test.device.request(refused), Err(SizeError(refused)));
    }
    assert_eq!((test.device.spec().requested_mib, test.device.plugged()), (0, 130 * MIB));
    test.device.request(256).unwrap();
    assert_eq!(test.device.spec().requested_mib, 256);
}

#[test]
fn what_is_asked_before_a_driver_comes_is_there_for_it() {
    let mut test = TestHotMemory::without_driver(0);
    test.device.request(4).unwrap();
    test.start();
    assert_eq!(config(&test.device)[3..], [128 * MIB, 0, 4 * MIB]);
    assert_eq!(test.ask(PLUG, 63, 1).0, ACK);
}

#[test]
fn the_owner_hears_when_the_guest_has_what_it_is_to_have() {
    let mut test = TestHotMemory::new(4);
    let heard = Arc::new(AtomicU64::new(u64::MAX));
    let hears = heard.clone();
    let listener = move |MemoryEvent::Reached { bytes }| hears.store(bytes, Ordering::SeqCst);
    test.device.set_listener(Some(Box::new(listener)));
    let heard = || heard.swap(u64::MAX, Ordering::SeqCst);
    test.ask(PLUG, 0, 1);
    assert_eq!(heard(), u64::MAX);
    test.ask(PLUG, 5, 1);
    assert_eq!(heard(), 4 * MIB);
    test.device.request(0).unwrap();
    test.ask(UNPLUG, 0, 1);
    assert_eq!(heard(), u64::MAX);
    test.ask(UNPLUG, 5, 1);
    assert_eq!(heard(), 0);
}

#[test]
fn a_driver_that_would_read_what_is_not_plugged_is_not_served() {
    let test = TestHotMemory::without_driver(4);
    let error = test.device.plug(0, test.guest.live(), test.guest.notice.clone()).unwrap_err();
    assert!(error.to_string().contains("not plugged are not there"), "{error}");
}

#[test]
fn a_machine_without_a_region_has_none() {
    let guest = crate::testing::guest::TestGuest::new(1, false);
    let built = HotMemory::build(&HotMemorySpec::of(256), &guest.machine.kit());
    assert!(matches!(built, Err(BuildError::NoRegion)));
}
