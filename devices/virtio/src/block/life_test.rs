//! Tests of a disk's life: resets, pauses, firmware and then an operating system, other sizes, other images
//! (B54 to B62).

use std::sync::Arc;
use std::sync::mpsc::channel;

use block::control::DiskControl;
use block::image::Source;
use block::spec::{Allowed, DiskSpec, Fault};
use device_core::bus::Width;
use device_core::files::Own;
use device_core::rate::Quota;

use super::inspect::Disk;
use crate::device::VirtioDevice;
use crate::testing::disk::{FLUSH, IN, IOERR, OK, OUT, SIZE, TestDisk, USUAL, pattern};
use crate::testing::ring::{readable, writable};

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

#[test]
fn b54_a_kick_without_a_driver_is_ignored() {
    let mut disk = TestDisk::with(&spec(), 1, false);
    disk.offer(0, FLUSH, 0, &[]);
    disk.queues[0].force_kick();
    disk.block.settle();
    assert_eq!(disk.stage.asked(), []);
    disk.start(USUAL);
    drop(disk.block.unplug());
    disk.block.reset();
    disk.stage.asked();
    disk.offer(0, FLUSH, 0, &[]);
    disk.queues[0].force_kick();
    disk.block.settle();
    assert_eq!(disk.stage.asked(), []);
}

#[test]
fn b57_a_reset_waits_for_the_host_and_then_memory_is_left_alone() {
    let mut disk = TestDisk::new();
    disk.stage.write(0, &pattern(64 * 512, 1));
    disk.stage.hold();
    let at = disk.buffer(64 * 512);
    for nth in 0..64 {
        disk.offer(0, IN, nth, &[writable(at + nth * 512, 512)]);
    }
    disk.run(0);
    let stage = disk.stage.clone();
    let block = disk.block.clone();
    let (told, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let queues = block.unplug().len();
            told.send(queues).unwrap();
        });
        while stage.held() > 0 {
            assert!(heard.try_recv().is_err(), "the host has some still");
            stage.release(0);
        }
        assert_eq!(heard.recv().unwrap(), 1);
    });
    disk.block.reset();
    assert_eq!(disk.read(at, 64 * 512), pattern(64 * 512, 1));
    disk.write(at, &[0; 64 * 512]);
    disk.block.settle();
    assert_eq!(disk.read(at, 64 * 512), [0; 64 * 512]);
}

#[test]
fn b58_firmware_with_small_queues_and_then_a_system_a_thousand_times() {
    let mut disk = TestDisk::with(&spec(), 4, false);
    for round in 0..1000u64 {
        disk.new_rings(4, 16, false);
        let queue = vec![disk.queues[0].live(0, None)];
        disk.block.plug(0, queue, disk.notice.clone()).unwrap();
        let (header, at, status) = (disk.header(IN, round % 8), disk.buffer(512), disk.status());
        disk.queues[0].offer(&[readable(header, 16), writable(at, 512), writable(status, 1)]);
        disk.queues[0].force_kick();
        disk.block.settle();
        assert_eq!(disk.queues[0].take().map(|(_, len)| len), Some(513));
        assert_eq!(disk.block.unplug().len(), 1);
        disk.block.reset();

        disk.new_rings(4, 256, false);
        disk.start(USUAL);
        for queue in 0..4 {
            let offer = disk.offer(queue, FLUSH, 0, &[]);
            disk.run(queue);
            assert_eq!(disk.queues[queue].take(), Some((offer.head, 1)));
        }
        assert_eq!(disk.block.unplug().len(), 4);
        disk.block.reset();
    }
}

