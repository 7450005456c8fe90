//! What drivers other than Linux's do with a disk, each in its own way: EDK2, SeaBIOS, FreeBSD.

use block::spec::DiskSpec;
use device_core::bus::Width;
use device_core::interrupt::MsiSet;

use crate::device::VirtioDevice;
use crate::testing::disk::{F_FLUSH, FLUSH, GET_ID, IN, OK, OUT, SIZE, TestDisk, pattern};
use crate::testing::ring::{readable, writable};

/// Of the configuration: the capacity in sectors, and the bytes of a block.
const CAPACITY: u64 = 0;
const BLK_SIZE: u64 = 20;
const F_BLK_SIZE: u64 = 1 << 6;
const F_TOPOLOGY: u64 = 1 << 10;

fn disk(queues: u16) -> TestDisk {
    TestDisk::with(&DiskSpec::on("test", "memory"), queues, false)
}

/// The first queue alone, as large as the disk lets it be, without interrupts; each request waited for by looking.
fn polled(features: u64) -> TestDisk {
    let mut disk = disk(4);
    assert_eq!(disk.block.features() & features, features, "all of these are there");
    let size = disk.block.queue_sizes()[0];
    assert!((3..=256).contains(&size), "it has room for {size} descriptors, and a request takes 3");
    disk.new_rings(4, size, false);
    disk.queues[0].want_interrupts(false);
    let live = vec![disk.queues[0].live(0, disk.vectors.vector(0))];
    disk.block.plug(features, live, disk.notice.clone()).unwrap();
    disk.block.settle();
    disk
}

/// One descriptor each for header, data and status.
#[test]
fn edk2_writes_flushes_and_reads_one_request_at_a_time() {
    let mut disk = polled(F_BLK_SIZE | F_TOPOLOGY | F_FLUSH);
    assert_eq!(disk.block.read_config(CAPACITY, Width::B8), SIZE / 512);
    assert_eq!(disk.block.read_config(BLK_SIZE, Width::B4), 512);
    let at = disk.buffer(0x2_0000);
    // Round and round its queue.
    for nth in 0..300u64 {
        let bytes = pattern(0x2_0000, nth as u8);
        disk.write(at, &bytes);
        assert_eq!(disk.one(OUT, nth, &[readable(at, 0x2_0000)]), (OK, 1));
        assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
        disk.write(at, &vec![0; 0x2_0000]);
        assert_eq!(disk.one(IN, nth, &[writable(at, 0x2_0000)]), (OK, 0x2_0001));
        assert_eq!(disk.read(at, 0x2_0000), bytes);
    }
    assert_eq!(disk.vectors.test_vector(0).delivered(), 0);
}

/// It accepts nothing that it does not know, not even that there is a cache.
#[test]
fn seabios_reads_without_any_feature() {
    let mut disk = polled(0);
    disk.stage.write(0, &pattern(0x1_0000, 7));
    let at = disk.buffer(0x1_0000);
    for sectors in [1, 8, 127, 128] {
        let len = sectors * 512;
        disk.write(at, &vec![0; len as usize]);
        assert_eq!(disk.one(IN, 0, &[writable(at, len)]), (OK, len + 1));
        assert_eq!(disk.read(at, len as usize), pattern(len as usize, 7));
    }
    assert_eq!(disk.vectors.test_vector(0).delivered(), 0);
}

/// Its first request is for the name, with interrupts off; afterwards it wants them.
#[test]
fn freebsd_asks_for_the_name_before_it_wants_interrupts() {
    let mut disk = polled(F_BLK_SIZE | F_FLUSH);
    let name = disk.buffer(20);
    disk.write(name, &[0xff; 20]);
    assert_eq!(disk.one(GET_ID, 0, &[writable(name, 20)]), (OK, 21));
    assert_eq!(disk.read(name, 20), [&b"test"[..], &[0; 16]].concat());
    assert_eq!(disk.vectors.test_vector(0).delivered(), 0);
    disk.queues[0].want_interrupts(true);
    let at = disk.buffer(512);
    assert_eq!(disk.one(IN, 0, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.vectors.test_vector(0).delivered(), 1);
}
