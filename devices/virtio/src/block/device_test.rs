//! Tests of features and of the configuration as a driver sees it (B1 to B13).

use block::image::Image;

use super::*;
use crate::testing::disk::{SIZE, TestDisk, USUAL};

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

#[test]
fn b1_b2_the_capacity_reads_the_same_at_any_width_in_whole_sectors() {
    let image = Image::in_memory(SIZE, false, None);
    let disk = TestDisk::on(&spec(), image, 1, false);
    let whole = disk.block.read_config(0, Width::B8);
    assert_eq!(whole, SIZE / 512);
    let halves = [0, 4].map(|at| disk.block.read_config(at, Width::B4));
    assert_eq!(halves[0] | halves[1] << 32, whole);
    let bytes = (0..8).map(|at| disk.block.read_config(at, Width::B1) as u8);
    assert_eq!(bytes.collect::<Vec<_>>(), whole.to_le_bytes());
}

#[test]
fn b3_the_configuration_may_be_read_anywhere_at_any_width() {
    let disk = TestDisk::with(&spec(), 3, false);
    let at = |offset| disk.block.read_config(offset, Width::B1);
    for width in [Width::B1, Width::B2, Width::B4, Width::B8] {
        for offset in 0..96 {
            let bytes = (0..width.bytes()).rev();
            let wanted = bytes.fold(0, |value, byte| value << 8 | at(offset + byte));
            assert_eq!(disk.block.read_config(offset, width), wanted, "{offset} {width:?}");
        }
        assert_eq!(disk.block.read_config(60, width), 0);
        assert_eq!(disk.block.read_config(u64::MAX, width), 0);
    }
    assert_eq!(disk.block.read_config(34, Width::B2), 3);
}

#[test]
fn b4_b5_only_the_cache_may_be_set_and_only_by_who_negotiated_it() {
    let mut disk = TestDisk::with(&spec(), 1, false);
    let look = |disk: &TestDisk| -> Vec<u64> {
        (0..60).map(|at| disk.block.read_config(at, Width::B1)).collect()
    };
    let before = look(&disk);
    assert_eq!(before[32], 1);
    disk.start(USUAL);
    for width in [Width::B1, Width::B2, Width::B4, Width::B8] {
        for offset in 0..100 {
            disk.block.write_config(offset, width, 0);
            disk.block.write_config(offset, width, u64::MAX);
        }
    }
    disk.block.write_config(32, Width::B1, 0);
    assert_eq!(look(&disk), before);
    assert_eq!(disk.block.refused_writes(), 801);

    drop(disk.block.unplug());
    disk.block.reset();
    disk.new_rings(1, 256, false);
    disk.start(USUAL | features::CONFIG_WCE);
    for (value, kept) in [(0, 0), (1, 1), (2, 0), (0xff, 1), (0, 0)] {
        disk.block.write_config(32, Width::B1, value);
        assert_eq!(disk.block.read_config(32, Width::B1), kept);
    }
    drop(disk.block.unplug());
    disk.block.reset();
    assert_eq!(look(&disk), before, "a reset turns it on again");
}

#[test]
fn b7_b8_b9_what_is_offered_follows_from_the_disk() {
    let offered = |spec: &DiskSpec, queues| TestDisk::with(spec, queues, false).block.features();
    let cached = features::FLUSH | features::CONFIG_WCE;
    let ranges = features::DISCARD | features::WRITE_ZEROES;
    let always = features::SEG_MAX | features::BLK_SIZE | features::TOPOLOGY;
    assert_eq!(offered(&spec(), 1), always | cached | ranges);
    assert_eq!(offered(&spec(), 2), always | cached | ranges | features::MQ);
    let read_only = DiskSpec { read_only: true, ..spec() };
    assert_eq!(offered(&read_only, 1), always | cached | features::RO);
    for cache in [Cache::Unsafe, Cache::Writethrough] {
        assert_eq!(offered(&DiskSpec { cache, ..spec() }, 1), always | ranges);
    }
}

#[test]
fn b12_its_queues_do_for_the_smallest_drivers_and_the_largest_requests() {
    let disk = TestDisk::with(&spec(), 4, false);
    assert_eq!(disk.block.queue_sizes(), [256; 4]);
    let seg_max = disk.block.read_config(12, Width::B4);
    assert!(seg_max + 2 <= 256);
}

#[test]
fn a_disk_is_built_from_its_description() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let machine = device_core::testing::TestMachine::new(device_core::testing::ram(1 << 20));
    let disk = Block::build(&DiskSpec::on("a", &path), 3, &machine.kit()).unwrap();
    assert_eq!((disk.queue_sizes().len(), disk.kind(), disk.id()), (3, 2, "a"));
    let spec = DiskSpec { queues: Some(1), read_only: true, ..DiskSpec::on("b", &path) };
    // B64
    let said = Block::build(&spec, 3, &machine.kit()).err().unwrap().to_string();
    assert!(said.contains("holds a lock on it"), "{said}");
    drop(disk);
    let disks = [(); 2].map(|()| Block::build(&spec, 3, &machine.kit()).unwrap());
    assert!(disks.iter().all(|disk| disk.queue_sizes().len() == 1));
}