#[test]
fn b59_after_a_pause_the_rest_is_done() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(300 * 512);
    disk.write(at, &pattern(300 * 512, 2));
    // More than are taken at once, of which some wait in the ring.
    let limits = Allowed { iops: Quota::per_second(1), bw: None };
    let control = Disk::new(disk.block.clone());
    control.limit(&limits);
    for nth in 0..20 {
        disk.offer(0, OUT, nth, &[readable(at + nth * 512, 512)]);
    }
    disk.run(0);
    let queues = disk.block.unplug();
    let before = disk.queues[0].take_all().len();
    assert_eq!(before, 1, "what had to wait is in the ring");
    assert!(!control.inspect().running);
    control.limit(&Allowed::default());
    disk.block.plug(USUAL, queues, disk.notice.clone()).unwrap();
    disk.block.settle();
    assert_eq!(disk.queues[0].take_all().len(), 19);
    assert_eq!(disk.stage.read(0, 20 * 512), pattern(300 * 512, 2)[..20 * 512]);
    assert_eq!(control.inspect().in_flight, 0);
}

#[test]
fn b61_a_disk_that_grew_tells_its_driver() {
    let mut disk = TestDisk::new();
    let (control, at) = (Disk::new(disk.block.clone()), disk.buffer(512));
    assert_eq!(disk.one(IN, SIZE / 512, &[writable(at, 512)]), (IOERR, 1));
    disk.stage.set_len(2 * SIZE);
    assert_eq!(disk.notice.config_changes(), 0);
    assert_eq!(control.refresh().unwrap(), 2 * SIZE);
    assert_eq!(disk.notice.config_changes(), 1);
    assert_eq!(disk.block.read_config(0, Width::B8), 2 * SIZE / 512);
    assert_eq!(disk.one(IN, 2 * SIZE / 512 - 1, &[writable(at, 512)]), (OK, 513));
    assert_eq!(control.refresh().unwrap(), 2 * SIZE);
    assert_eq!(disk.notice.config_changes(), 1);

    drop(disk.block.unplug());
    disk.stage.set_len(3 * SIZE);
    assert_eq!(control.refresh().unwrap(), 3 * SIZE);
    assert_eq!(disk.notice.config_changes(), 1, "there is no driver to tell");
}

#[test]
fn b62_another_image_has_another_size_and_the_same_queues() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("other");
    std::fs::write(&path, pattern(2 * SIZE as usize, 5)).unwrap();
    let mut disk = TestDisk::new();
    let (control, at) = (Disk::new(disk.block.clone()), disk.buffer(512));
    control.replace(&Source::raw(&path), &Own).unwrap();
    assert_eq!(disk.notice.config_changes(), 1);
    assert_eq!(disk.one(IN, SIZE / 512, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.read(at, 512), pattern(2 * SIZE as usize, 5)[SIZE as usize..][..512]);
    assert_eq!(control.inspect().path, path);
    let said = control.replace(&Source::raw(folder.path()), &Own).unwrap_err().to_string();
    assert!(said.contains("is neither a regular file nor a block device"), "{said}");
}

#[test]
fn the_one_who_runs_the_machine_sees_and_steers_the_disk() {
    let mut disk = TestDisk::new();
    let control: Arc<dyn DiskControl> = Arc::new(Disk::new(disk.block.clone()));
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
    let seen = control.inspect();
    assert_eq!((seen.id.as_str(), seen.serial.as_str(), seen.running), ("test", "test", true));
    assert!(seen.counters.contains(&("flushes".to_string(), 1)), "{seen:?}");
    assert!(seen.latency.max_ns > 0);

    for fault in [Fault::Vanish, Fault::Fatal] {
        assert!(control.inject(fault).is_err());
    }
    control.inject(Fault::Error).unwrap();
    assert_eq!((disk.one(FLUSH, 0, &[]), control.faults()), ((IOERR, 1), vec![Fault::Error]));
    control.clear_faults();
    control.inject(Fault::Swallow).unwrap();
    let offer = disk.offer(0, FLUSH, 0, &[]);
    disk.run(0);
    assert_eq!((disk.queues[0].take(), control.inspect().in_flight), (None, 1));
    control.clear_faults();
    disk.block.settle();
    assert_eq!(disk.queues[0].take(), Some((offer.head, 1)));
}
